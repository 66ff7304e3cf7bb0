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
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// deadWaiters puts entries of clients that are dead into the queue for "k".
func deadWaiters(t *testing.T, server *kubelocktest.Server, entries string) {
	t.Helper()
	patch := []byte(`{"spec":{"waiters":[` + entries + `]}}`)
	if _, err := objects(server).Patch(t.Context(), "k", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestDeadWaitersCostAGraceEach has the heads of the queue be dead. Who has handed the lock
// on sees to it that each of them costs the grace and no more, though no reaper runs, and
// the one who waits behind does not look for as long as the lease that it has seen.
func TestDeadWaitersCostAGraceEach(t *testing.T) {
	t.Parallel()
	for entries, dead := range map[string]int{`"dead-1 30s a"`: 1, `"dead-1 30s a","gone-1 30s b"`: 2} {
		t.Run(entries, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k")
				held, err := l.Acquire(t.Context(), kubelock.WithDuration(time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				deadWaiters(t, server, entries)
				w := startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k"), kubelock.WithDuration(time.Second))
				<-time.After(time.Minute) // It knows that the lock does not change hands.
				if err := held.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				next := w.get(t)
				least := time.Duration(dead) * protocol.Grace
				if took := time.Since(start); took < least || took > least+100*time.Millisecond {
					t.Errorf("the live client has the lock after %v, want %v", took, least)
				}
				if err := next.Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestHandOverIsChecked hands the lock over to a dead client in other ways than by a release that
// is answered: by a Delete, by a client that does not want it with this state, and by a release
// whose answer is lost.
func TestHandOverIsChecked(t *testing.T) {
	t.Parallel()
	deletes := func(t *testing.T, c *kubelock.Client) {
		t.Helper()
		if err := kubelock.NewLock[string](c, "k").Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}
	refuses := func(t *testing.T, c *kubelock.Client) {
		t.Helper()
		if _, err := kubelock.NewLock[int](c, "k").Acquire(t.Context()); err == nil {
			t.Error("a string was read as an int")
		}
	}
	for name, c := range map[string]struct {
		waits func(t *testing.T, c *kubelock.Client) // is given the lock first; nil: the dead one is
		lost  int32                                  // of which hand-off the answer is; 0: of none
	}{
		"delete":                    {waits: deletes},
		"delete, no answer":         {waits: deletes, lost: 2},
		"unwanted state":            {waits: refuses},
		"unwanted state, no answer": {waits: refuses, lost: 2},
		"no answer":                 {lost: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				held, err := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k").Acquire(t.Context(), kubelock.WithDuration(time.Hour))
				if err != nil {
					t.Fatal(err)
				}
				var all sync.WaitGroup
				if c.waits != nil {
					client := server.NewClient(t, kubelock.Config{})
					all.Go(func() { c.waits(t, client) })
				}
				synctest.Wait() // It queues.
				<-time.After(time.Second)
				lock, err := objects(server).Get(t.Context(), "k", metav1.GetOptions{})
				if err != nil {
					t.Fatal(err)
				}
				entries, _, err := unstructured.NestedStringSlice(lock.Object, "spec", "waiters")
				if err != nil || (len(entries) == 1) != (c.waits != nil) {
					t.Fatalf("%v, %v wait", err, entries)
				}
				queue := `"dead-1 30s a"`
				for _, entry := range entries {
					queue = `"` + entry + `",` + queue
				}
				deadWaiters(t, server, queue)
				w := startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k"), kubelock.WithDuration(time.Second))
				<-time.After(time.Minute) // It knows that the lock does not change hands.
				var patches atomic.Int32  // An update before the first has not heard of those who wait.
				server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
					resp, err := next.RoundTrip(req)
					if req.Method == http.MethodPatch && patches.Add(1) == c.lost && err == nil {
						_ = resp.Body.Close()
						return nil, errors.New("the answer is lost")
					}
					return resp, err
				})
				start := time.Now()
				if err := held.Update("state").Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				next := w.get(t)
				if took := time.Since(start); took < protocol.Grace || took > protocol.Grace+time.Second {
					t.Errorf("the live client has the lock after %v, want %v", took, protocol.Grace)
				}
				if err := next.Release(t.Context()); err != nil {
					t.Error(err)
				}
				all.Wait()
			})
		})
	}
}

// TestReleasedLockIsNotChecked loses the answer of a release that handed the lock to no client. The
// client that released it does not check the hold of the client that takes it then.
func TestReleasedLockIsNotChecked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		held, err := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		other := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k")
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			server.Intercept(nil)
			resp, err := next.RoundTrip(req)
			if err != nil {
				return nil, err
			}
			_ = resp.Body.Close()
			if _, err := other.Acquire(t.Context(), kubelock.WithDuration(protocol.Grace)); err != nil {
				t.Error(err)
			}
			return nil, errors.New("the answer is lost")
		})
		if err := held.Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		var reads, writes atomic.Int64
		count(server, &reads, &writes)
		<-time.After(3 * protocol.Grace)
		if r, w := reads.Load(), writes.Load(); r+w > 0 {
			t.Errorf("%d reads and %d writes, want none", r, w)
		}
	})
}

