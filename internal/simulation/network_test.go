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
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// errLost is what a client gets whose request or answer the network has lost.
var errLost = errors.New("simulated: connection reset")

// node is a machine on the network: a clock, and a way to the API servers.
type node struct {
	world *world
	name  string
	// clock is how far the node's clock is off.
	clock time.Duration
	// dateless is set where a proxy takes the time out of all answers.
	dateless bool

	mu       sync.Mutex        // protects the fields below
	sent     map[string]uint64 // requests so far, by what they are
	paused   time.Time         // nothing goes in or out until then
	dead     bool
	watches  []*laggingWatch
	inFlight group
	refused  refused
}

// now is the node's clock.
func (n *node) now() time.Time { return time.Now().Add(n.clock) }

// config reaches the API servers from the node.
func (n *node) config() *rest.Config {
	return &rest.Config{Host: "http://simulated", Transport: n, QPS: -1}
}

// fate is what the network makes of one request.
type fate struct {
	out, back    time.Duration // how long request and answer are under way
	lostOut      bool
	lostBack     bool
	hangs        bool // whoever waits for what is lost is not told
	again        time.Duration
	status       int // instead of an answer
	retryAfter   int
	server       int // which API server answers
	cut          time.Duration
	rand         *rand.Rand
	stallsEvents time.Duration
	refusal      *refusal
}

// draw decides a request's fate: it depends on the seed, the node and how many
// requests of that kind it has sent before.
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
	f := fate{rand: r, server: r.IntN(2), out: delay(r), back: delay(r)}
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
		// What the server has answered with an error may have been done.
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
		if chance(0.1) {
			f.stallsEvents = span(r, time.Second, 20*time.Second)
		}
	}
	n.refuse(req, body, watch, number, &f)
	return f
}

// group waits for goroutines, as sync.WaitGroup does, but lets others begin while
// somebody waits: what a dead process has sent may still lead to more.
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

// delay is how long a message takes that nothing is wrong with. No two take exactly
// as long, so that one thing comes after the other.
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

// CloseIdleConnections is called by clients that close. There are no connections.
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

// carry takes a request to the server and the answer back. It sends nil for one that
// is lost, or nothing if nobody is told.
func (n *node) carry(req *http.Request, body []byte, f fate, watch bool, answers chan<- *http.Response) {
	w := n.world
	n.wait(f.out)
	if n.isDead() {
		return // It was never sent, or its sender does not care.
	}
	var resp *http.Response
	if !f.lostOut {
		resp = w.arrive(n, req, body, f)
		if f.again > 0 && !watch {
			w.after(f.again, func() {
				if again := w.arrive(n, req, body, f); again != nil {
					_ = again.Body.Close()
				}
			})
		}
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

// wait lets the time go by that a message is under way, and that the node is paused.
func (n *node) wait(d time.Duration) {
	pass(d)
	for {
		n.mu.Lock()
		left := time.Until(n.paused)
		n.mu.Unlock()
		if left <= 0 {
			return
		}
		pass(left + d) // What has waited comes in its turn.
	}
}

// pass lets virtual time go by.
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

// die cuts the node off for ever. What it has sent may still arrive.
func (n *node) die() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dead = true
	for i, watch := range n.watches {
		n.world.after(time.Duration(i+1)*time.Microsecond, func() { watch.end(io.ErrUnexpectedEOF) })
	}
}

// laggingWatch is a watch whose events are late, until it is cut.
type laggingWatch struct {
	node   *node
	body   io.ReadCloser
	cancel func() bool

	mu     sync.Mutex // protects the fields below
	frames []byte
	err    error
	signal chan struct{}
}

// lag delays the events of a watch, and cuts it some time.
func (n *node) lag(ctx context.Context, body io.ReadCloser, f fate) io.ReadCloser {
	watch := &laggingWatch{node: n, body: body, signal: make(chan struct{}, 1)}
	watch.cancel = context.AfterFunc(ctx, func() { watch.end(context.Cause(ctx)) })
	n.mu.Lock()
	n.watches = append(n.watches, watch)
	n.mu.Unlock()
	cut := time.AfterFunc(f.cut, func() { watch.end(io.EOF) })
	n.inFlight.Go(func() {
		defer cut.Stop()
		watch.pump(f)
	})
	return watch
}

// pump passes the events on, in their order.
func (l *laggingWatch) pump(f fate) {
	var buffer []byte
	chunk := make([]byte, 16<<10)
	for {
		size, err := l.body.Read(chunk)
		buffer = append(buffer, chunk[:size]...)
		for {
			frame, after, ok := bytes.Cut(buffer, []byte("\n"))
			if !ok {
				break
			}
			buffer = after
			d := delay(f.rand)
			if f.rand.Float64() < 0.05*l.node.world.level() {
				d += f.stallsEvents + span(f.rand, 100*time.Millisecond, 3*time.Second)
			}
			l.node.wait(d)
			l.put(append(bytes.Clone(frame), '\n'))
		}
		if err != nil {
			if !l.ended() {
				pass(delay(f.rand)) // Watches that are cut together do not all end at once.
			}
			l.end(err)
			return
		}
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

// Read implements io.Reader.
func (l *laggingWatch) Read(p []byte) (int, error) {
	for {
		l.mu.Lock()
		n, err := copy(p, l.frames), l.err
		l.frames = l.frames[n:]
		if n > 0 && len(l.frames) > 0 || n > 0 && err != nil {
			l.wake()
		}
		l.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case err != nil:
			return 0, err
		}
		<-l.signal
	}
}

// Close implements io.Closer.
func (l *laggingWatch) Close() error {
	l.cancel()
	l.end(errors.New("closed"))
	l.node.mu.Lock()
	l.node.watches = slices.DeleteFunc(l.node.watches, func(other *laggingWatch) bool { return other == l })
	l.node.mu.Unlock()
	return nil
}

// arrive lets the server handle a request.
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
	w.checkRequest(n, req, body)
	w.answering = w.clocks[f.server] - w.clocks[0]
	resp, err := w.server.RoundTrip(again)
	w.writer, w.answering = nil, 0
	if err != nil {
		return nil // Its context has ended.
	}
	if w.verbose {
		w.sayf("%s %s %s: %d", n.name, req.Method, strings.TrimPrefix(req.URL.RequestURI(), strings.TrimSuffix(w.folder(), w.kind.Resource().Resource+"/")), resp.StatusCode)
	}
	w.date(n, resp, f.server)
	return resp
}

// date writes the time into an answer as that API server's clock shows it.
func (w *world) date(n *node, resp *http.Response, server int) {
	if n.dateless {
		resp.Header.Del("Date")
		return
	}
	resp.Header.Set("Date", time.Now().Add(w.clocks[server]+w.proxy(n)).UTC().Format(http.TimeFormat))
}

func (w *world) errorAnswer(req *http.Request, f fate) *http.Response {
	resp := &http.Response{StatusCode: f.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Request: req}
	resp.Header.Set("Content-Type", "application/json")
	if f.retryAfter > 0 {
		resp.Header.Set("Retry-After", strconv.Itoa(f.retryAfter))
	}
	text := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":"simulated","code":%d}`, f.status)
	if f.refusal != nil {
		var contentType string
		contentType, text = f.refusal.body()
		resp.Header.Set("Content-Type", contentType)
	}
	resp.Body = io.NopCloser(strings.NewReader(text))
	w.page(resp, f)
	return resp
}
