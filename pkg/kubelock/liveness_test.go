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
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// line is the connection of one client to a server that can be cut, and counts.
type line struct {
	next     http.RoundTripper
	cut      atomic.Bool
	stalled  atomic.Bool // watches show nothing, and do not end
	requests atomic.Int64
}

func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	if l.cut.Load() {
		return nil, kubelocktest.ErrDisconnected
	}
	if req.URL.Query().Has("watch") {
		if l.stalled.Load() {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}
		return l.next.RoundTrip(req)
	}
	l.requests.Add(1)
	return l.next.RoundTrip(req)
}

// onItsOwnLine returns a client whose connection is its own.
func onItsOwnLine(t *testing.T, server *kubelocktest.Server, cfg kubelock.Config) (*kubelock.Client, *line) {
	t.Helper()
	config := rest.CopyConfig(server.Config())
	l := &line{next: config.Transport}
	config.Transport = l
	cfg.Namespace = kubelocktest.Namespace
	return newClientFor(t, config, cfg), l
}

var backends = []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps}

// forEachBackend runs a test in virtual time.
func forEachBackend(t *testing.T, test func(t *testing.T, backend kubelock.Backend, server *kubelocktest.Server)) {
	t.Helper()
	for _, backend := range backends {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { test(t, backend, kubelocktest.NewServer(t)) })
		})
	}
}

func mustAcquire(t *testing.T, c *kubelock.Client, opts ...kubelock.Option) *kubelock.Held[string] {
	t.Helper()
	held, err := kubelock.NewLock[string](c, "k").Acquire(t.Context(), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func mustRelease(t *testing.T, held *kubelock.Held[string]) {
	t.Helper()
	if err := held.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestWaiterBehindAGap has a waiter be out of reach while it is granted the lock and its
// grant passes. When it is back its watch lists anew, and so shows nothing of that.
func TestWaiterBehindAGap(t *testing.T) {
	t.Parallel()
	forEachBackend(t, func(t *testing.T, backend kubelock.Backend, server *kubelocktest.Server) {
		t.Helper()
		cfg := kubelock.Config{Backend: backend, LockDuration: 12 * time.Hour}
		held := mustAcquire(t, server.NewClient(t, cfg))
		// The first never comes back.
		first, gone := onItsOwnLine(t, server, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_ = startAcquire(ctx, kubelock.NewLock[string](first, "k"))
		<-time.After(100 * time.Millisecond)
		c, line := onItsOwnLine(t, server, cfg)
		waits := startAcquire(t.Context(), kubelock.NewLock[string](c, "k"))
		<-time.After(70 * time.Second) // It knows that the lock does not move, and relies on the watch of what it holds.
		gone.cut.Store(true)
		line.cut.Store(true)
		server.ExpireWatches()
		mustRelease(t, held)
		<-time.After(2*protocol.Grace + time.Second)
		line.cut.Store(false)
		back := time.Now()
		got := waits.get(t)
		// A watch that failed for eleven seconds is opened again after up to 12.8: see client-go's Reflector.
		if took := time.Since(back); took > 13*time.Second {
			t.Errorf("a live waiter had a free lock %v after it was back", took)
		}
		mustRelease(t, got)
	})
}

// TestDeletedByHandUnderAQueue deletes a lock with a long lease for which two clients queue.
func TestDeletedByHandUnderAQueue(t *testing.T) {
	t.Parallel()
	forEachBackend(t, func(t *testing.T, backend kubelock.Backend, server *kubelocktest.Server) {
		t.Helper()
		cfg := kubelock.Config{Backend: backend, LockDuration: 12 * time.Hour}
		_ = mustAcquire(t, server.NewClient(t, cfg))
		// The first never releases what it gets.
		first := startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, cfg), "k"))
		<-time.After(time.Second)
		second := startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, cfg), "k"))
		<-time.After(10 * time.Minute)
		deleteObject(t, server, backend)
		start := time.Now()
		held := first.get(t)
		if took := time.Since(start); took > time.Minute {
			t.Errorf("the first has it after %v", took)
		}
		<-time.After(61 * time.Second) // The second has queued in the new object.
		mustRelease(t, held)
		start = time.Now()
		got := second.get(t)
		if took := time.Since(start); took > time.Second {
			t.Errorf("the second has it %v after the first has released it", took)
		}
		mustRelease(t, got)
	})
}

