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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// Tests of access that is denied for a moment, of what is not stored, and of what is not stored as
// it was written.

func noPermission(verb string) refusal {
	return refusal{code: http.StatusForbidden, text: fmt.Sprintf(`distributedlocks.kubelock.dev "key" is forbidden: User "a" cannot %s resource `+
		`"distributedlocks" in API group "kubelock.dev" in the namespace "default"`, verb)}
}

var (
	noCredentials = refusal{code: http.StatusUnauthorized, text: "Unauthorized"}
	noKind        = refusal{code: http.StatusNotFound, text: "404 page not found", page: true}
)

// TestOneDenial denies one request of each verb in the course of a wait, a hold and a release:
// no client believes it.
func TestOneDenial(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for _, verb := range []string{"get", "create", "update", "patch", "watch", "delete"} {
		for name, f := range map[string]refusal{"401": noCredentials, "403": noPermission(verb), "404": noKind, "403 of a proxy": {code: http.StatusForbidden, text: "no", page: true}} {
			t.Run(verb+" "+name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server := kubelocktest.NewServer(t)
					g := newGate(server)
					c, other := server.NewClient(t, kubelock.Config{}), server.NewClient(t, kubelock.Config{})
					l, theirs := kubelock.NewLock[int](c, "key"), kubelock.NewLock[int](other, "key")
					round := func() error { // It sends each kind of request, some twice.
						held, err := theirs.Acquire(t.Context(), kubelock.WithDuration(30*time.Second))
						if err != nil {
							return err
						}
						done := make(chan error, 1)
						go func() {
							_, err := l.Do(t.Context(), func(ctx context.Context, n int) (int, error) {
								<-time.After(20 * time.Second)
								return n + 1, context.Cause(ctx)
							}, kubelock.WithAutoRenew())
							done <- err
						}()
						<-time.After(70 * time.Second) // The holder dies.
						_ = held
						if err := <-done; err != nil {
							return fmt.Errorf("Do: %w", err)
						}
						if err := l.Delete(t.Context()); err != nil {
							return fmt.Errorf("Delete: %w", err)
						}
						if _, err := l.Do(t.Context(), func(context.Context, int) (int, error) { return 1, nil }); err != nil {
							return fmt.Errorf("Do that creates: %w", err)
						}
						return nil
					}
					for range 2 { // Each client has been granted each verb that it needs.
						if err := round(); err != nil {
							t.Fatal(err)
						}
					}
					server.CutWatches()
					g.on(f.first(verb))
					if err := round(); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// TestDenialThatLasts has access end in the middle of a wait: the call says so after a while, and
// the next one at once. A program that never had access learns of it at once, too.
func TestDenialThatLasts(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]refusal{"401": noCredentials, "403": noPermission("get"), "404": noKind} {
		text := f.text
		if f == noKind {
			text = "install the CustomResourceDefinition"
		}
		synctest.Test(t, func(t *testing.T) {
			server := kubelocktest.NewServer(t)
			g := newGate(server)
			theirs := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{LockDuration: time.Hour}), "key")
			if _, err := theirs.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "key")
			if _, err := l.Get(t.Context()); err != nil {
				t.Fatal(err)
			}
			all := func(string) *refusal { return &f }
			g.on(all)
			says := func(l *kubelock.Lock[int], within time.Duration) {
				t.Helper()
				begun := time.Now()
				_, err := l.Acquire(t.Context())
				if err == nil || !strings.Contains(err.Error(), text) || errors.Is(err, kubelock.ErrNotAcquired) {
					t.Errorf("%s: the error is %v", name, err)
				}
				if took := time.Since(begun); took > within {
					t.Errorf("%s: it took %v to tell, want %v at most", name, took, within)
				}
				if most := g.most(); most > 30 {
					t.Errorf("%s: %d requests within ten seconds", name, most)
				}
				g.on(all)
			}
			says(l, 20*time.Second)
			says(l, 0)
			says(kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "key"), 0)
		})
	}
}

