/*
Copyright 2026 The kubelock Authors.

Licensed under the Apache License, Version 2.0 (the "License");
you may not use this file except in compliance with the License.
You may obtain a copy of the License at

	http://www.apache.org/licenses/LICENSE-2.0

Unless required by applicable law or agreed to in writing, software
distributed under the License is distributed on an "AS IS" BASIS,
WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
See the License for the specific language governing permissions and
limitations under the License.
*/

package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// errLost is the error that a client gets if the network has lost its request or the answer.
var errLost = errors.New("simulated: connection reset")

// node is a machine with a clock and a network connection to the API servers.
type node struct {
	world *world
	name  string
	// clock is by how much the node's clock is wrong.
	clock time.Duration
	// steady is set for a node of a scene: its watches are not cut, and its requests are counted.
	steady bool
	// dateless is set if a proxy removes the Date header from all answers.
	dateless bool

	mu       sync.Mutex        // protects the fields below
	sent     map[string]uint64 // requests so far, by their kind
	paused   time.Time         // nothing goes in or out until then
	dead     bool
	watches  []*laggingWatch
	inFlight group
	refused  refused
	cut      time.Time // nothing arrives until then
	counts   counts
}

// now returns the time of the node's clock.
func (n *node) now() time.Time { return time.Now().Add(n.clock) }

// config returns a configuration that reaches the API servers from the node.
func (n *node) config() *rest.Config {
	return &rest.Config{Host: "http://simulated", Transport: n, QPS: -1}
}

// fate is what happens to one request on the network.
type fate struct {
	out, back    time.Duration // how long the request and the answer take
	lostOut      bool
	lostBack     bool
	hangs        bool // the client gets no error if the request or the answer is lost
	again        time.Duration
	status       int // instead of an answer
	retryAfter   int
	server       int // which API server answers
	cut          time.Duration
	rand         *rand.Rand
	stallsEvents time.Duration
	refusal      *refusal
	sent         time.Time
}

// draw decides a request's fate. It depends on the seed, the node, and how many requests of that kind the
// node has sent before.
func (n *node) draw(req *http.Request, body []byte, watch bool) fate {
	kind := req.Method + strconv.FormatBool(watch) + req.URL.Path
	n.mu.Lock()
	if n.sent == nil {
		n.sent = map[string]uint64{}
	}
	n.sent[kind]++
	number := n.sent[kind]
	n.mu.Unlock()
	w := n.world
	r := rand.New(rand.NewPCG(w.seed, hash(n.name+kind)+number))
	f := fate{rand: r, server: r.IntN(2), out: delay(r), back: delay(r), sent: time.Now()}
	level := w.level()
	chance := func(p float64) bool { return r.Float64() < p*level }
	if chance(0.05) {
		f.out += span(r, 500*time.Millisecond, 12*time.Second)
	}
	if chance(0.03) {
		f.back += span(r, 500*time.Millisecond, 8*time.Second)
	}
	f.lostOut, f.lostBack, f.hangs = chance(0.03), chance(0.05), r.IntN(2) == 0
	if chance(0.04) {
		f.again = span(r, time.Millisecond, 20*time.Second)
	}
	if chance(0.05) {
		f.status = []int{http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusGatewayTimeout}[r.IntN(4)]
		f.retryAfter = r.IntN(3)
		// A request that is answered with an error may have been executed.
		f.lostOut = f.lostOut || f.status == http.StatusTooManyRequests || r.IntN(2) == 0
	}
	if w.slow && req.Method == http.MethodPatch && level > 0 && r.IntN(3) == 0 {
		f.out += span(r, time.Second, 4*time.Second)
	}
	if watch {
		f.cut = span(r, 10*time.Second, 5*time.Minute)
		if level > 0 {
			f.cut = span(r, time.Second, 60*time.Second)
		}
		if n.steady {
			f.cut = time.Hour
		}
		if chance(0.1) {
			f.stallsEvents = span(r, time.Second, 20*time.Second)
		}
	}
	n.refuse(req, body, watch, number, &f)
	return f
}

// group waits for goroutines, as sync.WaitGroup does. Unlike there, goroutines may be added during Wait:
// the requests of a dead process may still start others.
type group struct {
	mu    sync.Mutex // protects count
	count int
	none  sync.Cond
}

func (g *group) Go(f func()) {
	g.mu.Lock()
	g.count++
	g.mu.Unlock()
	go func() {
		defer func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.count--
			if g.count == 0 && g.none.L != nil {
				g.none.Broadcast()
			}
		}()
		f()
	}()
}

func (g *group) Wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.none.L = &g.mu; g.count > 0; {
		g.none.Wait()
	}
}

// delay returns how long a message without faults takes. No two messages take equally long, so that they
// arrive in a defined order.
func delay(r *rand.Rand) time.Duration { return span(r, 500*time.Microsecond, 12*time.Millisecond) }

func span(r *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(r.Int64N(int64(to-from)))
}

func hash(text string) (h uint64) {
	for _, c := range []byte(text) {
		h = h*1099511628211 + uint64(c)
	}
	return h << 20
}

// CloseIdleConnections does nothing: there are no connections. Clients call it when they close.
func (n *node) CloseIdleConnections() {}

