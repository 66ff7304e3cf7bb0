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
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestAutoRenew checks that a renewed hold outlives its duration by far, and is not
// renewed any more once it is released.
func TestAutoRenew(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: 2 * time.Second}), "renewed")
	other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "renewed")
	held := acquire(t, l, kubelock.WithAutoRenew())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := other.Acquire(ctx); !errors.Is(err, kubelock.ErrNotAcquired) {
		t.Errorf("while the hold is renewed another client gets %v", err)
	}
	if err := held.Context().Err(); err != nil {
		t.Errorf("the renewed hold is over: %v", context.Cause(held.Context()))
	}
	release(t, held.Update("done"))
	// The lock may have gone to the other's place in the queue, which it is just leaving.
	if got, err := other.Wait(within(t)); err != nil || got.Value != "done" || got.Held {
		t.Errorf("after the release: %+v, %v", got, err)
	}
}

// TestAutoRenewThatFails checks that the hold ends at its deadline when renewals do
// not get through, and that its owner learns it in time.
func TestAutoRenewThatFails(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: time.Second}), "cut off")
	other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "cut off")
	held := acquire(t, l, kubelock.WithAutoRenew())
	rec.on(func(req *http.Request, _ http.RoundTripper) (*http.Response, error) {
		<-req.Context().Done() // As into a hole.
		return nil, req.Context().Err()
	})
	next := acquire(t, other)
	select {
	case <-held.Context().Done():
	default:
		t.Error("another client has the lock, and the old holder believes that it has it too")
	}
	if cause := context.Cause(held.Context()); !errors.Is(cause, kubelock.ErrLost) {
		t.Errorf("cause is %v, want ErrLost", cause)
	}
	rec.on(nil)
	if err := held.Release(within(t)); !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("Release: %v, want ErrLost", err)
	}
	release(t, next)
}

// TestClose checks that everything that waits ends, that holds are kept and not
// renewed, and that later calls fail. That no goroutine is left is checked at the
// end of all tests.
func TestClose(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	owner := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "busy")
	busy := acquire(t, owner)
	defer release(t, busy)

	var rec recorder
	c := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: 2 * time.Second})
	held := acquire(t, kubelock.NewLock[string](c, "mine"), kubelock.WithAutoRenew())
	waiting := kubelock.NewLock[string](c, "busy")
	errs := make(chan error, 4)
	go func() { _, err := waiting.Acquire(t.Context()); errs <- err }()
	go func() { _, err := waiting.Acquire(t.Context()); errs <- err }() // Behind the first.
	go func() { _, err := waiting.Wait(t.Context()); errs <- err }()
	go func() { errs <- waiting.Delete(t.Context()) }()
	rec.waitFor(t, "watch")
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	for range cap(errs) {
		if err := <-errs; !errors.Is(err, kubelock.ErrClosed) {
			t.Errorf("a call that waited ends with %v, want ErrClosed", err)
		}
	}
	expectErrors(t, calls(t, waiting), kubelock.ErrClosed)
	expectErrors(t, map[string]error{"Renew": held.Renew(t.Context()), "Save": held.Save(t.Context()), "Release": held.Release(t.Context())}, kubelock.ErrClosed)
	if err := c.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}

	if got, err := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "mine").Get(t.Context()); err != nil || !got.Held {
		t.Errorf("after Close: %+v, %v; want the lock still held", got, err)
	}
	<-held.Context().Done() // It ends by itself, because nobody renews it.
	if cause := context.Cause(held.Context()); !errors.Is(cause, kubelock.ErrLost) {
		t.Errorf("cause is %v, want ErrLost", cause)
	}
}

// TestCloseLetsReleasesEnd checks that Close lets a release end that its caller does not
// wait for any more.
func TestCloseLetsReleasesEnd(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	defer release(t, acquire(t, lockOf(t, ns, "busy")))
	var rec recorder
	c := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns})
	held := acquire(t, kubelock.NewLock[string](c, "mine"))
	closing := make(chan error, 1)
	go func() { _, err := kubelock.NewLock[string](c, "busy").Wait(t.Context()); closing <- err }()
	rec.waitFor(t, "watch")

	sent, may := make(chan struct{}, 9), make(chan struct{})
	rec.on(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if req.Method != http.MethodGet {
			sent <- struct{}{}
			<-may
		}
		return next.RoundTrip(req)
	})
	ctx, cancel := context.WithCancel(t.Context())
	released := make(chan error, 1)
	go func() { released <- held.Release(ctx) }()
	<-sent
	cancel()
	if err := <-released; !errors.Is(err, kubelock.ErrUnknownOutcome) {
		t.Errorf("the release returned %v, want ErrUnknownOutcome", err)
	}
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	if err := <-closing; !errors.Is(err, kubelock.ErrClosed) {
		t.Errorf("the wait returned %v, want ErrClosed", err)
	}
	close(may) // The client is closing now.
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if got, err := lockOf(t, ns, "mine").Get(t.Context()); err != nil || got.Held {
		t.Errorf("after Close: %+v, %v; want the lock free", got, err)
	}
}

// TestLocalCallersAreServedInOrder checks the queue within one client.
func TestLocalCallersAreServedInOrder(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var rec recorder
	c := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns})
	l := kubelock.NewLock[string](c, "fifo")
	held := acquire(t, l)
	rec.taken()
	if _, err := l.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
		t.Errorf("TryAcquire of a lock that another caller has: %v", err)
	}
	if got := rec.taken(); got != "" {
		t.Errorf("to know that this client holds the lock it sent %q", got)
	}

	const n = 20
	var (
		mu    sync.Mutex
		order []int
		wg    sync.WaitGroup
	)
	for i := range n {
		queued := c.Queued("fifo")
		wg.Go(func() {
			h := acquire(t, l)
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			release(t, h)
		})
		for c.Queued("fifo") == queued { // Each takes its place before the next comes.
			runtime.Gosched()
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.Acquire(ctx); !errors.Is(err, kubelock.ErrNotAcquired) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a caller that gives up: %v", err)
	} else if want := fmt.Sprintf("%d earlier caller", n+1); !strings.Contains(err.Error(), want) {
		t.Errorf("%q does not say that there are %s(s) ahead", err, want)
	}
	release(t, held)
	wg.Wait()
	if !slices.IsSorted(order) || len(order) != n {
		t.Errorf("served in the order %v", order)
	}
}

// TestCloseInDoubt has a client that queues lose the race to create the lock, whose write may
// still come once more: Close does not wait for that.
func TestCloseInDoubt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		winner := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "k")
		c := server.NewClient(t, kubelock.Config{})
		won := make(chan *kubelock.Held[int], 1)
		var met atomic.Bool
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if req.Method == http.MethodPost && met.CompareAndSwap(false, true) {
				held, err := winner.Acquire(req.Context())
				if err != nil {
					t.Error(err)
				}
				won <- held
			}
			return next.RoundTrip(req)
		})
		waits := make(chan error, 1)
		go func() { _, err := kubelock.NewLock[int](c, "k").Acquire(t.Context()); waits <- err }()
		held := <-won
		<-time.After(time.Second) // The other one queues.
		start := time.Now()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("Close took %v though the API server answers", took)
		}
		if err := <-waits; !errors.Is(err, kubelock.ErrClosed) {
			t.Errorf("the acquisition ended with %v, want ErrClosed", err)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
