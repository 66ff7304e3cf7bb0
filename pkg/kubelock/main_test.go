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

package kubelock_test

import (
	"context"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.MainOrMemory(m, func(e *testenv.Env) { env = e }))
}

// patience bounds what must happen but may take long on a loaded machine.
const patience = 30 * time.Second

// newClient returns a client that is closed with the test.
func newClient(t testing.TB, cfg kubelock.Config) *kubelock.Client {
	t.Helper()
	return newClientFor(t, env.Config, cfg)
}

func newClientFor(t testing.TB, config *rest.Config, cfg kubelock.Config) *kubelock.Client {
	t.Helper()
	c, err := kubelock.NewClient(config, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// within returns a context for a call that must come to an end.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// acquire acquires and fails the test if it cannot.
func acquire[T any](t testing.TB, l *kubelock.Lock[T], opts ...kubelock.Option) *kubelock.Held[T] {
	t.Helper()
	held, err := l.Acquire(within(t), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func release[T any](t testing.TB, held *kubelock.Held[T]) {
	t.Helper()
	if err := held.Release(within(t)); err != nil {
		t.Fatal(err)
	}
}

// recorder counts the requests that pass through it, and lets a test interfere with
// them.
type recorder struct {
	mu       sync.Mutex
	requests []string // their verbs, in their order
	answered []string // the verbs of those that were answered, in that order
	changed  chan struct{}
	// intercept, if not nil, handles a request instead of next.
	intercept func(req *http.Request, next http.RoundTripper) (*http.Response, error)
}

// wrap returns a configuration whose requests pass through r.
func (r *recorder) wrap(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &interceptor{next, func(req *http.Request) (*http.Response, error) {
			r.mu.Lock()
			r.requests = append(r.requests, verbOf(req))
			intercept := r.intercept
			r.mu.Unlock()
			var resp *http.Response
			var err error
			if intercept != nil {
				resp, err = intercept(req, next)
			} else {
				resp, err = next.RoundTrip(req)
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.answered = append(r.answered, verbOf(req))
			if r.changed != nil {
				close(r.changed)
				r.changed = nil
			}
			return resp, err
		}}
	})
	return config
}

// waitFor returns when a request of that verb has been answered since the last
// call of taken.
func (r *recorder) waitFor(t testing.TB, verb string) {
	t.Helper()
	timeout := time.After(patience)
	for {
		r.mu.Lock()
		found := slices.Contains(r.answered, verb)
		if r.changed == nil {
			r.changed = make(chan struct{})
		}
		changed := r.changed
		r.mu.Unlock()
		if found {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("no %s was answered", verb)
		}
	}
}

// taken returns the verbs of the requests since the last call.
func (r *recorder) taken() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	verbs := strings.Join(r.requests, " ")
	r.requests, r.answered = nil, nil
	return verbs
}

// on sets what handles requests from now on; nil for nothing.
func (r *recorder) on(intercept func(req *http.Request, next http.RoundTripper) (*http.Response, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.intercept = intercept
}

func verbOf(req *http.Request) string {
	if req.URL.Query().Get("watch") != "" {
		return "watch"
	}
	return map[string]string{"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}[req.Method]
}

type interceptor struct {
	next      http.RoundTripper
	roundTrip func(*http.Request) (*http.Response, error)
}

func (i *interceptor) RoundTrip(r *http.Request) (*http.Response, error) { return i.roundTrip(r) }

func (i *interceptor) WrappedRoundTripper() http.RoundTripper { return i.next }
