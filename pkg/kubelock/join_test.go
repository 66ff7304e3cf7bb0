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
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// joins tells what a request does to a queue: append to it, and to one version only.
func joins(t *testing.T, req *http.Request) (joins, exact bool) {
	t.Helper()
	if req.Header.Get("Content-Type") != string(types.JSONPatchType) {
		return false, false
	}
	body, err := req.GetBody()
	if err != nil {
		t.Error(err)
		return false, false
	}
	patch, err := io.ReadAll(body)
	if err != nil {
		t.Error(err)
	}
	return !bytes.Contains(patch, []byte("/spec/holder")), bytes.Contains(patch, []byte("/metadata/resourceVersion"))
}

// slowly lets the server answer after a time that grows with what it has to do. join is
// called for each request that joins a queue, and what it returns when that is answered.
func slowly(t *testing.T, server *kubelocktest.Server, each time.Duration, join func(exact bool) (answered func(ok bool))) (reads *atomic.Int64) {
	t.Helper()
	var busy atomic.Int64
	reads = &atomic.Int64{}
	server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if req.URL.Query().Has("watch") {
			return next.RoundTrip(req)
		}
		if req.Method == http.MethodGet {
			reads.Add(1)
		}
		answered := func(bool) {}
		if joins, exact := joins(t, req); joins {
			answered = join(exact)
		}
		<-time.After(time.Duration(busy.Add(1)) * each)
		defer busy.Add(-1)
		resp, err := next.RoundTrip(req)
		answered(err == nil && resp.StatusCode == http.StatusOK)
		return resp, err
	})
	return reads
}

// TestClientsJoinFewAtATime has many clients join a queue at once, on an API server that takes
// longer the more requests it handles. It repeats its work for an entry that is appended to any
// version whenever another entry comes first: so clients must append few at a time. The same holds
// if all of them try to create the lock first.
func TestClientsJoinFewAtATime(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for name, held := range map[string]bool{"held": true, "new": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { joinAtOnce(t, held) })
		})
	}
}

func joinAtOnce(t *testing.T, held bool) {
	t.Helper()
	const clients, atATime = 80, 20
	server := kubelocktest.NewServer(t)
	wanted, cfg := int64(clients), kubelock.Config{LockDuration: time.Hour}
	holder := kubelock.NewLock[string](server.NewClient(t, cfg), "k")
	var first *kubelock.Held[string]
	if held {
		first = acquire(t, holder)
	} else {
		wanted--
	}
	var queued, joining, most atomic.Int64
	slowly(t, server, 3*time.Millisecond, func(exact bool) func(bool) {
		if !exact {
			most.Store(max(most.Load(), joining.Add(1)))
		}
		return func(ok bool) {
			if !exact {
				joining.Add(-1)
			}
			if ok {
				queued.Add(1)
			}
		}
	})
	start := time.Now()
	all := make([]*waiting, 0, clients)
	for range clients {
		all = append(all, startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, cfg), "k")))
	}
	for queued.Load() < wanted && time.Since(start) < time.Minute {
		<-time.After(10 * time.Millisecond)
	}
	t.Logf("%d of %d clients queued after %v, %d at a time", queued.Load(), clients, time.Since(start), most.Load())
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %v until %d of %d clients queued", took, queued.Load(), clients)
	}
	if n := most.Load(); n > atATime {
		t.Errorf("%d of %d clients joined any version at a time, want %d at most", n, clients, atATime)
	}
	server.Intercept(nil)
	if held {
		release(t, first)
	}
	var others sync.WaitGroup
	for _, w := range all {
		others.Go(func() {
			if err := w.get(t).Release(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	others.Wait()
}

// TestJoinBesideALoop has a client join where each write finds the lock changed, by its
// holder: there is no herd. It is in the queue with its second write, however slow the answers are.
func TestJoinBesideALoop(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]time.Duration{"quick": 2 * time.Millisecond, "slow": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				holder, err := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{LockDuration: time.Hour}), "k").Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var tries []bool
				queued := make(chan struct{})
				reads := slowly(t, server, answer, func(exact bool) func(bool) {
					tries = append(tries, exact)
					if err := holder.Renew(t.Context()); err != nil { // It is faster.
						t.Error(err)
					}
					return func(ok bool) {
						if ok {
							close(queued)
						}
					}
				})
				start := time.Now()
				w := startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k"))
				<-queued
				if took, most := time.Since(start), 26*answer; took > most { // Five answers, up to eight times one that it waits, and all of it twice for the renewals beside.
					t.Errorf("it queued after %v, want %v at most", took, most)
				}
				if n := reads.Load(); n != 3 { // At first, when it was refused, and after the wait.
					t.Errorf("it read %d times", n)
				}
				if want := []bool{true, false}; !slices.Equal(tries, want) {
					t.Errorf("it joined its version only: %v, want %v", tries, want)
				}
				if err := holder.Release(t.Context()); err != nil {
					t.Error(err)
				}
				if err := w.get(t).Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestTakeBesideALoop has a client find the lock free each time that it looks, and changed by
// another each time that it would take or delete it. Where that one goes around, it gives way
// once, not for long, and queues; where it is gone by then, or has only written beside the
// lock, it does not queue.
func TestTakeBesideALoop(t *testing.T) {
	t.Parallel()
	const goesOn = math.MaxInt
	for name, tc := range map[string]struct {
		backend kubelock.Backend
		cycles  int // of the other one
		beside  bool
		remove  bool
		want    []string
	}{
		// It looks, is refused, looks, looks after the wait, queues, and has it.
		"goes on":                {kubelock.DistributedLocks, goesOn, false, false, []string{"GET", "PUT", "GET", "GET", "PATCH", "PUT"}},
		"goes on, on a Lease":    {kubelock.Leases, goesOn, false, false, []string{"GET", "PUT", "GET", "GET", "PATCH", "PUT"}},
		"goes on, in a Map":      {kubelock.ConfigMaps, goesOn, false, false, []string{"GET", "PUT", "GET", "GET", "PATCH", "PUT"}},
		"goes on beside Delete":  {kubelock.DistributedLocks, goesOn, false, true, []string{"GET", "DELETE", "GET", "GET", "PATCH", "DELETE"}},
		"ends":                   {kubelock.DistributedLocks, 2, false, false, []string{"GET", "PUT", "GET", "GET", "PUT"}},
		"writes beside the lock": {kubelock.DistributedLocks, 2, true, false, []string{"GET", "PUT", "GET", "PUT"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const answer = time.Second
				cfg := kubelock.Config{Backend: tc.backend}
				server := kubelocktest.NewServer(t)
				other := kubelock.NewLock[int](server.NewClient(t, cfg), "k")
				if err := cycle(t.Context(), other); err != nil {
					t.Fatal(err)
				}
				var around atomic.Bool // The other one's own requests.
				var mu sync.Mutex      // protects sent: a deletion is looked after when it has returned
				var sent []string
				left := tc.cycles
				server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
					if req.URL.Query().Has("watch") || around.Load() {
						return next.RoundTrip(req)
					}
					<-time.After(answer)
					mu.Lock()
					sent = append(sent, req.Method)
					mu.Unlock()
					if req.Method == http.MethodPatch {
						left = 0
					}
					if left > 0 {
						left--
						around.Store(true)
						if tc.beside {
							annotate(t, server, strconv.Itoa(left))
						} else if err := cycle(t.Context(), other); err != nil {
							t.Error(err)
						}
						around.Store(false)
					}
					return next.RoundTrip(req)
				})
				start := time.Now()
				l := kubelock.NewLock[int](server.NewClient(t, cfg), "k")
				if tc.remove {
					if err := l.Delete(t.Context()); err != nil {
						t.Error(err)
					}
				} else {
					held, err := l.Acquire(t.Context())
					if err != nil {
						t.Fatal(err)
					}
					defer release(t, held)
				}
				mu.Lock()
				defer mu.Unlock()
				if !slices.Equal(sent, tc.want) {
					t.Errorf("sent %v, want %v", sent, tc.want)
				}
				if took, most := time.Since(start), time.Duration(len(tc.want))*answer+200*time.Millisecond; took > most {
					t.Errorf("it took %v, want %v at most", took, most)
				}
			})
		})
	}
}

