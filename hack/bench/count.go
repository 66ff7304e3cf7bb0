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

package main

import (
	"bytes"
	"io"
	"net/http"
	"sync/atomic"

	"k8s.io/client-go/rest"
)

// requests counts what clients send and get.
type requests struct {
	reads, writes, watches, conflicts, events atomic.Int64
}

// counted returns a configuration whose requests are counted.
func (r *requests) counted(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &counter{next, r} })
	return config
}

type counter struct {
	next     http.RoundTripper
	requests *requests
}

// RoundTrip implements http.RoundTripper.
func (c *counter) RoundTrip(req *http.Request) (*http.Response, error) {
	r, watch := c.requests, req.URL.Query().Get("watch") != ""
	switch {
	case watch:
		r.watches.Add(1)
	case req.Method == http.MethodGet:
		r.reads.Add(1)
	default:
		r.writes.Add(1)
	}
	resp, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusUnprocessableEntity {
		r.conflicts.Add(1)
	}
	if watch {
		resp.Body = &eventCounter{resp.Body, &r.events}
	}
	return resp, nil
}

// WrappedRoundTripper lets client-go find the transport below.
func (c *counter) WrappedRoundTripper() http.RoundTripper { return c.next }

// eventCounter counts the events of a watch: a line each.
type eventCounter struct {
	io.ReadCloser
	events *atomic.Int64
}

// Read implements io.Reader.
func (e *eventCounter) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	e.events.Add(int64(bytes.Count(p[:n], []byte("\n"))))
	return n, err
}