func deleteObject(t *testing.T, server *kubelocktest.Server, backend kubelock.Backend) {
	t.Helper()
	path := map[kubelock.Backend]string{
		kubelock.DistributedLocks: "/apis/kubelock.dev/v1alpha1/namespaces/default/distributedlocks/k",
		kubelock.Leases:           "/apis/coordination.k8s.io/v1/namespaces/default/leases/k",
		kubelock.ConfigMaps:       "/api/v1/namespaces/default/configmaps/k",
	}[backend]
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, server.Config().Host+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := server.Config().Transport.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(err, resp)
	}
	_ = resp.Body.Close()
}

// TestAWaiterLooksOnceAMinute counts the requests of clients that wait for a lock that does
// not move, and checks that they are spread.
func TestAWaiterLooksOnceAMinute(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const waiters, minutes = 5, 60
		server := kubelocktest.NewServer(t)
		cfg := kubelock.Config{LockDuration: 24 * time.Hour}
		held := mustAcquire(t, server.NewClient(t, cfg))
		lines, all := make([]*line, 0, waiters), make([]*waiting, 0, waiters)
		for range waiters {
			c, line := onItsOwnLine(t, server, cfg)
			all = append(all, startAcquire(t.Context(), kubelock.NewLock[string](c, "k")))
			lines = append(lines, line)
			<-time.After(100 * time.Millisecond) // In this order.
		}
		<-time.After(10 * time.Second)
		for _, line := range lines {
			line.requests.Store(0)
		}
		<-time.After(minutes * time.Minute)
		for i, line := range lines {
			if n := line.requests.Load(); n < minutes-2 || n > minutes+1 {
				t.Errorf("waiter %d sent %d requests in %d minutes", i, n, minutes)
			}
		}
		mustRelease(t, held)
		for _, a := range all {
			mustRelease(t, a.get(t))
		}
	})
}

// TestWaitLooksOnceAMinute has a lock be freed while the watch of a call to Wait shows
// nothing and does not end.
func TestWaitLooksOnceAMinute(t *testing.T) {
	t.Parallel()
	forEachBackend(t, func(t *testing.T, backend kubelock.Backend, server *kubelocktest.Server) {
		t.Helper()
		held := mustAcquire(t, server.NewClient(t, kubelock.Config{Backend: backend, LockDuration: 12 * time.Hour}))
		c, line := onItsOwnLine(t, server, kubelock.Config{Backend: backend})
		line.stalled.Store(true)
		ended := make(chan error, 1)
		go func() {
			_, err := kubelock.NewLock[string](c, "k").Wait(t.Context())
			ended <- err
		}()
		<-time.After(10*time.Minute + time.Second)
		if n := line.requests.Load(); n > 15 {
			t.Errorf("%d requests in ten minutes", n)
		}
		mustRelease(t, held)
		start := time.Now()
		if err := <-ended; err != nil || time.Since(start) > time.Minute {
			t.Errorf("ended %v after the release with %v", time.Since(start), err)
		}
	})
}