// annotate changes the object of the lock k beside the lock.
func annotate(t *testing.T, server *kubelocktest.Server, text string) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{"example.com/n":%q}}}`, text)
	if _, err := objects(server).Patch(t.Context(), "k", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}

// TestJoinAfterCreation has a client create the lock, slowly, when another has been faster.
// That is no herd: it joins the queue at once.
func TestJoinAfterCreation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		other := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k")
		var held *kubelock.Held[string]
		var around atomic.Bool // The other one's own request.
		var refused time.Time
		queued := make(chan struct{})
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if req.URL.Query().Has("watch") || around.Load() {
				return next.RoundTrip(req)
			}
			if req.Method == http.MethodPost {
				var err error
				around.Store(true)
				if held, err = other.Acquire(t.Context()); err != nil {
					t.Error(err)
				}
				around.Store(false)
				<-time.After(2 * time.Second)
				refused = time.Now()
			}
			if joins, exact := joins(t, req); joins {
				if since := time.Since(refused); !exact || since > 0 {
					t.Errorf("it queued %v after it was refused; its version only: %v", since, exact)
				}
				defer close(queued)
			}
			return next.RoundTrip(req)
		})
		w := startAcquire(t.Context(), kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k"))
		<-queued
		synctest.Wait()
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
		if err := w.get(t).Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestJoinBesideAHerd has a client join on a slow API server where other clients are faster each
// time. It backs off and tries only the version that it has read, five times.
func TestJoinBesideAHerd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		held, err := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{LockDuration: time.Hour}), "k").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var tries []bool
		var others []string
		queued := make(chan struct{})
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			joins, exact := joins(t, req)
			if req.URL.Query().Has("watch") || req.Method != http.MethodGet && !joins {
				return next.RoundTrip(req)
			}
			n := strconv.Itoa(len(others))
			others = append(others, `"a`+n+`-1 30s a","b`+n+`-1 30s b"`)
			deadWaiters(t, server, strings.Join(others, ","))
			<-time.After(50 * time.Millisecond)
			resp, err := next.RoundTrip(req)
			if joins {
				tries = append(tries, exact)
				if err == nil && resp.StatusCode == http.StatusOK {
					close(queued)
				}
			}
			return resp, err
		})
		ctx, cancel := context.WithCancel(t.Context())
		registry := prometheus.NewRegistry()
		w := startAcquire(ctx, kubelock.NewLock[string](server.NewClient(t, kubelock.Config{Metrics: registry}), "k"))
		start := time.Now()
		<-queued
		synctest.Wait()
		if took := time.Since(start); took > 14*time.Second {
			t.Errorf("it queued after %v", took)
		}
		if want := []bool{true, true, true, true, true, false}; !slices.Equal(tries, want) {
			t.Errorf("it joined its version only: %v, want %v", tries, want)
		}
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if h := f.GetMetric()[0].GetHistogram(); f.GetName() == "kubelock_queue_length" && (h.GetSampleCount() != 1 || h.GetSampleSum() != float64(2*len(others))) {
				t.Errorf("%d queues of %v clients altogether were noted, want one of %d", h.GetSampleCount(), h.GetSampleSum(), 2*len(others))
			}
		}
		server.Intercept(nil)
		cancel()
		<-w.done
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
