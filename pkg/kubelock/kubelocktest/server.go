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

// Package kubelocktest tests programs that use kubelock without a cluster. Its Server
// is a Kubernetes API server in memory, with kubelock's CustomResourceDefinition
// installed, validation included; the clients that use it are the real ones.
//
// Time is that of the test. In a testing/synctest bubble it is virtual: a test can let
// leases of an hour expire, and takes no time to do so. Make the server and its clients
// inside of the bubble, and close the clients before it ends.
//
// Faults are made on demand, with Intercept and Disconnect.
package kubelocktest

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/config/crd"
	"github.com/kubelock/kubelock/internal/testing/memapi"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// Namespace is the namespace that a Server has from the beginning.
const Namespace = "default"

// ErrDisconnected is what requests end with while the server is disconnected.
var ErrDisconnected = errors.New("kubelocktest: no connection to the API server")

var definition = sync.OnceValues(func() (*memapi.CRD, error) { return memapi.Compile(crd.DistributedLocks) })

// Server is a Kubernetes API server in memory. It serves DistributedLocks, Leases,
// ConfigMaps, Pods, Events and Namespaces, to any client; everybody may do
// everything. It is safe for concurrent use, and has nothing to stop.
type Server struct {
	api *memapi.Server

	mu        sync.Mutex // protects the fields below
	intercept func(req *http.Request, next http.RoundTripper) (*http.Response, error)
	cut       bool
}

// NewServer returns a server with the namespace "default" and no locks.
func NewServer(tb testing.TB) *Server {
	tb.Helper()
	d, err := definition()
	if err != nil {
		tb.Fatalf("kubelocktest: %v", err)
	}
	return &Server{api: memapi.New(memapi.Options{CRDs: []*memapi.CRD{d}, Namespaces: []string{Namespace}})}
}

// Config returns the way to the server, for kubelock.NewClient and for other clients.
func (s *Server) Config() *rest.Config {
	config := s.api.Config()
	config.Transport = (*transport)(s)
	return config
}

// NewClient returns a client of the server, which is closed at the end of the test.
// The namespace is "default" if cfg has none.
func (s *Server) NewClient(tb testing.TB, cfg kubelock.Config) *kubelock.Client {
	tb.Helper()
	if cfg.Namespace == "" {
		cfg.Namespace = Namespace
	}
	c, err := kubelock.NewClient(s.Config(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := c.Close(); err != nil {
			tb.Error(err)
		}
	})
	return c
}

// CreateNamespace creates namespaces that do not exist yet.
func (s *Server) CreateNamespace(names ...string) { s.api.CreateNamespaces(names...) }

// Intercept lets f handle every request from now on; nil ends that. f may answer
// itself, pass the request on to next, or do both: what it returns is what the client
// gets. It is called concurrently, also for watches.
func (s *Server) Intercept(f func(req *http.Request, next http.RoundTripper) (*http.Response, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// Disconnect lets every request end with ErrDisconnected, and cuts all watches, until
// the function that it returns is called.
func (s *Server) Disconnect() (reconnect func()) {
	s.set(true)
	s.api.CutWatches()
	return func() { s.set(false) }
}

func (s *Server) set(cut bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut = cut
}

// CutWatches ends all open watches, as an API server does that restarts. Clients
// open them again.
func (s *Server) CutWatches() { s.api.CutWatches() }

// ExpireWatches cuts all open watches and forgets what has happened so far, so that
// clients which open them again get 410 Gone and have to list.
func (s *Server) ExpireWatches() {
	s.api.Compact()
	s.api.CutWatches()
}

// Backup notes what the server stores. restore makes it so again, with the
// resourceVersions of that time, as when etcd is restored from a backup under running
// clients: all watches are cut, and versions go on from there. It can be called more than
// once.
func (s *Server) Backup() (restore func()) { return s.api.Backup() }

// transport is the way of requests through a Server's faults.
type transport Server

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	t.mu.Lock()
	intercept, cut := t.intercept, t.cut
	t.mu.Unlock()
	switch {
	case cut:
		return nil, ErrDisconnected
	case req.Context().Err() != nil:
		return nil, context.Cause(req.Context())
	case intercept != nil:
		return intercept(req, t.api)
	}
	return t.api.RoundTrip(req)
}

// CloseIdleConnections is called by clients that close. There are no connections.
func (t *transport) CloseIdleConnections() {}
