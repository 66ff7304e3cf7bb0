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

package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/test/chaos/history"
)

// Gate is a proxy between a client and an API server that reads the client's requests, as a load
// balancer does. It can answer requests itself, or delay them. It records which requests were refused.
type Gate struct {
	process  string
	address  string
	server   *http.Server
	upstream atomic.Pointer[string]

	mu       sync.Mutex // protects the fields below
	rule     Rule
	refusals []history.Refusal
}

// Rule decides what a gate does with a request. A gate calls its rule for one request at a time.
type Rule func(*http.Request) Verdict

// Verdict is what a gate does with a request: it waits for Delay, and then answers or passes it on.
type Verdict struct {
	Delay  time.Duration
	Answer *Answer // nil: the API server answers
}

// Answer is an answer that refuses a request.
type Answer struct {
	Code       int
	Text       string
	Page       bool // whether the body is plain text, as of a proxy, and no Status
	RetryAfter int  // in seconds; 0 means no such header
}

// Gate opens a gate to an API server.
func (c *Cluster) Gate(process, upstream string) (*Gate, error) {
	certificate, err := tls.LoadX509KeyPair(c.file("tls.crt"), c.file("tls.key"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.ca) {
		return nil, errors.New("the API servers' certificate cannot be read")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It does not block.
	if err != nil {
		return nil, err
	}
	g := &Gate{process: process, address: listener.Addr().String()}
	g.Lead(upstream)
	quiet := log.New(io.Discard, "", 0) // The run breaks connections on purpose.
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "https", Host: *g.upstream.Load()}) },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		},
		ModifyResponse: func(r *http.Response) error {
			g.answered(r.Request, r.StatusCode)
			return nil
		},
		// The client's connection breaks, as it would without the gate.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     quiet,
	}
	g.server = &http.Server{
		Handler: g.handler(proxy), ErrorLog: quiet, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
	}
	go func() { _ = g.server.ServeTLS(listener, "", "") }() // Ends with Close.
	return g, nil
}

// Address returns the address of the gate.
func (g *Gate) Address() string { return g.address }

// Lead sends all further requests to that API server.
func (g *Gate) Lead(upstream string) { g.upstream.Store(&upstream) }

// Close ends the gate and its connections.
func (g *Gate) Close() { _ = g.server.Close() }

// Obey makes the gate follow a rule until undo is called. It fails if the gate has a rule already.
func (g *Gate) Obey(rule Rule) (undo func(), err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rule != nil {
		return nil, ErrUpset
	}
	g.rule = rule
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.rule = nil
	}, nil
}

// Refusals returns the refused requests so far.
func (g *Gate) Refusals() []history.Refusal {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]history.Refusal(nil), g.refusals...)
}

func (g *Gate) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := g.verdict(r)
		if v.Delay > 0 {
			select {
			case <-time.After(v.Delay):
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		}
		if v.Answer == nil {
			next.ServeHTTP(w, r)
			return
		}
		g.answered(r, v.Answer.Code)
		v.Answer.write(w)
	})
}

func (g *Gate) verdict(r *http.Request) Verdict {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rule == nil {
		return Verdict{}
	}
	return g.rule(r)
}

// answered records a request for a lock if it was refused.
func (g *Gate) answered(r *http.Request, code int) {
	if code < http.StatusBadRequest || code >= http.StatusInternalServerError {
		return
	}
	lock, ok := history.LockAt(r.URL.Path)
	if !ok {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refusals = append(g.refusals, history.Refusal{At: history.Now(), Process: g.process, Lock: lock, Method: r.Method, Code: code})
}

func (a *Answer) write(w http.ResponseWriter) {
	if a.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(a.RetryAfter))
	}
	if a.Page {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(a.Code)
		_, _ = io.WriteString(w, a.Text) // The client may be gone.
		return
	}
	status := a.Status()
	status.TypeMeta = metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}
	body, err := json.Marshal(status)
	if err != nil {
		panic(err) // It cannot fail: a Status has only text and numbers.
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.Code)
	_, _ = w.Write(body) // As above.
}

// Status returns the answer as a Status without details.
func (a *Answer) Status() *metav1.Status {
	return &metav1.Status{Status: metav1.StatusFailure, Code: int32(a.Code), Reason: reasons[a.Code], Message: a.Text}
}

var reasons = map[int]metav1.StatusReason{
	http.StatusUnauthorized: metav1.StatusReasonUnauthorized, http.StatusForbidden: metav1.StatusReasonForbidden,
	http.StatusNotFound: metav1.StatusReasonNotFound, http.StatusConflict: metav1.StatusReasonConflict,
	http.StatusGone: metav1.StatusReasonGone, http.StatusUnprocessableEntity: metav1.StatusReasonInvalid,
	http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
}
