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
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// Host is the address in a server's Config. Nothing listens there.
const Host = "http://memapi"

// maxBody is how long the body of a request may be, in bytes.
const maxBody = 3 << 20

// Options are what a server is made of. Its zero value is valid.
type Options struct {
	// Now is the clock of Date headers and timestamps. Nil means time.Now, which in a
	// testing/synctest bubble is the bubble's.
	Now func() time.Time
	// CRDs are the custom resources to serve.
	CRDs []*CRD
	// Namespaces exist from the beginning.
	Namespaces []string
	// FirstResourceVersion is what the first write gets. 0 and 1, which have a meaning
	// of their own in requests, count as 2.
	FirstResourceVersion int64
	// History is how many changes of a resource are kept for watches and lists that
	// begin at an older version; a request for more gets 410 Gone. 0 keeps all.
	History int
}

// Server is a Kubernetes API server in memory. It is an http.RoundTripper, and safe
// for concurrent use: requests are handled one after another.
type Server struct {
	now     func() time.Time
	history int
	tables  []*table // in the order in which they are discovered

	mu       sync.Mutex // guards what follows, and the tables
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

// Config is how clients reach the server.
func (s *Server) Config() *rest.Config {
	return &rest.Config{
		Host:      Host,
		Transport: s,
		ContentConfig: rest.ContentConfig{
			ContentType:        runtime.ContentTypeJSON,
			AcceptContentTypes: runtime.ContentTypeJSON,
		},
		QPS: -1, // Nobody is overloaded.
	}
}

// CloseIdleConnections is called by clients that close. There are no connections.
func (s *Server) CloseIdleConnections() {}

// ResourceVersion is that of the last write to any resource.
func (s *Server) ResourceVersion() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.revision
}

// AdvanceRevision lets n resourceVersions go by, as writes to objects do that this
// server does not have.
func (s *Server) AdvanceRevision(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision += n
}

// Backup notes what is stored. restore makes it so again, with the resourceVersion of that
// time, as when etcd is restored from a backup and the API servers are started anew: all
// watches end, and the history is forgotten. It commits nothing.
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

// Compact forgets the history: a watch or a continued list that begins at an older
// version than the current one then gets 410 Gone. Watches that are open go on.
func (s *Server) Compact() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tables {
		t.changes, t.forgotten = nil, s.revision
	}
}

// OnCommit lets f be called for each version from now on, in order, before the
// request that commits it is answered. f must not send requests to the server.
func (s *Server) OnCommit(f func(Commit)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCommit = append(s.onCommit, f)
}

// RoundTrip handles a request. When it returns, what the request writes is stored and
// queued for every watch; only the body of a watch is still being written then, and
// it ends with its own Close, with the request's context, after the request's
// timeoutSeconds, or by CutWatches. The error is that of the request's context or
// body.
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

// call is a request whose body has been read, and what its path says.
type call struct {
	*http.Request

	body []byte

	table       *table
	namespace   string
	name        string
	subresource string
}

type answer struct {
	code        int
	contentType string
	body        []byte
	stream      *stream // instead of body
}

func jsonAnswer(code int, body []byte) answer {
	return answer{code: code, contentType: runtime.ContentTypeJSON, body: body}
}

func (s *Server) serve(c *call) answer {
	a, err := s.route(c)
	if err == nil {
		return a
	}
	if err == errNoPath { //nolint:errorlint // It is never wrapped.
		return answer{code: http.StatusNotFound, contentType: "text/plain; charset=utf-8", body: []byte(err.Error() + "\n")}
	}
	failed := status(err)
	a = jsonAnswer(int(failed.Code), encode(failed))
	return a
}

func (s *Server) route(c *call) (answer, error) {
	path, parts := groupVersion(c.URL.Path)
	if len(parts) == 0 {
		return s.discover(c)
	}
	if a, ok, err := s.review(c); ok {
		return a, err
	}
	if len(parts) > 2 && parts[0] == namespaces.Resource {
		c.namespace, parts = parts[1], parts[2:]
		if parts[0] == "status" { // A namespace's own.
			c.namespace, parts = "", []string{namespaces.Resource, c.namespace, parts[0]}
		}
	}
	for _, t := range s.tables {
		if t.apiPath() == path && t.gvr.Resource == parts[0] {
			c.table = t
		}
	}
	if c.table == nil && slices.ContainsFunc(builtins(), func(r *resource) bool { return r.apiPath() == path }) {
		return answer{}, errNoResource
	}
	const most = 3 // resource, name and subresource
	if c.table == nil || len(parts) > most {
		return answer{}, errNoPath
	}
	parts = append(parts, "", "")
	c.name, c.subresource = parts[1], parts[2]
	if !c.exists() {
		return answer{}, errNoPath
	}
	if !acceptsJSON(c.Header.Get("Accept")) {
		return answer{}, notAcceptable()
	}
	return s.handle(c)
}

// groupVersion splits a path behind the group and version, and the rest at slashes.
func groupVersion(path string) (root string, parts []string) {
	parts = strings.Split(strings.Trim(path, "/"), "/")
	length := 0
	switch parts[0] {
	case "api":
		length = 2 // api, version
	case "apis":
		length = 3 // apis, group, version
	}
	if length == 0 || len(parts) <= length {
		return "", nil
	}
	return "/" + strings.Join(parts[:length], "/"), parts[length:]
}

// exists tells whether the call's resource has such paths.
func (c *call) exists() bool {
	if c.subresource != "" && (c.subresource != "status" || !c.table.status) {
		return false
	}
	if !c.table.namespaced {
		return c.namespace == ""
	}
	// All namespaces can only be read together.
	return c.namespace != "" || c.name == "" && c.Method == http.MethodGet
}

func (s *Server) handle(c *call) (answer, error) {
	if c.name == "" {
		switch c.Method {
		case http.MethodGet:
			return s.listOrWatch(c)
		case http.MethodPost:
			return s.post(c)
		case http.MethodDelete:
			return s.deleteCollection(c)
		default:
			if c.table.custom {
				return answer{}, apierrors.NewBadRequest("name must be provided")
			}
		}
		return answer{}, apierrors.NewMethodNotSupported(c.table.groupResource(), strings.ToLower(c.Method))
	}
	switch c.Method {
	case http.MethodGet:
		return s.get(c)
	case http.MethodPut:
		return s.put(c)
	case http.MethodPatch:
		return s.patch(c)
	case http.MethodDelete:
		if c.subresource == "" {
			return s.remove(c)
		}
	default:
	}
	return answer{}, apierrors.NewMethodNotSupported(c.table.groupResource(), strings.ToLower(c.Method))
}

func (s *Server) namespaces() *table { return s.tables[0] }

// uid is the nth UID, in the form of a random one.
func uid(n int64) types.UID {
	return types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", n>>48, n&(1<<48-1)))
}

// tooLong refuses a body that was not read to its end.
func (c *call) tooLong() error {
	if len(c.body) <= maxBody {
		return nil
	}
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
}
