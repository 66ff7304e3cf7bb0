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

// TestProxiesWithClocksOfTheirOwn has a holder and somebody who wants its lock each behind
// a proxy that replaces the Date of all answers, as nginx does, by a clock that is wrong. None
// gets the lock before the holder has lost it, and each does some time after that.
func TestProxiesWithClocksOfTheirOwn(t *testing.T) {
	t.Parallel()
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
// own, before somebody judges a lock that is held.
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
