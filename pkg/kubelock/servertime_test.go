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
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// behind returns a client whose requests all go through a proxy that writes the Date of
// each answer by its own clock, which is off by that much.
func behind(t *testing.T, server *kubelocktest.Server, off time.Duration, cfg kubelock.Config) *kubelock.Client {
	t.Helper()
	config := server.Config()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &interceptor{next, func(req *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if err == nil && off != 0 {
				resp.Header.Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
			}
			return resp, err
		}}
	})
	cfg.Namespace = kubelocktest.Namespace
	return newClientFor(t, config, cfg)
}

// TestProxiesWithClocksOfTheirOwn has a holder and a client that wants its lock each behind
// a proxy that replaces the Date of all answers, as nginx does, by a clock that is wrong. None
// gets the lock before the holder has lost it, and each does some time after that.
func TestProxiesWithClocksOfTheirOwn(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	const lease = 30 * time.Second
	offs := []time.Duration{0, 45 * time.Second, -45 * time.Second, 20000 * time.Hour}
	for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		for _, holding := range []string{"taken", "renewed", "given"} {
			for _, holder := range offs {
				for _, judge := range offs {
					t.Run(fmt.Sprintf("%s, %s at %v, judged at %v", backend, holding, holder, judge), func(t *testing.T) {
						t.Parallel()
						synctest.Test(t, func(t *testing.T) {
							server := kubelocktest.NewServer(t)
							cfg := kubelock.Config{Backend: backend, LockDuration: lease}
							held := holdOf(t, server, holding, holder, cfg)
							<-time.After(time.Millisecond)
							l := kubelock.NewLock[string](behind(t, server, judge, cfg), "k")
							for i := range 90 {
								next, err := l.TryAcquire(t.Context())
								if err == nil {
									if left := time.Until(held.Deadline()); held.Context().Err() == nil && left > 0 {
										t.Errorf("another has the lock %v before its holder loses it", left)
									}
									release(t, next)
									return
								}
								if !errors.Is(err, kubelock.ErrNotAcquired) {
									t.Fatal(err)
								}
								if i%10 == 0 {
									if _, err := l.Get(t.Context()); err != nil {
										t.Error(err)
									}
								}
								<-time.After(997 * time.Millisecond)
							}
							t.Error("nobody gets the lock of a dead holder")
						})
					})
				}
			}
		}
	}
}

// holdOf returns a hold of a client behind such a proxy, which is not renewed any more.
func holdOf(t *testing.T, server *kubelocktest.Server, how string, off time.Duration, cfg kubelock.Config) *kubelock.Held[string] {
	t.Helper()
	l := kubelock.NewLock[string](behind(t, server, off, cfg), "k")
	if how == "given" { // By a client behind the same proxy.
		giver := acquire(t, kubelock.NewLock[string](behind(t, server, off, cfg), "k"))
		given := startAcquire(t.Context(), l)
		synctest.Wait()
		<-time.After(4 * time.Second)
		release(t, giver)
		return given.get(t)
	}
	held := acquire(t, l)
	if how == "renewed" {
		<-time.After(4 * time.Second)
		if err := held.Renew(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return held
}

// TestAnswerOfALoadBalancer has a load balancer answer a request itself, by a clock of its
// own, before a client judges a lock that is held.
func TestAnswerOfALoadBalancer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		cfg := kubelock.Config{LockDuration: 30 * time.Second}
		held := acquire(t, kubelock.NewLock[string](server.NewClient(t, cfg), "k"))
		l := kubelock.NewLock[string](server.NewClient(t, cfg), "k")
		if _, err := l.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Fatal(err)
		}
		var answered atomic.Bool
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if answered.Swap(true) {
				resp, err := next.RoundTrip(req)
				if err == nil {
					resp.Header.Del("Date")
				}
				return resp, err
			}
			return &http.Response{
				StatusCode: http.StatusServiceUnavailable, Request: req, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
				Header: http.Header{"Date": {time.Now().Add(45 * time.Second).UTC().Format(http.TimeFormat)}, "Content-Type": {"text/html"}},
				Body:   io.NopCloser(strings.NewReader("no server is available")),
			}, nil
		})
		for range 3 {
			if _, err := l.TryAcquire(t.Context()); err == nil {
				t.Fatal("another has the lock while its holder does")
			}
		}
		if cause := context.Cause(held.Context()); cause != nil {
			t.Error(cause)
		}
		server.Intercept(nil)
		release(t, held)
	})
}

