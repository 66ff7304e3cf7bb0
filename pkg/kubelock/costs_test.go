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
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// costs counts what some clients send and get.
type costs struct{ reads, writes, watches, conflicts, events atomic.Int64 }

// tally is what costs show at one moment.
type tally struct{ reads, writes, watches, conflicts, events int64 }

func (c *costs) now() tally {
	return tally{c.reads.Load(), c.writes.Load(), c.watches.Load(), c.conflicts.Load(), c.events.Load()}
}

func (t tally) since(before tally) tally {
	return tally{
		t.reads - before.reads, t.writes - before.writes, t.watches - before.watches,
		t.conflicts - before.conflicts, t.events - before.events,
	}
}

// wrap returns a configuration whose requests are counted.
func (c *costs) wrap(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &interceptor{next, func(req *http.Request) (*http.Response, error) {
			verb := verbOf(req)
			switch verb {
			case "watch":
				c.watches.Add(1)
			case "get":
				c.reads.Add(1)
			default:
				c.writes.Add(1)
			}
			resp, err := next.RoundTrip(req)
			if err != nil {
				return nil, err
			}
			if resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusUnprocessableEntity {
				c.conflicts.Add(1)
			}
			if verb == "watch" {
				resp.Body = &eventLines{resp.Body, &c.events}
			}
			return resp, nil
		}}
	})
	return config
}

// eventLines counts the events of a watch: a line of JSON each.
type eventLines struct {
	io.ReadCloser

	events *atomic.Int64
}

func (e *eventLines) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	e.events.Add(int64(bytes.Count(p[:n], []byte("\n"))))
	return n, err
}

// TestContentionCosts lets clients take turns at one key, in a closed loop, and counts
// what a cycle costs all of them together. The protocol says: joining the queue is one
// write, unless the release before has done it, the hand-off another one, and no other;
// waiting is no request; the lock's object
// is shown to its holder alone, when it gets it, at each change while it has it, and when
// it has it no more. Nothing of that depends on the machine's speed: there always is
// somebody in the queue, as each client joins it again right after its release.
func TestContentionCosts(t *testing.T) {
	t.Parallel()
	for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		t.Run(fmt.Sprint(backend), func(t *testing.T) {
			t.Parallel()
			contentionCosts(t, backend)
		})
	}
}

func contentionCosts(t *testing.T, backend kubelock.Backend) {
	t.Helper()
	const clients, cycles = 8, 6
	key := "contended"
	// So long that no lease asks for a renewal or a second look.
	config := kubelock.Config{Namespace: env.Namespace(t), Backend: backend, LockDuration: time.Hour}
	holder := acquire(t, kubelock.NewLock[int](newClient(t, config), key))
	var spent costs
	var done atomic.Int64
	var before, after tally
	var once sync.Once
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience) // Many requests, one after the other.
	defer cancel()
	var cyclesThen int64
	for range clients {
		var rec recorder
		l := kubelock.NewLock[int](newClientFor(t, rec.wrap(spent.wrap(env.Config)), config), key)
		all.Go(func() {
			for range cycles {
				held, err := l.Acquire(ctx)
				if err != nil {
					t.Error(err)
					return
				}
				if err := held.Update(held.Value() + 1).Release(context.WithoutCancel(ctx)); err != nil {
					t.Error(err)
					return
				}
				done.Add(1)
			}
			// The first one to end leaves the queue to the others, which is another case.
			once.Do(func() { after, cyclesThen = spent.now(), done.Load() })
		})
		rec.waitFor(t, "patch") // It queues.
	}
	before = spent.now()
	release(t, holder)
	all.Wait()
	held := acquire(t, kubelock.NewLock[int](newClient(t, config), key))
	if held.Value() != clients*cycles || done.Load() != clients*cycles {
		t.Fatalf("%d cycles counted to %d, want %d", done.Load(), held.Value(), clients*cycles)
	}
	release(t, held)

	// Where the queue is fair, all have gone through as many cycles as the first one, or one
	// less. A client that a loaded machine keeps from queueing at once misses its turn.
	const fair = clients*(cycles-1) + 1
	if cyclesThen < fair*3/4 {
		t.Errorf("when the first client had its %d cycles, all together had %d, want about %d", cycles, cyclesThen, fair)
	}
	n, got := float64(cyclesThen), after.since(before)
	for _, bound := range []struct {
		what     string
		got      int64
		from, to float64 // a cycle
	}{
		// One more of anything a cycle is over its bound; a request that a loaded machine
		// makes time out, and that is looked up again, is not.
		{"writes", got.writes, 1, 2.5},
		{"conflicts", got.conflicts, 0, 0.25},
		{"reads", got.reads, 0, 0.5},
		{"watch events", got.events, 2, 3.9},
		{"new watches", got.watches, 0, 0.25},
	} {
		if bound.what == "watch events" && backend != kubelock.DistributedLocks {
			continue // They are no lines there.
		}
		if each := float64(bound.got) / n; each < bound.from || each > bound.to {
			t.Errorf("%d %s in %.0f cycles: %.2f a cycle, want %.2f to %.2f", bound.got, bound.what, n, each, bound.from, bound.to)
		}
	}
}

