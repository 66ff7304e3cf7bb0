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
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// late is a request that the network keeps for longer than its sender waits.
type late struct {
	req  *http.Request
	next http.RoundTripper
}

// keep is an intercept: the sender gets no answer, and the request is not sent yet.
func (l *late) keep(req *http.Request, next http.RoundTripper) (*http.Response, error) {
	again := req.Clone(context.WithoutCancel(req.Context()))
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		again.Body = body
	}
	l.req, l.next = again, next
	return nil, io.ErrUnexpectedEOF
}

// deliver lets the request arrive, and returns what the API server says to it.
func (l *late) deliver(t *testing.T) int {
	t.Helper()
	resp, err := l.next.RoundTrip(l.req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// TestLateDeleteDoesNotEndTheNextHold checks a Delete that stops waiting while its
// write is under way: the next caller of its client must not get a hold which that
// write can still end.
func TestLateDeleteDoesNotEndTheNextHold(t *testing.T) {
	t.Parallel()
	for verb, waits := range map[string]bool{"delete": false, "patch": true} {
		t.Run(verb, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			history := env.Watch(t, ns)
			held := acquire(t, lockOf(t, ns, "orders"))

			var rec recorder
			c := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: time.Hour})
			l := kubelock.NewLock[string](c, "orders")
			ctx, cancel := context.WithCancel(t.Context())
			deleted := make(chan error, 1)
			go func() { deleted <- l.Delete(ctx) }()
			queued(history, "orders", 1)
			next := startAcquire(within(t), l)
			eventuallyQueued(t, c, "orders", 2)
			if waits {
				behind := startAcquire(within(t), lockOf(t, ns, "orders"))
				queued(history, "orders", 2)
				t.Cleanup(func() { <-behind.done })
				go func() {
					<-behind.done
					if behind.err == nil {
						_ = behind.held.Release(context.WithoutCancel(t.Context()))
					}
				}()
			}

			var request late
			rec.on(once(verb, func(req *http.Request, n http.RoundTripper) (*http.Response, error) {
				cancel()
				return request.keep(req, n)
			}))
			release(t, held)
			if err := <-deleted; !errors.Is(err, kubelock.ErrUnknownOutcome) {
				t.Errorf("a Delete whose context ended during its write gives %v, want ErrUnknownOutcome", err)
			}
			got := next.get(t)
			if code := request.deliver(t); code < 400 {
				t.Errorf("the late write of the Delete was done: %d", code)
			}
			if err := got.Renew(within(t)); err != nil {
				t.Error("the next hold:", err)
			}
			release(t, got)
		})
	}
}

// TestSecondReleaseGivesTheLockToNobody checks a Release that is tried again when its
// client's turn has gone to others: it frees the lock, and does not pass it to callers
// who have the turn of another.
func TestSecondReleaseGivesTheLockToNobody(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	var rec recorder
	c := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: time.Hour})
	l := kubelock.NewLock[string](c, "orders")
	held := acquire(t, l)
	rec.on(once("update", func(req *http.Request, _ http.RoundTripper) (*http.Response, error) {
		return answerOf(req, http.StatusBadRequest, ""), nil
	}))
	if err := held.Release(within(t)); err == nil {
		t.Fatal("a refused release gives no error")
	}
	reached := make(chan struct{})
	rec.on(once("update", func(req *http.Request, _ http.RoundTripper) (*http.Response, error) {
		defer close(reached)
		resp := answerOf(req, http.StatusTooManyRequests, "")
		resp.Header.Set("Retry-After", "2") // Meanwhile the old hold is released.
		return resp, nil
	}))
	first := startAcquire(within(t), l)
	<-reached
	second := startAcquire(within(t), l)
	eventuallyQueued(t, c, "orders", 2)
	if err := held.Release(within(t)); err != nil {
		t.Error(err)
	}
	history.Until(patience, "orders", "released, to nobody", func(v testenv.Version) bool {
		return v.Free() && v.Spec.LastRelease != nil && v.Spec.LastRelease.LockID == held.ID() && v.Spec.LastRelease.Reason == v1alpha1.ReasonReleased
	})
	release(t, first.get(t))
	release(t, second.get(t))
}

