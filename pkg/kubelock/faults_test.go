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
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

type intercept = func(req *http.Request, next http.RoundTripper) (*http.Response, error)

// once applies fault to the first request of a verb, and lets others pass.
func once(verb string, fault intercept) intercept {
	var first sync.Once
	return func(req *http.Request, next http.RoundTripper) (resp *http.Response, err error) {
		hit := false
		if verbOf(req) == verb {
			first.Do(func() { hit = true })
		}
		if hit {
			return fault(req, next)
		}
		return next.RoundTrip(req)
	}
}

// The ways in which a write can go wrong without its sender learning what became of
// it.
var faults = map[string]intercept{
	"committed, answer lost": func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body) // Committed by now, whatever the body says.
			resp.Body.Close()
		}
		return nil, io.ErrUnexpectedEOF
	},
	"never sent": func(*http.Request, http.RoundTripper) (*http.Response, error) {
		return nil, io.ErrUnexpectedEOF
	},
	"committed, answered with 500": func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if resp, err := next.RoundTrip(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return answerOf(req, http.StatusInternalServerError, ""), nil
	},
	"not committed, answered with 503": func(req *http.Request, _ http.RoundTripper) (*http.Response, error) {
		return answerOf(req, http.StatusServiceUnavailable, ""), nil
	},
	"not looked at, answered with 429": func(req *http.Request, _ http.RoundTripper) (*http.Response, error) {
		return answerOf(req, http.StatusTooManyRequests, "1"), nil
	},
	"sent twice, answer to the second": func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		again := req.Clone(req.Context())
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			again.Body = body
		}
		if resp, err := next.RoundTrip(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		return next.RoundTrip(again)
	},
}

func answerOf(req *http.Request, code int, retryAfter string) *http.Response {
	header := http.Header{}
	if retryAfter != "" {
		header.Set("Retry-After", retryAfter)
	}
	return &http.Response{StatusCode: code, Header: header, Body: io.NopCloser(strings.NewReader("fault")), Request: req}
}

// TestWritesOfUnknownOutcome lets each kind of write go wrong in each way, and checks
// that the call has the right result all the same: no second holder, no lost value,
// no lock that stays held.
func TestWritesOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for fault, strike := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			var rec recorder
			c := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns})
			l := kubelock.NewLock[counter](c, "fault")
			other := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns}), "fault")
			expect := func(step string, want kubelock.Snapshot[counter]) {
				t.Helper()
				got, err := other.Get(within(t))
				want.Token, want.Holder = got.Token, got.Holder
				if err != nil || got != want {
					t.Errorf("after %s: %+v, %v; want %+v", step, got, err, want)
				}
			}
			excluded := func(step string) {
				t.Helper()
				if _, err := other.TryAcquire(within(t)); !errors.Is(err, kubelock.ErrNotAcquired) {
					t.Errorf("after %s another client gets %v, want ErrNotAcquired", step, err)
				}
			}

			rec.on(once("create", strike))
			held := acquire(t, l)
			excluded("the acquisition that creates")
			if err := held.Context().Err(); err != nil {
				t.Errorf("the created hold is over: %v", err)
			}
			first := held.Token()

			rec.on(once("patch", strike))
			if err := held.Renew(within(t)); err != nil {
				t.Errorf("Renew: %v", err)
			}
			rec.on(once("patch", strike))
			if err := held.Update(counter{1}).Save(within(t)); err != nil {
				t.Errorf("Save: %v", err)
			}
			expect("Save", kubelock.Snapshot[counter]{Value: counter{1}, Exists: true, Held: true})
			excluded("Save")

			rec.on(once("update", strike))
			if err := held.Update(counter{2}).Release(within(t)); err != nil {
				t.Errorf("Release: %v", err)
			}
			expect("Release", kubelock.Snapshot[counter]{Value: counter{2}, Exists: true})

			rec.on(once("update", strike))
			held = acquire(t, l)
			if held.Value().Count != 2 || held.Token() <= first {
				t.Errorf("the second hold has the state %+v and token %d after %d", held.Value(), held.Token(), first)
			}
			excluded("the acquisition that updates")
			if token := held.Token(); token != storedToken(t, ns, "fault") {
				t.Errorf("the hold's token is %d, the object's %d", token, storedToken(t, ns, "fault"))
			}
			rec.on(nil)
			release(t, held.Update(counter{3}))

			rec.on(once("delete", strike))
			if err := l.Delete(within(t)); err != nil {
				t.Errorf("Delete: %v", err)
			}
			expect("Delete", kubelock.Snapshot[counter]{})
			rec.on(nil)

			held = acquire(t, other)
			if held.Token() <= first || held.Exists() {
				t.Errorf("after a deletion: token %d after %d, state: %v", held.Token(), first, held.Exists())
			}
			release(t, held)
		})
	}
}

