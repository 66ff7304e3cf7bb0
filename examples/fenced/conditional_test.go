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

package fenced_test

import (
	"crypto/md5" //nolint:gosec // As object stores have it.
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	"github.com/kubelock/kubelock/examples/fenced"
)

// object is an HTTP service with one resource, which knows conditional requests and no tokens.
type object struct {
	hashed bool // The ETag is a hash of the content, as in object stores; otherwise it counts versions.
	before func()

	mu      sync.Mutex // protects the fields below
	text    []byte
	version int // 0: there is none
}

func (o *object) etag() string {
	if o.hashed {
		return fmt.Sprintf("%q", fmt.Sprintf("%x", md5.Sum(o.text))) //nolint:gosec // As object stores have it.
	}
	return strconv.Quote(strconv.Itoa(o.version))
}

// ServeHTTP implements http.Handler.
func (o *object) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if before := o.before; r.Method == http.MethodPut && before != nil {
		o.before = nil
		before()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	exists := o.version > 0
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	switch {
	case r.Method == http.MethodGet && !exists:
		http.Error(w, "no such object", http.StatusNotFound)
	case r.Method == http.MethodGet:
		w.Header().Set("ETag", o.etag())
		_, _ = w.Write(o.text) // The client sees what is missing.
	case match != "" && (!exists || match != o.etag()), none == "*" && exists:
		http.Error(w, "the condition does not hold", http.StatusPreconditionFailed)
	default:
		o.text = text
		o.version++
		w.Header().Set("ETag", o.etag())
	}
}

// TestConditionalWrites is for a service with versions, and for an object store.
func TestConditionalWrites(t *testing.T) {
	t.Parallel()
	for name, hashed := range map[string]bool{"If-Match": false, "like S3": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resource := func() (*object, fenced.Resource) {
				o := &object{hashed: hashed}
				server := httptest.NewServer(o)
				t.Cleanup(server.Close)
				return o, fenced.Resource{Client: server.Client(), URL: server.URL + "/report"}
			}
			_, r := resource()
			pausedHolder(t, r)
			_, r = resource()
			greatTokens(t, r)

			// The newer holder writes the same text between the older one's check and its write.
			o, r := resource()
			if err := r.Write(t.Context(), 5, "same"); err != nil {
				t.Fatal(err)
			}
			o.before = func() {
				if err := r.Write(t.Context(), 9, "same"); err != nil {
					t.Error(err)
				}
			}
			if err := r.Write(t.Context(), 6, "old"); !errors.Is(err, fenced.ErrStale) {
				t.Errorf("the older holder's write: %v", err)
			}
			if text, err := r.Read(t.Context(), 9); err != nil || text != "same" {
				t.Errorf("the newer holder reads %q, %v", text, err)
			}
		})
	}
}