// TestRefusedState has the API server refuse to store a state, each time in other words: Save says
// so and keeps the lock, and Release and Do free the lock without the state and say so.
func TestRefusedState(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]refusal{
		"413":       {code: http.StatusRequestEntityTooLarge, text: "the request is too large"},
		"etcd":      {code: http.StatusInternalServerError, text: "etcdserver: request is too large"},
		"policy":    {code: http.StatusForbidden, text: "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: User \"x\" cannot say that"},
		"webhook":   {code: http.StatusConflict, text: webhookText},
		"a filter":  {code: http.StatusConflict, text: "no such words"},
		"a limit":   {code: http.StatusUnprocessableEntity, text: "metadata.annotations: Too long", details: &metav1.StatusDetails{Name: "key", Causes: []metav1.StatusCause{{Type: metav1.CauseTypeTooLong, Field: "metadata.annotations"}}}},
		"the quota": {code: http.StatusForbidden, text: "exceeded quota"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
					if req.Body != nil {
						body, err := io.ReadAll(req.Body)
						if err != nil {
							return nil, err
						}
						if bytes.Contains(body, []byte("forbidden words")) {
							return f.answer(req), nil
						}
						req.Body = io.NopCloser(bytes.NewReader(body))
					}
					return next.RoundTrip(req)
				})
				l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "key")
				says := func(call string, err error) {
					t.Helper()
					if err == nil || !strings.Contains(err.Error(), f.text) || errors.Is(err, kubelock.ErrUnknownOutcome) || errors.Is(err, kubelock.ErrLost) {
						t.Errorf("%s: %v, want the words of the refusal", call, err)
					}
					tooLarge := name == "413" || name == "etcd" || name == "a limit"
					if errors.Is(err, kubelock.ErrValueTooLarge) != tooLarge {
						t.Errorf("%s: %v; too large: %v", call, err, tooLarge)
					}
				}
				free := func(call string) {
					t.Helper()
					if got, err := l.Get(t.Context()); err != nil || got.Held || got.Value != "a" {
						t.Errorf("after %s: %+v, %v", call, got, err)
					}
				}
				held, err := l.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				says("Save", held.Update("forbidden words").Save(t.Context()))
				if err := held.Update("a").Save(t.Context()); err != nil {
					t.Errorf("Save after a refusal: %v", err)
				}
				says("Release", held.Update("forbidden words").Release(t.Context()))
				free("Release")
				_, err = l.Do(t.Context(), func(context.Context, string) (string, error) { return "forbidden words", nil })
				says("Do", err)
				free("Do")
			})
		})
	}
}

// TestTooLargeForOthers has others keep so much in a lock's object that a state which is small enough
// does not fit in.
func TestTooLargeForOthers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		backend kubelock.Backend
		state   string
		others  int
	}{
		{kubelock.DistributedLocks, strings.Repeat(`"`, 360<<10), 200 << 10}, // Each quote takes four bytes.
		{kubelock.Leases, strings.Repeat("a", 190<<10), 100 << 10},
	} {
		t.Run(string(tc.backend), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{Backend: tc.backend}), "key")
				if _, err := l.Do(t.Context(), func(context.Context, string) (string, error) { return "a", nil }); err != nil {
					t.Fatal(err)
				}
				annotateByHand(t, server, tc.backend, strings.Repeat("x", tc.others))
				begun := time.Now()
				_, err := l.Do(t.Context(), func(context.Context, string) (string, error) { return tc.state, nil })
				if !errors.Is(err, kubelock.ErrValueTooLarge) || errors.Is(err, kubelock.ErrUnknownOutcome) {
					t.Errorf("Do: %.300v", err)
				}
				if took := time.Since(begun); took > time.Second {
					t.Errorf("Do took %v", took)
				}
				if got, err := l.Get(t.Context()); err != nil || got.Held || got.Value != "a" {
					t.Errorf("after Do: %.100v, %v", got, err)
				}
			})
		})
	}
}