// TestIdleClientReadsBeforeItStamps has a client write after a long idle time, in which its
// bounds of the server's time have become wide: it reads first, and its stamps are as exact as
// ever. Others do not wait for its dead holds for longer.
func TestIdleClientReadsBeforeItStamps(t *testing.T) {
	t.Parallel()
	for _, idle := range []time.Duration{24 * time.Hour, 30 * 24 * time.Hour} {
		for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
			t.Run(fmt.Sprintf("%s after %v", backend, idle), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server := kubelocktest.NewServer(t)
					var rec recorder
					cfg := kubelock.Config{Backend: backend, Namespace: kubelocktest.Namespace}
					l := kubelock.NewLock[string](newClientFor(t, rec.wrap(server.Config()), cfg), "k")
					release(t, acquire(t, l))
					release(t, acquire(t, l))
					expect := func(step, want string) {
						t.Helper()
						if got := rec.taken(); got != want {
							t.Errorf("%s sent %q, want %q", step, got, want)
						}
					}
					rec.taken()
					<-time.After(idle)
					held := acquire(t, l, kubelock.WithDuration(3*idle))
					expect("an acquisition after a long time", "get update")
					exact(t, server, cfg, "an acquisition")
					<-time.After(idle)
					if err := held.Renew(t.Context()); err != nil {
						t.Fatal(err)
					}
					expect("a renewal after a long time", "get patch")
					exact(t, server, cfg, "a renewal")
					<-time.After(idle)
					release(t, held.Update("state"))
					expect("a release after a long time", "get update")
					exact(t, server, cfg, "a release")
					release(t, acquire(t, l))
					expect("a cycle right after it", "update update")

					<-time.After(idle)
					dead := acquire(t, l, kubelock.WithDuration(30*time.Second))
					<-dead.Context().Done()
					rec.taken()
					<-time.After(4 * time.Second)
					release(t, acquire(t, kubelock.NewLock[string](server.NewClient(t, cfg), "k")))
					if late := time.Since(dead.Deadline()); late > 5*time.Second {
						t.Errorf("the lock of a dead holder is had %v after its end", late)
					}
				})
			})
		}
	}
}

// exact checks that the newest stamp of the lock k is no more than three seconds off.
func exact(t *testing.T, server *kubelocktest.Server, cfg kubelock.Config, what string) {
	t.Helper()
	kind := map[kubelock.Backend]store.Kind{
		kubelock.DistributedLocks: store.DistributedLocks, kubelock.Leases: store.Leases, kubelock.ConfigMaps: store.ConfigMaps,
	}[cfg.Backend]
	s, err := kind.Open(server.Config(), &http.Client{Transport: server.Config().Transport}, cfg.Namespace)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Get(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	stamp := r.LastTransition()
	if r.Holder != nil {
		stamp = protocol.Stamp{Time: r.Holder.RenewTime, Source: r.Holder.Source}
	}
	if off := time.Until(stamp.Time); stamp.Source != protocol.Server || off < 0 || off > 3*time.Second {
		t.Errorf("the stamp of %s is %v ahead, by the clock of a %s", what, off, stamp.Source)
	}
}

// TestBriefLooksAddUp has a client look at the Lease of a dead elector each minute, or for
// ten seconds at a time. What one call has seen counts for the next.
func TestBriefLooksAddUp(t *testing.T) {
	t.Parallel()
	for name, look := range map[string]func(t *testing.T, l *kubelock.Lock[string]) (*kubelock.Held[string], error){
		"TryAcquire each minute": func(t *testing.T, l *kubelock.Lock[string]) (*kubelock.Held[string], error) {
			<-time.After(time.Minute)
			return l.TryAcquire(t.Context())
		},
		"Acquire for ten seconds": func(t *testing.T, l *kubelock.Lock[string]) (*kubelock.Held[string], error) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			return l.Acquire(ctx)
		},
		"Get and TryAcquire": func(t *testing.T, l *kubelock.Lock[string]) (*kubelock.Held[string], error) {
			if _, err := l.Get(t.Context()); err != nil {
				return nil, err
			}
			<-time.After(8 * time.Second)
			return l.TryAcquire(t.Context())
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				cs, err := kubernetes.NewForConfig(server.Config())
				if err != nil {
					t.Fatal(err)
				}
				leases := cs.CoordinationV1().Leases(kubelocktest.Namespace)
				lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "k"}, Spec: coordinationv1.LeaseSpec{
					HolderIdentity: new("elector"), LeaseDurationSeconds: new(int32(15)),
					AcquireTime: new(metav1.NowMicro()), RenewTime: new(metav1.NowMicro()),
				}}
				if lease, err = leases.Create(t.Context(), lease, metav1.CreateOptions{}); err != nil {
					t.Fatal(err)
				}
				l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{Backend: kubelock.Leases}), "k")
				for range 4 { // It is alive.
					if _, err := look(t, l); !errors.Is(err, kubelock.ErrNotAcquired) {
						t.Fatalf("the lock of a live elector: %v", err)
					}
					synctest.Wait() // It has left the queue.
					if lease, err = leases.Get(t.Context(), "k", metav1.GetOptions{}); err != nil {
						t.Fatal(err)
					}
					lease.Spec.RenewTime = new(metav1.NowMicro())
					if lease, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
						t.Fatal(err)
					}
				}
				for range 3 {
					held, err := look(t, l)
					if err == nil {
						if lived := time.Since(lease.Spec.RenewTime.Time); lived < 15*time.Second {
							t.Errorf("the elector was overtaken after %v", lived)
						}
						release(t, held)
						return
					}
				}
				t.Error("the Lease of a dead elector is not had after its lease")
			})
		})
	}
}
