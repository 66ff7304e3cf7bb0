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
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// call is a request with its body and the parts of its path.
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
	if err == errNoPath { //nolint:errorlint // errNoPath is never wrapped.
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
		if parts[0] == "status" { // The status of the namespace itself.
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

// exists reports whether the call's resource has such paths.
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

// uid returns the nth UID, in the form of a random one.
func uid(n int64) types.UID {
	return types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", n>>48, n&(1<<48-1)))
}

// tooLong returns an error if the body is too long.
func (c *call) tooLong() error {
	if len(c.body) <= maxBody {
		return nil
	}
	return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d", maxBody))
}
