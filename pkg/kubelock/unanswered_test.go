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
	"regexp"
	goruntime "runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// timeOfRelease finds the fraction of the time of a last release in what a client writes.
var timeOfRelease = regexp.MustCompile(`(\\*"time\\*":\\*"[0-9-]+T[0-9:]+)\.\d+Z`)

// alteredAndLost has a webhook change the body of the first write whose body it would change, and its answer be lost.
func alteredAndLost(t *testing.T, server *kubelocktest.Server, change func(body string) string) {
	t.Helper()
	var hit atomic.Bool
	t.Cleanup(func() {
		if !hit.Load() {
			t.Error("no write was altered: this tests nothing")
		}
	})
	server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if req.Body == nil || req.Method == http.MethodGet {
			return next.RoundTrip(req)
		}
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		changed := change(string(body))
		lost := changed != string(body) && hit.CompareAndSwap(false, true)
		if !lost {
			changed = string(body)
		}
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(changed)), int64(len(changed))
		resp, err := next.RoundTrip(req)
		if err == nil && lost {
			resp.Body.Close()
			if resp.StatusCode >= http.StatusMultipleChoices {
				t.Errorf("the write was refused: %s", resp.Status)
			}
			return nil, io.ErrUnexpectedEOF
		}
		return resp, err
	})
}

// TestApplyStoredAtAnotherTime has a webhook change the time of the last release, which one with a coarser type of times does, and the
// answer be lost: the change is not stored again.
func TestApplyStoredAtAnotherTime(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t, l := m.T, kubelock.NewLock[string](m.newClient(), "k")
		release(t, acquire(t, l))
		alteredAndLost(t, m.server, func(body string) string { return timeOfRelease.ReplaceAllString(body, "$1.999999Z") })
		applyOnce(t, l)
	})
}

// TestReleaseStoredAtAnotherTime is TestApplyStoredAtAnotherTime for a release: its state is stored, and it is not told otherwise.
func TestReleaseStoredAtAnotherTime(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t, l := m.T, kubelock.NewLock[string](m.newClient(), "k")
		held := acquire(t, l)
		alteredAndLost(t, m.server, func(body string) string { return timeOfRelease.ReplaceAllString(body, "$1.999999Z") })
		err := held.Update("x").Release(t.Context())
		s, failure := l.Get(t.Context())
		if failure != nil || s.Value != "x" {
			t.Fatalf("the state is %q, %v", s.Value, failure)
		}
		if errors.Is(err, kubelock.ErrLost) && !errors.Is(err, kubelock.ErrUnknownOutcome) {
			t.Errorf("the state is stored, and the release ends with: %v", err)
		}
	})
}

// TestStateStoredOtherwiseWithoutAnAnswer has a webhook change the state, and the answer be lost: as with an answer, the caller learns that.
func TestStateStoredOtherwiseWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(ctx context.Context, l *kubelock.Lock[string]) (string, error){
		"Apply": func(ctx context.Context, l *kubelock.Lock[string]) (string, error) {
			return l.Apply(ctx, func(string) (string, error) { return "second", nil })
		},
		"Do": func(ctx context.Context, l *kubelock.Lock[string]) (string, error) {
			return l.Do(ctx, func(context.Context, string) (string, error) { return "second", nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(m memory) {
				t, l := m.T, kubelock.NewLock[string](m.newClient(), "k")
				release(t, acquire(t, l))
				alteredAndLost(t, m.server, func(body string) string { return strings.ReplaceAll(body, "second", "SECOND") })
				got, err := call(t.Context(), l)
				s, failure := l.Get(t.Context())
				if failure != nil || s.Value != "SECOND" {
					t.Fatalf("the state is %q, %v", s.Value, failure)
				}
				if err == nil {
					t.Errorf("it gives %q without an error, and %q is stored", got, s.Value)
				}
			})
		})
	}
}

// TestWaitRemembersNoVersions has the reads of a client that waits be refused for a while, while its watch shows a busy lock: it does not
// remember each version.
func TestWaitRemembersNoVersions(t *testing.T) {
	testenv.Slow(t)
	const versions, size, most = 120, 256 << 10, 20 << 20
	grown := func(refused bool) (bytes int64) {
		synctest.Test(t, func(t *testing.T) {
			server := kubelocktest.NewServer(t)
			var refuses atomic.Bool
			config := server.Config()
			config.Wrap(func(next http.RoundTripper) http.RoundTripper {
				return roundTripper(func(req *http.Request) (*http.Response, error) {
					if verbOf(req) == "get" && refuses.Load() {
						return answerOf(req, http.StatusTooManyRequests, "1"), nil
					}
					return next.RoundTrip(req)
				})
			})
			waiter := kubelock.NewLock[string](newClientFor(t, config, kubelock.Config{Namespace: kubelocktest.Namespace}), "k")
			holder := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k")
			held := acquire(t, holder, kubelock.WithAutoRenew(), kubelock.WithDuration(time.Hour))
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan struct{})
			go func() { defer close(ended); _, _ = waiter.Wait(ctx) }()
			<-time.After(time.Second)
			refuses.Store(refused)
			<-time.After(2 * time.Minute) // It reads again, after a minute in which it was shown nothing.
			heap := func() int64 {
				goruntime.GC()
				var stats goruntime.MemStats
				goruntime.ReadMemStats(&stats)
				return int64(stats.HeapAlloc) //nolint:gosec // It is the size of a heap.
			}
			before := heap()
			for i := range versions {
				if err := held.Update(strconv.Itoa(i) + strings.Repeat("x", size)).Save(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			synctest.Wait()
			bytes = heap() - before
			cancel()
			<-ended
			release(t, held)
		})
		return bytes
	}
	if usual, more := grown(false), grown(true); more-usual > most {
		t.Errorf("%d versions of %d bytes took %d MiB, and with reads refused %d MiB", versions, size, usual>>20, more>>20)
	}
}
