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

package controllers_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// podRequests is a transport that records the requests for Pods.
type podRequests struct {
	next http.RoundTripper

	mu         sync.Mutex // protects the fields below
	seen       []string
	open, most int // watches
}

func (r *podRequests) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.Contains(req.URL.Path, "/pods") {
		r.mu.Lock()
		r.seen = append(r.seen, req.URL.Path+"?"+req.URL.Query().Get("fieldSelector"))
		r.mu.Unlock()
		if req.URL.Query().Get("watch") != "" {
			return r.watch(req)
		}
	}
	return r.next.RoundTrip(req)
}

// watch sends a watch request, and counts the watch until it is closed.
func (r *podRequests) watch(req *http.Request) (*http.Response, error) {
	r.count(1)
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		r.count(-1)
		return nil, err
	}
	resp.Body = &closing{ReadCloser: resp.Body, closed: sync.OnceFunc(func() { r.count(-1) })}
	return resp, nil
}

func (r *podRequests) count(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open += n
	r.most = max(r.most, r.open)
}

// closing is a body that calls closed when it is closed.
type closing struct {
	io.ReadCloser

	closed func()
}

func (c *closing) Close() error { c.closed(); return c.ReadCloser.Close() }

func (r *podRequests) wrap(next http.RoundTripper) http.RoundTripper {
	r.next = next
	return r
}

// await returns when the reaper has asked for a Pod.
func (r *podRequests) await(t *testing.T, ns, name string) {
	t.Helper()
	err := wait.PollUntilContextCancel(soon(t), 5*time.Millisecond, true, func(context.Context) (bool, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return slices.Contains(r.seen, podRequest(ns, name)), nil
	})
	if err != nil {
		t.Fatalf("the Pod %s is not watched: %v", name, err)
	}
}

func podRequest(ns, name string) string {
	return "/api/v1/namespaces/" + ns + "/pods?metadata.name=" + name
}

// WrappedRoundTripper lets client-go find the transport below.
func (r *podRequests) WrappedRoundTripper() http.RoundTripper { return r.next }
