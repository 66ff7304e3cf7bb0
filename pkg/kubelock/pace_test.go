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
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestBusyLockNeedsNoConfirmation has clients wait for longer than a grant may be used without a
// read. The lock changes hands, so each client reads when its turn is near, and none has to renew a
// hold before it uses it.
func TestBusyLockNeedsNoConfirmation(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const clients, rounds, work = 12, 6, 700 * time.Millisecond
				server := kubelocktest.NewServer(t)
				var reads, writes, cycles atomic.Int64
				count(server, &reads, &writes)
				var all sync.WaitGroup
				for range clients {
					l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{Backend: backend}), "busy")
					all.Go(func() {
						for round := range rounds {
							held, err := l.Acquire(t.Context())
							if err != nil {
								t.Error(err)
								return
							}
							if round == 1 && cycles.CompareAndSwap(clients, clients+1) { // From now on their waits are alike.
								reads.Store(0)
								writes.Store(0)
							} else {
								cycles.Add(1)
							}
							<-time.After(work)
							if err := held.Update(held.Value() + 1).Release(t.Context()); err != nil {
								t.Error(err)
							}
						}
					})
				}
				all.Wait()
				// A client that has measured the hold times reads when it has joined, and once before its turn.
				if c, r, w := cycles.Load()-clients, reads.Load(), writes.Load(); w > 2*c || r > 3*c {
					t.Errorf("%d cycles took %d writes and %d reads, want two writes each", c, w, r)
				}
			})
		})
	}
}

// TestReadBoundsAGrant has a waiter be given the lock while the answer to its read is on
// the way: the read has shown the lock as it was before, and bounds what was given from when
// it was sent, not from when its answer came.
func TestReadBoundsAGrant(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		held, err := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{LockDuration: time.Hour}), "k").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k")
		joined, sent := time.Now(), make(chan time.Time, 1)
		given := startAcquire(t.Context(), l)
		synctest.Wait() // It queues.
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if req.Method != http.MethodGet || req.URL.Query().Has("watch") {
				return next.RoundTrip(req)
			}
			sent <- time.Now()
			resp, err := next.RoundTrip(req)
			<-time.After(time.Second)
			return resp, err
		})
		read := <-sent
		<-time.After(500 * time.Millisecond)
		if err := held.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := given.get(t)
		if end := got.Deadline(); end.After(read.Add(protocol.Grace)) || !end.After(joined.Add(protocol.Grace)) {
			t.Errorf("the lease ends %v after the waiter joined, and its read was sent %v after that: want %v after the read",
				end.Sub(joined), read.Sub(joined), protocol.Grace)
		}
		if err := got.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestReadIsLaterThanAStamp has a waiter read while the write that gives it the lock is under
// way. Others count from the stamp in that write, and so must the waiter: whether it knows the
// server's time half a second too late, or not at all.
func TestReadIsLaterThanAStamp(t *testing.T) {
	t.Parallel()
	for name, knows := range map[string]bool{"with server time": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				cfg := kubelock.Config{MaxClockSkew: time.Millisecond, LockDuration: time.Hour}
				<-time.After(990 * time.Millisecond) // A moment before the Date changes: the holder's stamps are exact.
				held, err := kubelock.NewLock[string](server.NewClient(t, cfg), "k").Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				<-time.After(710 * time.Millisecond) // The waiter takes the time to be earlier by up to so much.
				var slow atomic.Bool
				read := make(chan time.Time, 9)
				server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
					if req.Method == http.MethodGet && !req.URL.Query().Has("watch") {
						read <- time.Now()
					}
					if req.Method == http.MethodPatch && slow.CompareAndSwap(true, false) {
						<-time.After(700 * time.Millisecond)
					}
					resp, err := next.RoundTrip(req)
					if err == nil && !knows {
						resp.Header.Del("Date")
					}
					return resp, err
				})
				given := startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, cfg), "k"))
				<-read
				<-time.After(protocol.Grace/2 - 500*time.Millisecond) // It reads soon, to bound the age of what it may be given.
				slow.Store(true)
				stamped := time.Now()
				if err := held.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				at := (<-read).Sub(stamped)
				for at <= 0 { // When it joined, it read more than once.
					at = (<-read).Sub(stamped)
				}
				if at >= 700*time.Millisecond {
					t.Fatalf("the waiter read %v after the stamp, which is not while the write was under way", at)
				}
				got := given.get(t)
				const slack = 20 * time.Millisecond // of the stamp
				if end := got.Deadline().Sub(stamped); end > protocol.Grace+slack {
					t.Errorf("the lease ends %v after the stamp, from which others count %v", end, protocol.Grace)
				}
				if err := got.Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestIdleLockIsSeldomRead has clients wait for a lock that does not move: they read about
// once a lease.
func TestIdleLockIsSeldomRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const clients, leases, lease = 5, 20, 30 * time.Second
		server := kubelocktest.NewServer(t)
		holder, err := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "idle").Acquire(t.Context(), kubelock.WithAutoRenew())
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range clients {
			l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "idle")
			all.Go(func() {
				held, err := l.Acquire(t.Context())
				if err == nil {
					err = held.Release(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		<-time.After(lease / 2)
		var reads, writes atomic.Int64
		count(server, &reads, &writes)
		<-time.After(leases * lease)
		// The holder renews, its watch and the waiters' are opened again now and then.
		if r := reads.Load(); r > clients*(leases+2) {
			t.Errorf("%d clients have read %d times in %d leases, want once each", clients, r, leases)
		}
		if err := holder.Release(t.Context()); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
}

// count counts the requests from now on, without watches.
func count(server *kubelocktest.Server, reads, writes *atomic.Int64) {
	server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		switch {
		case req.URL.Query().Has("watch"):
		case req.Method == http.MethodGet:
			reads.Add(1)
		default:
			writes.Add(1)
		}
		return next.RoundTrip(req)
	})
}
