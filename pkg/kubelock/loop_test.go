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
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// cycle acquires, counts, and releases.
func cycle(ctx context.Context, l *kubelock.Lock[int]) error {
	held, err := l.Acquire(ctx)
	if err != nil {
		return err
	}
	<-time.After(time.Millisecond)
	return held.Update(held.Value() + 1).Release(ctx)
}

// turnsOf lets each of some locks go around so often, side by side.
func turnsOf(t *testing.T, rounds int, locks ...*kubelock.Lock[int]) {
	t.Helper()
	var all sync.WaitGroup
	for _, l := range locks {
		all.Go(func() {
			for range rounds {
				if err := cycle(t.Context(), l); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// untouched checks that nobody has the lock or queues for it: who does not wait would be
// refused.
func untouched(t *testing.T, server *kubelocktest.Server, cfg kubelock.Config, key string, counted int) {
	t.Helper()
	held, err := kubelock.NewLock[int](server.NewClient(t, cfg), key).TryAcquire(t.Context())
	if err != nil {
		t.Error(err)
		return
	}
	if held.Value() != counted {
		t.Errorf("counted to %d, want %d", held.Value(), counted)
	}
	if err := held.Release(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestLoopCosts counts what clients write that come back for the lock right after each
// release: one write a cycle, which hands the lock on and queues anew. When they come no
// more, nothing of that is left.
func TestLoopCosts(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const clients, rounds = 4, 50
				cfg := kubelock.Config{Backend: backend}
				server := kubelocktest.NewServer(t)
				locks := make([]*kubelock.Lock[int], clients)
				for i := range locks {
					locks[i] = kubelock.NewLock[int](server.NewClient(t, cfg), "loop")
				}
				var reads, writes atomic.Int64
				count(server, &reads, &writes)
				turnsOf(t, rounds, locks...)
				<-time.After(time.Second)
				// In the first rounds nobody is sure, and in the end each leaves the queue.
				if w := writes.Load(); w > clients*(rounds+10) {
					t.Errorf("%d cycles took %d writes, want about one each", clients*rounds, w)
				}
				if r := reads.Load(); r > 10*clients {
					t.Errorf("%d cycles took %d reads", clients*rounds, r)
				}
				untouched(t, server, cfg, "loop", clients*rounds)
			})
		})
	}
}

// TestLoopEnds has one of two clients come no more: the other has the lock a moment later.
// If the first is closed, it does not even take that.
func TestLoopEnds(t *testing.T) {
	t.Parallel()
	for name, atOnce := range map[string]bool{"left": false, "closed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const rounds = 20
				server := kubelocktest.NewServer(t)
				c := server.NewClient(t, kubelock.Config{})
				first, second := kubelock.NewLock[int](c, "loop"), kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "loop")
				var other sync.WaitGroup
				defer other.Wait()
				other.Go(func() { turnsOf(t, rounds+1, second) })
				turnsOf(t, rounds, first)
				want, start := 100*time.Millisecond, time.Now()
				if atOnce {
					want = 10 * time.Millisecond
					if err := c.Close(); err != nil {
						t.Error(err)
					}
				}
				if err := cycle(t.Context(), kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "loop")); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took > want {
					t.Errorf("the lock was kept for %v from those who came, want less than %v", took, want)
				}
			})
		})
	}
}

// TestLoopAlone checks that a client that nobody disturbs holds nothing between its turns.
func TestLoopAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rounds = 20
		server := kubelocktest.NewServer(t)
		l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "alone")
		var reads, writes atomic.Int64
		count(server, &reads, &writes)
		for i := range rounds {
			turnsOf(t, 1, l)
			if s, err := l.Get(t.Context()); err != nil || s.Held || s.Value != i+1 {
				t.Fatalf("after cycle %d: %+v, %v", i, s, err)
			}
		}
		if w := writes.Load(); w != 2*rounds {
			t.Errorf("%d cycles took %d writes, want two each", rounds, w)
		}
	})
}

// TestTryAfterLoop checks that who was expected, and does not wait this time, learns how the
// lock stands now.
func TestTryAfterLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const rounds = 20
		server := kubelocktest.NewServer(t)
		another := server.NewClient(t, kubelock.Config{})
		first, second := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "loop"), kubelock.NewLock[int](another, "loop")
		var other sync.WaitGroup
		other.Go(func() { turnsOf(t, rounds+1, second) }) // The last one.
		turnsOf(t, rounds, first)
		other.Wait()
		if err := another.Close(); err != nil { // It expects no caller any more.
			t.Fatal(err)
		}
		held, err := first.TryAcquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if held.Value() != 2*rounds+1 {
			t.Errorf("counted to %d, want %d", held.Value(), 2*rounds+1)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