func storedToken(t *testing.T, ns, name string) int64 {
	t.Helper()
	var obj v1alpha1.DistributedLock
	if err := env.Client(t).Get(t.Context(), types.NamespacedName{Namespace: ns, Name: name}, &obj); err != nil {
		t.Fatal(err)
	}
	return obj.Spec.Holder.Token
}

// TestAcquireAbandonedInFlight checks an acquisition whose context ends while its
// write is under way: the outcome is unknown to the caller, and the lock does not
// stay held if the write is committed after all.
func TestAcquireAbandonedInFlight(t *testing.T) {
	t.Parallel()
	for _, try := range []bool{false, true} {
		ns := env.Namespace(t)
		var rec recorder
		l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: time.Hour}), "abandoned")
		ctx, cancel := context.WithCancel(t.Context())
		proceed := make(chan struct{})
		rec.on(once("create", func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			cancel()
			<-proceed
			return next.RoundTrip(req)
		}))
		acquireOnce := l.Acquire
		if try {
			acquireOnce = l.TryAcquire
		}
		_, err := acquireOnce(ctx)
		if !errors.Is(err, kubelock.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) || errors.Is(err, kubelock.ErrNotAcquired) {
			t.Errorf("got %v, want ErrUnknownOutcome and Canceled", err)
		}
		close(proceed)
		// Only the give-back can let this one in before the hour is over.
		other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "abandoned")
		rec.waitFor(t, "create")
		release(t, acquire(t, other))
	}
}

// TestReleaseGoesOnInTheBackground checks that a caller who stops waiting for a
// release does not keep the lock from others.
func TestReleaseGoesOnInTheBackground(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: time.Hour}), "background")
	held := acquire(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	proceed := make(chan struct{})
	rec.on(once("update", func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		cancel()
		<-proceed
		return next.RoundTrip(req)
	}))
	if err := held.Update("kept").Release(ctx); !errors.Is(err, kubelock.ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want ErrUnknownOutcome and Canceled", err)
	}
	close(proceed)
	got, err := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "background").Wait(within(t))
	if err != nil || got.Value != "kept" || got.Held {
		t.Errorf("after the release in the background: %+v, %v", got, err)
	}
}

// TestFailedReleaseDoesNotBlockItsOwnClient checks a release that the API server
// refuses: the lock stays held for others, but the client's next caller need not wait
// for a hold of which it knows that it is dead. The refused release can be tried again.
func TestFailedReleaseDoesNotBlockItsOwnClient(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: time.Hour}), "refused")
	refuse := func(req *http.Request, next http.RoundTripper) (*http.Response, error) { // With the state, and without.
		if verbOf(req) == "update" {
			return answerOf(req, http.StatusBadRequest, ""), nil
		}
		return next.RoundTrip(req)
	}
	held := acquire(t, l).Update("first")
	rec.on(refuse)
	if err := held.Release(within(t)); err == nil || errors.Is(err, kubelock.ErrLost) {
		t.Errorf("a refused release gives %v", err)
	}
	if held.Context().Err() == nil {
		t.Error("after a release, however it ended, the hold's context must be over")
	}
	rec.on(nil)
	if err := held.Release(within(t)); err != nil {
		t.Errorf("the second try: %v", err)
	}

	held = acquire(t, l).Update("second")
	rec.on(refuse)
	if err := held.Release(within(t)); err == nil {
		t.Error("a refused release gives no error")
	}
	rec.on(nil)
	next := acquire(t, l)
	if next.Value() != "first" || next.Token() <= held.Token() {
		t.Errorf("the next hold has the state %q and token %d after %d", next.Value(), next.Token(), held.Token())
	}
	if err := held.Release(within(t)); !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("the old hold's release when the next has the lock: %v, want ErrLost", err)
	}
	if err := next.Renew(within(t)); err != nil {
		t.Errorf("the next hold was harmed by it: %v", err)
	}
	release(t, next)
}

// TestReleaseAfterOthersHadTheLock checks a release whose answer is lost, when others
// have acquired and released the lock before it can be read back.
func TestReleaseAfterOthersHadTheLock(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	other := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns}), "busy")
	var rec recorder
	l := kubelock.NewLock[counter](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "busy")
	held := acquire(t, l)
	rec.on(once("update", func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		next2 := acquire(t, other)
		if next2.Value().Count != 1 {
			t.Errorf("the next holder sees %+v", next2.Value())
		}
		release(t, next2.Update(counter{2}))
		return nil, io.ErrUnexpectedEOF
	}))
	// Whether this release or somebody's hand let the others in, the object does not
	// tell any more.
	if err := held.Update(counter{1}).Release(within(t)); !errors.Is(err, kubelock.ErrUnknownOutcome) {
		t.Errorf("a release of which nothing can be read any more gives %v, want ErrUnknownOutcome", err)
	}
	if got, err := l.Get(t.Context()); err != nil || got.Value.Count != 2 {
		t.Errorf("the state is %+v, %v; the release has overwritten a later one", got, err)
	}
}