// TestHandOffCostsOneLook counts what it costs to check a lock that was handed over to a live
// client: a read when the grace is over, and nothing if the client has seen before how the lock
// went on. A hold that is used goes on.
func TestHandOffCostsOneLook(t *testing.T) {
	t.Parallel()
	// If the first client comes back, the hand-over to the second one is checked.
	for name, comesBack := range map[string]bool{"leaves": false, "comes back": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k")
				held, err := l.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				w := startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k"))
				<-time.After(time.Second)
				if err := held.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				next := w.get(t)
				if comesBack {
					again := startAcquire(t.Context(), l)
					<-time.After(time.Second)
					if err := next.Release(t.Context()); err != nil {
						t.Fatal(err)
					}
					next = again.get(t)
				}
				var reads, writes atomic.Int64
				count(server, &reads, &writes)
				<-time.After(3 * protocol.Grace)
				want := int64(1)
				if comesBack { // The second has been the first in the queue for long enough to watch the lock.
					want = 0
				}
				if r := reads.Load(); r != want {
					t.Errorf("%d reads, want %d", r, want)
				}
				if err := next.Context().Err(); err != nil {
					t.Error(err)
				}
				if err := next.Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestRenewedHolderDies has a holder die that has renewed its lease for a while, and no
// reaper: who has waited since before has the lock soon after the lease's end.
func TestRenewedHolderDies(t *testing.T) {
	t.Parallel()
	for _, seconds := range []int{25, 27, 29, 31, 33, 35} {
		t.Run(strconv.Itoa(seconds), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				holder := server.NewClient(t, kubelock.Config{})
				held, err := kubelock.NewLock[string](holder, "k").Acquire(t.Context(), kubelock.WithDuration(9*time.Second), kubelock.WithAutoRenew())
				if err != nil {
					t.Fatal(err)
				}
				<-time.After(time.Second)
				w := startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k"))
				<-time.After(time.Duration(seconds) * time.Second)
				end := held.Deadline()
				if err := holder.Close(); err != nil { // It renews no more.
					t.Fatal(err)
				}
				next := w.get(t)
				if late := time.Since(end); late < 0 || late > 100*time.Millisecond {
					t.Errorf("who waited has the lock %v after the lease's end", late)
				}
				// It knows from its watch who has queued since, and so the release is one write.
				last := startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k"))
				<-time.After(500 * time.Millisecond)
				var reads, writes atomic.Int64
				count(server, &reads, &writes)
				if err := next.Release(t.Context()); err != nil {
					t.Error(err)
				}
				if r, w := reads.Load(), writes.Load(); r != 0 || w != 1 {
					t.Errorf("the release took %d reads and %d writes, want one write", r, w)
				}
				if err := last.get(t).Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
