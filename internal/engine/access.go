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

package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/kubelock/kubelock/internal/store"
)

// How calls go on after requests that did not do what they were sent for is in internal/retry.
// Here is which denials of access this client doubts.

// access knows what the API server has let the client do.
type access struct {
	mu      sync.Mutex           // protects the fields below
	granted map[string]time.Time // when a request with that verb has last succeeded
	// denied are the verbs whose denial was believed, and which have not succeeded since; "" stands
	// for a denial that names none.
	denied map[string]struct{}
}

func newAccess() *access {
	return &access{granted: map[string]time.Time{}, denied: map[string]struct{}{}}
}

// answered takes an answer in. That the object has changed, or does not fit, an API server says
// only to a client that has access.
func (a *access) answered(req *http.Request, code int, at time.Time) {
	if code < http.StatusMultipleChoices || code == http.StatusConflict || code == http.StatusUnprocessableEntity {
		a.grant(verbOf(req), at)
	}
}

// grant notes that a request with that verb was accepted.
func (a *access) grant(verb string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.granted[verb] = at
	delete(a.denied, verb)
	delete(a.denied, "")
}

// Doubts implements retry.Access for a client that waits for a lock: the same was granted before. A program
// that never had a permission shall learn of it at once.
func (a *access) Doubts(denial error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if verb := store.DeniedVerb(denial); verb != "" {
		_, ok := a.granted[verb]
		return ok
	}
	return len(a.granted) > 0
}

// accessOfHolder is the access as a holder judges it, which has more to lose than time.
type accessOfHolder struct{ *access }

// Doubts implements retry.Access: a holder has had access. It doubts each denial once.
func (a accessOfHolder) Doubts(denial error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, believed := a.denied[store.DeniedVerb(denial)]
	return len(a.granted) > 0 && !believed
}

// Believe implements retry.Access: the next denial is believed at once.
func (a *access) Believe(denial error) {
	verb := store.DeniedVerb(denial)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.denied[verb] = struct{}{}
	if verb == "" {
		clear(a.granted)
	}
	delete(a.granted, verb)
}

// watched is when a watch was last opened, or its objects listed.
func (a *access) watched() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if list, watch := a.granted[verbList], a.granted[verbWatch]; list.After(watch) {
		return list
	}
	return a.granted[verbWatch]
}

const (
	verbGet   = "get"
	verbList  = "list"
	verbWatch = "watch"
)

// verbOf is the Kubernetes verb of a request of a client.
func verbOf(req *http.Request) string {
	switch req.Method {
	case http.MethodPost:
		return "create"
	case http.MethodPut:
		return "update"
	case http.MethodPatch:
		return "patch"
	case http.MethodDelete:
		return "delete"
	}
	switch query := req.URL.Query(); {
	case query.Get("watch") != "":
		return verbWatch
	case query.Has("fieldSelector"), query.Has("labelSelector"):
		return verbList
	}
	return verbGet
}

// causeOf is why ctx has ended: ErrClosed, or an error that Is ctx's own.
func causeOf(ctx context.Context) error {
	cause := context.Cause(ctx)
	if errors.Is(cause, ErrClosed) || errors.Is(cause, ctx.Err()) {
		return cause
	}
	return fmt.Errorf("%w: %w", ctx.Err(), cause)
}