// TestRestoredUnderRunningClients restores a backup of the server, so that its versions go
// back: for a client that remembers the lock, for one that waits for it, for a call to
// Wait, and for a holder that renews its lease.
func TestRestoredUnderRunningClients(t *testing.T) {
	t.Parallel()
	const soon = 75 * time.Second // A minute, and the time to get a watch again.
	cycles := func(t *testing.T, c *kubelock.Client, n int) {
		t.Helper()
		for range n {
			mustRelease(t, mustAcquire(t, c))
		}
	}
	few := func(t *testing.T, line *line, most int64) {
		t.Helper()
		if n := line.requests.Load(); n > most {
			t.Errorf("sent %d requests, want at most %d", n, most)
		}
	}
	t.Run("remembered", func(t *testing.T) {
		t.Parallel()
		forEachBackend(t, func(t *testing.T, backend kubelock.Backend, server *kubelocktest.Server) {
			t.Helper()
			c, line := onItsOwnLine(t, server, kubelock.Config{Backend: backend})
			cycles(t, c, 1)
			restore := server.Backup()
			cycles(t, c, 20)
			restore()
			line.requests.Store(0)
			start := time.Now()
			cycles(t, c, 1)
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			few(t, line, 6)
		})
	})
	t.Run("waited for", func(t *testing.T) {
		t.Parallel()
		forEachBackend(t, func(t *testing.T, backend kubelock.Backend, server *kubelocktest.Server) {
			t.Helper()
			cfg := kubelock.Config{Backend: backend, LockDuration: 12 * time.Hour}
			other := server.NewClient(t, cfg)
			cycles(t, other, 1)
			restore := server.Backup()
			cycles(t, other, 20)
			_ = mustAcquire(t, other)
			waiters, lines := make([]*waiting, 0, 3), make([]*line, 0, 3)
			for range 3 {
				c, line := onItsOwnLine(t, server, cfg)
				lines, waiters = append(lines, line), append(waiters, startAcquire(t.Context(), kubelock.NewLock[string](c, "k")))
				<-time.After(2 * time.Second)
			}
			restore()
			start := time.Now()
			for _, line := range lines {
				line.requests.Store(0)
			}
			holding := func() *kubelock.Held[string] {
				for _, w := range waiters { // In whichever order they come back.
					select {
					case <-w.done:
						if got := w.get(t); got.Context().Err() == nil {
							return got
						}
					default:
					}
				}
				return nil
			}
			for range waiters {
				<-time.After(soon)
				got := holding()
				if got == nil {
					t.Fatalf("no waiter has the lock %v after the backup was restored", time.Since(start))
				}
				mustRelease(t, got)
			}
			for _, line := range lines {
				few(t, line, 25)
			}
		})
	})
	t.Run("watched", func(t *testing.T) {
		t.Parallel()
		forEachBackend(t, func(t *testing.T, backend kubelock.Backend, server *kubelocktest.Server) {
			t.Helper()
			cfg := kubelock.Config{Backend: backend, LockDuration: 12 * time.Hour}
			other := server.NewClient(t, cfg)
			held := mustAcquire(t, other)
			restore := server.Backup()
			for range 20 {
				if err := held.Renew(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			c, line := onItsOwnLine(t, server, cfg)
			ended := make(chan error, 1)
			go func() {
				_, err := kubelock.NewLock[string](c, "k").Wait(t.Context())
				ended <- err
			}()
			<-time.After(time.Second)
			restore()
			<-time.After(time.Second)
			mustRelease(t, held) // At a version below what the watch has shown.
			start := time.Now()
			if err := <-ended; err != nil || time.Since(start) > soon {
				t.Errorf("ended %v after the release with %v", time.Since(start), err)
			}
			few(t, line, 10)
		})
	})
	t.Run("held", func(t *testing.T) {
		t.Parallel()
		forEachBackend(t, func(t *testing.T, backend kubelock.Backend, server *kubelocktest.Server) {
			t.Helper()
			c, line := onItsOwnLine(t, server, kubelock.Config{Backend: backend, LockDuration: 30 * time.Second})
			held := mustAcquire(t, c, kubelock.WithAutoRenew())
			<-time.After(15 * time.Second)
			restore := server.Backup()
			<-time.After(5 * time.Minute)
			restore()
			line.requests.Store(0)
			<-time.After(time.Minute)
			few(t, line, 40)
			if held.Context().Err() != nil {
				t.Error("lost a hold that the backup had, too")
			}
			mustRelease(t, held)
		})
	})
}
