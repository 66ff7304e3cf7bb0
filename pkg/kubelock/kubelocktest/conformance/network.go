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

package conformance

import (
	"errors"
	"net/http"
	"sync"

	"k8s.io/client-go/rest"
)

// network is what lies between a client and the API server.
type network struct {
	// written has an element when a write was done.
	written chan struct{}

	mu     sync.Mutex // protects the fields below
	counts map[string]int
	fault  fault // of the next write
	times  int   // how many writes have it
}

// fault is what becomes of a write.
type fault int

const (
	none fault = iota
	loseRequest
	loseAnswer
	loseEverything // reads, too, until it is ended
)

var errLost = errors.New("the network lost it")

func newNetwork() *network {
	return &network{written: make(chan struct{}, 1), counts: map[string]int{}}
}

// wrap puts the network before a client's connections.
func (n *network) wrap(config *rest.Config) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &transport{n, next}
	})
}

// transport sends requests through the network.
type transport struct {
	network *network
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	return t.network.roundTrip(t.next, req)
}

// WrappedRoundTripper lets client-go see what is behind it.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }

func (n *network) roundTrip(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	fate := n.pass(req)
	if fate == loseRequest {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, errLost
	}
	resp, err := next.RoundTrip(req)
	if err != nil || req.Method == http.MethodGet && fate == none {
		return resp, err
	}
	if fate != none {
		_ = resp.Body.Close()
		return nil, errLost
	}
	if resp.StatusCode < http.StatusMultipleChoices {
		select {
		case n.written <- struct{}{}:
		default:
		}
	}
	return resp, nil
}

// pass counts the request and says what becomes of it.
func (n *network) pass(req *http.Request) fault {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.counts[req.Method]++
	switch {
	case n.fault == loseEverything:
		return loseAnswer
	case req.Method == http.MethodGet || n.times == 0:
		return none
	}
	n.times--
	return n.fault
}

// lose makes the network lose the next writes.
func (n *network) lose(f fault, times int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fault, n.times = f, times
}

// take returns how many reads (watches included) and writes there were since the last
// call.
func (n *network) take() (reads, writes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for method, count := range n.counts {
		if method == http.MethodGet {
			reads += count
		} else {
			writes += count
		}
	}
	clear(n.counts)
	return reads, writes
}