// TestLateReleaseGivesTheLockToItsClient checks a release of which nothing is known,
// and which would give the lock to the next caller of its client: that one cannot say
// that it does not get the lock, and if it does after all it hands it on.
func TestLateReleaseGivesTheLockToItsClient(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var rec recorder
	c := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: time.Hour})
	l := kubelock.NewLock[string](c, "orders")
	held := acquire(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	next := startAcquire(ctx, l)
	eventuallyQueued(t, c, "orders", 2)

	var request late
	var reads atomic.Int64 // One that is given up may still be under way beside the next.
	rec.on(func(req *http.Request, n http.RoundTripper) (*http.Response, error) {
		switch verb := verbOf(req); {
		case verb == "update" && request.req == nil:
			return request.keep(req, n)
		case verb == "get":
			if reads.Add(1) == 1 {
				return answerOf(req, http.StatusBadRequest, ""), nil
			}
			if ctx.Err() == nil { // The next caller's.
				cancel()
				return nil, io.ErrUnexpectedEOF
			}
		}
		return n.RoundTrip(req)
	})
	if err := held.Release(within(t)); !errors.Is(err, kubelock.ErrUnknownOutcome) {
		t.Errorf("got %v, want ErrUnknownOutcome", err)
	}
	<-next.done
	if !errors.Is(next.err, kubelock.ErrUnknownOutcome) {
		t.Errorf("the next caller, which may get the lock still, got %v, want ErrUnknownOutcome", next.err)
	}
	if code := request.deliver(t); code != http.StatusOK {
		t.Fatalf("the late release: %d", code)
	}
	release(t, acquire(t, lockOf(t, ns, "orders"))) // In less than an hour.
}

// TestLateCreate checks an acquisition whose request to create the object is still
// under way when others have made the object: it cannot say that it does not get the
// lock, since the object may be deleted again; and if it does get it, it hands it on.
func TestLateCreate(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	other := lockOf(t, ns, "orders")
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: time.Hour}), "orders")
	var request late
	held := make(chan *kubelock.Held[string], 1)
	rec.on(once("create", func(req *http.Request, n http.RoundTripper) (*http.Response, error) {
		held <- acquire(t, other)
		return request.keep(req, n)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	waiting := startAcquire(ctx, l)
	queued(history, "orders", 1)
	cancel()
	<-waiting.done
	if !errors.Is(waiting.err, kubelock.ErrUnknownOutcome) {
		t.Errorf("got %v, want ErrUnknownOutcome", waiting.err)
	}
	queued(history, "orders", 0)
	release(t, <-held)
	if err := other.Delete(within(t)); err != nil {
		t.Fatal(err)
	}
	if code := request.deliver(t); code != http.StatusCreated {
		t.Fatalf("the late create: %d", code)
	}
	release(t, acquire(t, other)) // In less than an hour.
}

// TestReleaseIsNotReadFromAnotherObject checks a release whose answer is lost, and
// whose object was deleted and made again, by a late copy of the request that had
// begun the hold: what became of that copy says nothing of the release.
func TestReleaseIsNotReadFromAnotherObject(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "orders")
	held := acquire(t, l)
	rec.on(once("update", func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		obj := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "orders"}}
		if err := env.Client(t).Delete(within(t), obj); err != nil {
			t.Error(err)
		}
		obj.Spec = v1alpha1.DistributedLockSpec{Key: "orders", LastRelease: &v1alpha1.LastRelease{
			Identity: "who-had-it", LockID: held.ID(), Time: metav1.NowMicro(), TimeSource: v1alpha1.TimeSourceServer, Reason: v1alpha1.ReasonExpired,
		}}
		if err := env.Client(t).Create(within(t), obj); err != nil {
			t.Error(err)
		}
		return nil, io.ErrUnexpectedEOF
	}))
	if err := held.Update("done").Release(within(t)); !errors.Is(err, kubelock.ErrUnknownOutcome) {
		t.Errorf("got %v, want ErrUnknownOutcome: the state was written, and is gone", err)
	}
}