// TestManyKeysCost counts what callers of one client cost that go around keys which
// nobody else wants: two writes a cycle, and nothing else.
func TestManyKeysCost(t *testing.T) {
	t.Parallel()
	const callers, keys, rounds = 4, 5, 3
	for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		t.Run(fmt.Sprint(backend), func(t *testing.T) {
			t.Parallel()
			var spent costs
			c := newClientFor(t, spent.wrap(env.Config), kubelock.Config{Namespace: env.Namespace(t), Backend: backend, LockDuration: time.Hour})
			around := func() {
				var all sync.WaitGroup
				for i := range callers {
					all.Go(func() {
						for k := range keys {
							held, err := kubelock.NewLock[int](c, fmt.Sprintf("key-%d-%d", i, k)).Acquire(within(t))
							if err == nil {
								err = held.Update(held.Value() + 1).Release(within(t))
							}
							if err != nil {
								t.Error(err)
							}
						}
					})
				}
				all.Wait()
			}
			around() // The first round creates the objects.
			before := spent.now()
			for range rounds {
				around()
			}
			got := spent.now().since(before)
			// A read now and then is due where the server's time has become uncertain.
			const n = callers * keys * rounds
			if got.writes < 2*n || got.writes > 2*n+n/10 || got.reads > n/2 || got.conflicts+got.watches+got.events > 0 {
				t.Errorf("%d cycles cost %+v, want two writes each", n, got)
			}
		})
	}
}

// TestWaitersCostNothing counts what clients send that wait for a lock which somebody
// keeps and renews: nothing, and they see nothing of the renewals.
func TestWaitersCostNothing(t *testing.T) {
	t.Parallel()
	const waiters, renewals = 8, 10
	ns, key := env.Namespace(t), "kept"
	history := env.Watch(t, ns)
	config := kubelock.Config{Namespace: ns, LockDuration: time.Hour}
	holder := acquire(t, kubelock.NewLock[string](newClient(t, config), key))
	var spent costs
	all := make([]*waiting, 0, waiters)
	for i := range waiters {
		l := kubelock.NewLock[string](newClientFor(t, spent.wrap(env.Config), config), key)
		all = append(all, startAcquire(within(t), l))
		queued(history, key, i+1)
	}
	before := spent.now()
	for range renewals {
		if err := holder.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	release(t, holder)
	held := all[0].get(t)
	// Each may have opened its watch, and got its first bookmark, only now; the one that
	// got the lock may have confirmed that.
	if got := spent.now().since(before); got.writes > 1 || got.reads > waiters || got.watches > waiters || got.events > 3*waiters {
		t.Errorf("%d waiters cost %+v during %d renewals and a hand-off", waiters, got, renewals)
	}
	for _, w := range all[1:] {
		release(t, held)
		held = w.get(t)
	}
	release(t, held)
}