func annotateByHand(t *testing.T, server *kubelocktest.Server, backend kubelock.Backend, text string) {
	t.Helper()
	c, err := dynamic.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	resource := v1alpha1.GroupVersion.WithResource("distributedlocks")
	if backend == kubelock.Leases {
		resource = coordinationv1.SchemeGroupVersion.WithResource("leases")
	}
	objects := c.Resource(resource).Namespace(kubelocktest.Namespace)
	obj, err := objects.Get(t.Context(), "key", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	annotations := obj.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations["example.com/notes"] = text
	obj.SetAnnotations(annotations)
	if _, err := objects.Update(t.Context(), obj, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestTextThatIsNoUTF8 is refused where it comes in.
func TestTextThatIsNoUTF8(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		const broken = "a\xffb"
		if _, err := kubelock.NewClient(server.Config(), kubelock.Config{Namespace: "default", Identity: broken}); err == nil || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("an identity that is no UTF-8: %v", err)
		}
		l := kubelock.NewLock[json.RawMessage](server.NewClient(t, kubelock.Config{}), "key")
		_, err := l.Do(t.Context(), func(context.Context, json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(`"` + broken + `"`), nil
		})
		if err == nil || !strings.Contains(err.Error(), "UTF-8") {
			t.Errorf("a state that is no UTF-8: %v", err)
		}
		if got, err := l.Get(t.Context()); err != nil || got.Held || got.Exists {
			t.Errorf("after it: %+v, %v", got, err)
		}
		const odd = `"\u0000\u001b\u2028\u007f\ud83d\ude00"` // All of that comes back as it was.
		if _, err := l.Do(t.Context(), func(context.Context, json.RawMessage) (json.RawMessage, error) { return json.RawMessage(odd), nil }); err != nil {
			t.Error(err)
		}
		if got, err := l.Get(t.Context()); err != nil || string(got.Value) != odd {
			t.Errorf("%s, %v", got.Value, err)
		}
	})
}

// TestStoredOtherwise has something between the client and the store change what is written: the call
// says what, at once.
func TestStoredOtherwise(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		what, old, new string
		patch          string // of a renewal, which does not write the field
		field          string
		lost           bool // Save loses the lock
		acquires       bool // and so does no Acquire
	}{
		{"the identity", `"identity":"me"`, `"identity":"somebody"`, `{"op":"add","path":"/spec/holder/identity","value":"somebody"}`, "identity", false, true},
		{"the lock ID", `"lockID":"`, `"lockID":"x`, `{"op":"add","path":"/spec/holder/lockID","value":"x"}`, "lock ID", true, true},
		{"the state", `state-1`, `state-2`, "", "state", false, false},
	} {
		t.Run(tc.what, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				var requests atomic.Int64
				var alter atomic.Bool
				server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
					requests.Add(1)
					if req.Body != nil && alter.Load() && req.Method != http.MethodDelete {
						body, err := io.ReadAll(req.Body)
						if err != nil {
							return nil, err
						}
						const test = `{"op":"test","path":"/spec/holder/lockID","value":"` // It reads.
						body = bytes.ReplaceAll(body, []byte(test), []byte("TEST"))
						body = bytes.ReplaceAll(body, []byte(tc.old), []byte(tc.new))
						body = bytes.ReplaceAll(body, []byte("TEST"), []byte(test))
						if req.Method == http.MethodPatch && tc.patch != "" {
							body = append(bytes.TrimSuffix(bytes.TrimSpace(body), []byte("]")), ","+tc.patch+"]"...)
						}
						req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
					}
					return next.RoundTrip(req)
				})
				config := kubelock.Config{Identity: "me"}
				l := kubelock.NewLock[string](server.NewClient(t, config), "key")
				says := func(call string, err error) {
					t.Helper()
					if err == nil || !strings.Contains(err.Error(), "something else than was written: the ") || !strings.Contains(err.Error(), tc.field) {
						t.Errorf("%s: %v, want the field", call, err)
					}
				}
				held, err := l.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				alter.Store(true)
				err = held.Update("state-1").Save(t.Context())
				says("Save", err)
				if errors.Is(err, kubelock.ErrLost) != tc.lost || (held.Context().Err() != nil) != tc.lost {
					t.Errorf("Save: %v, and the hold's context: %v", err, context.Cause(held.Context()))
				}
				if !tc.lost && !tc.acquires {
					says("Release", held.Update("state-1").Release(t.Context()))
					if got, err := l.Get(t.Context()); err != nil || got.Held {
						t.Errorf("after Release: %+v, %v", got, err)
					}
				}
				if tc.acquires {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					requests.Store(0)
					_, err := kubelock.NewLock[string](server.NewClient(t, config), "new").Acquire(ctx)
					says("Acquire", err)
					<-time.After(time.Minute)
					if n := requests.Load(); n > 10 {
						t.Errorf("%d requests", n)
					}
				}
			})
		})
	}
}
