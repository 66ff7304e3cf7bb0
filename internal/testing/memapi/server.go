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

package memapi

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

// Host is the address in a server's Config. No process listens there.
const Host = "http://memapi"

// maxBody is how long the body of a request may be, in bytes.
const maxBody = 3 << 20

// Options are the options of a Server. The zero value is valid.
type Options struct {
	// Now returns the time for Date headers and timestamps. nil means time.Now, which in a testing/synctest
	// bubble is the bubble's time.
	Now func() time.Time
	// CRDs are the custom resources to serve.
	CRDs []*CRD
	// Namespaces exist from the beginning.
	Namespaces []string
	// FirstResourceVersion is the resourceVersion of the first write. 0 and 1 have special meanings in
	// requests, so they count as 2.
	FirstResourceVersion int64
	// History is how many changes per resource the server keeps for watches and lists that begin at an older
	// version. A request for an older one gets 410 Gone. 0 keeps all.
	History int
}

// Server is a Kubernetes API server in memory. It is an http.RoundTripper. It is safe for concurrent use,
// and handles one request at a time.
type Server struct {
	now     func() time.Time
	history int
	tables  []*table // in the order in which they are discovered

	mu       sync.Mutex // guards the fields below, and the tables
	revision int64      // resourceVersion of the last write
	created  int64      // how many objects have been created
	answers  int64      // how many requests have been answered
	manager  string     // of the fields that the request changes which is handled
	onCommit []func(Commit)
}

var _ http.RoundTripper = (*Server)(nil)

// New returns a server without objects other than options.Namespaces.
func New(options Options) *Server {
	s := &Server{
		now:      options.Now,
		history:  options.History,
		revision: max(options.FirstResourceVersion, 2) - 1,
	}
	if s.now == nil {
		s.now = time.Now
	}
	resources := slices.Clone(builtins())
	for _, crd := range options.CRDs {
		resources = append(resources, crd.resource)
	}
	for _, r := range resources {
		s.tables = append(s.tables, &table{resource: r, objects: map[string]*object{}, forgotten: s.revision})
	}
	s.CreateNamespaces(options.Namespaces...)
	return s
}

// CreateNamespaces creates those namespaces that do not exist yet.
func (s *Server) CreateNamespaces(names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.namespaces()
	for _, name := range names {
		if t.objects[name] != nil {
			continue
		}
		obj := map[string]any{"apiVersion": "v1", "kind": t.kind, "metadata": map[string]any{"name": name}}
		if _, err := s.create(t, "", obj, t.gvk(), 0); err != nil {
			panic(fmt.Sprintf("memapi: creating namespace %q: %v", name, err)) // A mistake in a test.
		}
	}
}

// Config returns the configuration for clients of the server.
func (s *Server) Config() *rest.Config {
	return &rest.Config{
		Host:      Host,
		Transport: s,
		ContentConfig: rest.ContentConfig{
			ContentType:        runtime.ContentTypeJSON,
			AcceptContentTypes: runtime.ContentTypeJSON,
		},
		QPS: -1, // No rate limit: the server cannot be overloaded.
	}
}

// CloseIdleConnections does nothing: there are no connections. Clients call it when they close.
func (s *Server) CloseIdleConnections() {}

// ResourceVersion returns the resourceVersion of the last write to any resource.
func (s *Server) ResourceVersion() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

// AdvanceRevision skips n resourceVersions, as on a real server by writes to other objects.
func (s *Server) AdvanceRevision(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision += n
}

// Backup makes a backup of all objects. restore restores them and the resourceVersion of that time, as when
// etcd is restored from a backup and the API servers are restarted. All watches end then, and the history is
// forgotten. OnCommit's function is not called.
func (s *Server) Backup() (restore func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	revision := s.revision
	objects, keys := make([]map[string]*object, len(s.tables)), make([][]string, len(s.tables))
	for i, t := range s.tables {
		objects[i], keys[i] = maps.Clone(t.objects), slices.Clone(t.keys)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.revision = revision
		for i, t := range s.tables {
			t.objects, t.keys = maps.Clone(objects[i]), slices.Clone(keys[i])
			t.changes, t.forgotten = nil, revision
			for _, w := range t.watchers {
				w.stream.end(io.EOF)
			}
			t.watchers = nil
		}
	}
}

// Compact forgets the history. A watch or a continued list that begins at an older version than the current
// one then gets 410 Gone. Open watches go on.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		t.changes, t.forgotten = nil, s.revision
	}
}

// OnCommit makes the server call f for each further version, in order, before it answers the request that
// commits the version. f must not send requests to the server.
func (s *Server) OnCommit(f func(Commit)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCommit = append(s.onCommit, f)
}

// RoundTrip handles a request. When it returns, a write is stored and queued for every watch. Its error is
// that of the request's context or body.
//
// The body of a watch goes on after the return. It ends by its Close, with the request's context, after the
// request's timeoutSeconds, or by CutWatches.
func (s *Server) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		var err error
		body, err = io.ReadAll(io.LimitReader(req.Body, maxBody+1))
		if err := cmp.Or(err, req.Body.Close()); err != nil {
			return nil, err
		}
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &call{Request: req, body: body}
	s.manager = c.manager()
	a := s.serve(c)
	s.manager = ""
	header := http.Header{
		auditID:        {string(s.answerID())},
		"Date":         {s.now().UTC().Format(http.TimeFormat)},
		"Content-Type": {a.contentType},
	}
	resp := &http.Response{
		Status: strconv.Itoa(a.code) + " " + http.StatusText(a.code), StatusCode: a.code,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, ContentLength: -1, Request: req,
	}
	if a.stream != nil {
		resp.Body = a.stream
		return resp, nil
	}
	header.Set("Content-Length", strconv.Itoa(len(a.body)))
	resp.ContentLength = int64(len(a.body))
	resp.Body = io.NopCloser(bytes.NewReader(a.body))
	return resp, nil
}