// RoundTrip implements http.RoundTripper.
func (n *node) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		_ = req.Body.Close()
	}
	watch := req.URL.Query().Get("watch") != ""
	f := n.draw(req, body, watch)
	answers := make(chan *http.Response, 1)
	n.inFlight.Go(func() { n.carry(req, body, f, watch, answers) })
	select {
	case resp := <-answers:
		if resp == nil {
			return nil, errLost
		}
		n.wasGranted(req, watch, resp.StatusCode)
		return resp, nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

// carry delivers a request to the server, and the answer to the client. It sends nil if one of them is
// lost, or nothing if the client's request hangs then.
func (n *node) carry(req *http.Request, body []byte, f fate, watch bool, answers chan<- *http.Response) {
	w := n.world
	n.wait(f.out)
	if n.isDead() {
		return // The request was never sent, or the client does not wait for its answer.
	}
	var resp *http.Response
	if f.lostOut = f.lostOut || n.isCut(); !f.lostOut {
		resp = w.arrive(n, req, body, f)
		if f.again > 0 && !watch {
			w.after(f.again, func() {
				if again := w.arrive(n, req, body, f); again != nil {
					_ = again.Body.Close()
				}
			})
		}
	}
	if n.steady && !f.lostOut && f.status == 0 {
		n.wait(f.back)
		f.back, f.lostBack = 0, f.lostBack || n.isCut()
	}
	if f.status != 0 {
		if resp != nil {
			_ = resp.Body.Close()
		}
		resp = w.errorAnswer(req, f)
	} else if f.lostOut || f.lostBack {
		if resp != nil {
			_ = resp.Body.Close()
		}
		resp = nil
		if f.hangs {
			return
		}
	}
	n.wait(f.back)
	if n.isDead() {
		if resp != nil {
			_ = resp.Body.Close()
		}
		return
	}
	if resp != nil && watch && resp.StatusCode == http.StatusOK {
		resp.Body = n.lag(req.Context(), resp.Body, f)
	}
	answers <- resp
}

// wait waits for as long as a message takes, and while the node is paused.
func (n *node) wait(d time.Duration) {
	pass(d)
	for {
		n.mu.Lock()
		left := time.Until(n.paused)
		n.mu.Unlock()
		if left <= 0 {
			return
		}
		pass(left + d) // Delayed messages arrive in order.
	}
}

// pass waits for d in virtual time.
func pass(d time.Duration) {
	if d > 0 {
		<-time.After(d)
	}
}

func (n *node) pause(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if until := time.Now().Add(d); until.After(n.paused) {
		n.paused = until
	}
}

func (n *node) isDead() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dead
}

// die cuts the node off permanently. Messages that it has sent may still arrive.
func (n *node) die() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = true
	for i, watch := range n.watches {
		n.world.after(time.Duration(i+1)*time.Microsecond, func() { watch.end(io.ErrUnexpectedEOF) })
	}
}

func (l *laggingWatch) ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err != nil
}

func (l *laggingWatch) put(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.frames = append(l.frames, frame...)
	l.wake()
}

func (l *laggingWatch) end(err error) {
	l.mu.Lock()
	if l.err == nil {
		l.err = err
		l.wake()
	}
	l.mu.Unlock()
	_ = l.body.Close() // Ends the pump.
}

func (l *laggingWatch) wake() {
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// arrive makes the server handle a request, and returns the answer.
func (w *world) arrive(n *node, req *http.Request, body []byte, f fate) *http.Response {
	again := req.Clone(req.Context())
	if req.URL.Query().Get("watch") == "" {
		again = req.Clone(context.Background())
	}
	again.Body = io.NopCloser(bytes.NewReader(body))
	again.ContentLength = int64(len(body))

	w.serving.Lock()
	defer w.serving.Unlock()
	w.writer = n
	w.checkRequest(n, req, body, f.sent)
	n.count(req)
	w.answering = w.clocks[f.server] - w.clocks[0]
	resp, err := w.server.RoundTrip(again)
	w.writer, w.answering = nil, 0
	if err != nil {
		return nil // The request's context has ended.
	}
	if w.verbose {
		w.sayf("%s %s %s: %d", n.name, req.Method, strings.TrimPrefix(req.URL.RequestURI(), strings.TrimSuffix(w.folder(), w.kind.Resource().Resource+"/")), resp.StatusCode)
	}
	w.date(n, resp, f.server)
	return resp
}

// date sets the Date header of an answer by that API server's clock.
func (w *world) date(n *node, resp *http.Response, server int) {
	if n.dateless {
		resp.Header.Del("Date")
		return
	}
	resp.Header.Set("Date", time.Now().Add(w.clocks[server]+w.proxy(n)).UTC().Format(http.TimeFormat))
}

func (w *world) errorAnswer(req *http.Request, f fate) *http.Response {
	resp := &http.Response{StatusCode: f.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req}
	contentType, text := "application/json", fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"simulated","code":%d}`, f.status)
	if f.retryAfter > 0 {
		resp.Header.Set("Retry-After", strconv.Itoa(f.retryAfter))
		contentType, text = "text/plain", "simulated" // client-go reads the header only beside a page.
	}
	if f.refusal != nil {
		contentType, text = f.refusal.body()
	}
	resp.Header.Set("Content-Type", contentType)
	resp.Body = io.NopCloser(strings.NewReader(text))
	w.page(resp, f)
	return resp
}
