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

// Package external has two stores outside of the cluster that locks protect: one checks fencing
// tokens, the other does not.
package external

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// Access is one access to the fenced store, in the order in which the store has seen it.
type Access struct {
	Key      string `json:"key"`
	Token    int64  `json:"token"`
	Write    bool   `json:"write"`
	Accepted bool   `json:"accepted"`
	Value    int    `json:"value"`
}

// Count has the counters of one key of a store.
type Count struct {
	Value    int `json:"value"`    // the value in the end
	Accepted int `json:"accepted"` // accepted writes
	Refused  int `json:"refused"`  // accesses refused for an old token
}

// Stores serves both stores at one address.
type Stores struct {
	// Reading is called with the name of a process, after it has read and before it writes.
	Reading func(process string)

	server *http.Server
	URL    string

	mu       sync.Mutex // protects the fields below
	fenced   map[string]*cell
	unfenced map[string]*cell
	log      []Access
}

type cell struct {
	Count
	token int64
}

type request struct {
	Process string `json:"process"`
	Key     string `json:"key"`
	Token   int64  `json:"token"`
	Fenced  bool   `json:"fenced"`
	Write   bool   `json:"write"`
	Value   int    `json:"value"`
}

// Open starts the server.
func Open() (*Stores, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It does not block.
	if err != nil {
		return nil, err
	}
	s := &Stores{URL: "http://" + listener.Addr().String(), fenced: map[string]*cell{}, unfenced: map[string]*cell{}}
	s.server = &http.Server{Handler: s, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.server.Serve(listener) }() // Until Close.
	return s, nil
}

// Close stops serving.
func (s *Stores) Close() error { return s.server.Close() }

// ServeHTTP implements http.Handler: one read or write.
func (s *Stores) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var q request
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	value, ok := s.access(q)
	if !ok {
		http.Error(w, "the token is older than one that was here", http.StatusConflict)
		return
	}
	if !q.Write && !q.Fenced && s.Reading != nil {
		s.Reading(q.Process)
	}
	_, _ = fmt.Fprint(w, value) // A client that does not get the value does not write.
}

func (s *Stores) access(q request) (value int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cells := s.unfenced
	if q.Fenced {
		cells = s.fenced
	}
	c := cells[q.Key]
	if c == nil {
		c = &cell{}
		cells[q.Key] = c
	}
	if q.Fenced {
		// A read has a token, too. Otherwise an older holder could write between the read and the
		// write of a newer one.
		accepted := q.Token >= c.token
		s.log = append(s.log, Access{q.Key, q.Token, q.Write, accepted, q.Value})
		if !accepted {
			c.Refused++
			return 0, false
		}
		c.token = q.Token
	}
	if q.Write {
		c.Value = q.Value
		c.Accepted++
	}
	return c.Value, true
}

// Counts returns the counters of both stores, by key, and the log of the fenced store.
func (s *Stores) Counts() (fenced, unfenced map[string]Count, log []Access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copied := func(cells map[string]*cell) map[string]Count {
		counts := map[string]Count{}
		for key, c := range cells {
			counts[key] = c.Count
		}
		return counts
	}
	return copied(s.fenced), copied(s.unfenced), append([]Access(nil), s.log...)
}

// Client uses the stores.
type Client struct {
	url, process string
	http         *http.Client
}

// NewClient returns a client of the stores at url.
func NewClient(url, process string) *Client {
	return &Client{url, process, &http.Client{Transport: &http.Transport{}}}
}

// Close closes the client's connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Add adds one to a counter in each store. It reads both, calls pass, and writes both.
func (c *Client) Add(key string, token int64, pass func()) error {
	fenced, fencedErr := c.do(request{Key: key, Token: token, Fenced: true})
	unfenced, err := c.do(request{Key: key, Token: token})
	if err != nil {
		return err
	}
	pass()
	if _, err := c.do(request{Key: key, Token: token, Write: true, Value: unfenced + 1}); err != nil {
		return err
	}
	if fencedErr != nil {
		return fencedErr
	}
	_, err = c.do(request{Key: key, Token: token, Fenced: true, Write: true, Value: fenced + 1})
	return err
}

func (c *Client) do(q request) (int, error) {
	q.Process = c.process
	body, err := json.Marshal(q)
	if err != nil {
		return 0, err
	}
	response, err := c.http.Post(c.url, "application/json", bytes.NewReader(body)) //nolint:noctx // The store answers at once.
	if err != nil {
		return 0, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("the store says %s", response.Status)
	}
	var value int
	_, err = fmt.Fscan(response.Body, &value)
	return value, err
}
