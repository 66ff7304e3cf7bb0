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
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// everyCall makes every call of a lock.
func everyCall(ctx context.Context, l *kubelock.Lock[int], opts ...kubelock.Option) map[string]error {
	_, do := l.Do(ctx, func(_ context.Context, n int) (int, error) { return n + 1, nil }, opts...)
	_, acquire := l.Acquire(ctx, opts...)
	_, try := l.TryAcquire(ctx, opts...)
	_, wait := l.Wait(ctx)
	_, get := l.Get(ctx)
	lead := l.Lead(ctx, func(context.Context, *kubelock.Held[int]) error { return errors.New("leads") }, opts...)
	return map[string]error{"Do": do, "Lead": lead, "Acquire": acquire, "TryAcquire": try, "Wait": wait, "Get": get, "Delete": l.Delete(ctx)}
}

// TestMisuse checks that what a program passes by mistake is an error which names it, and
// no panic.
func TestMisuse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int64
		server := kubelocktest.NewServer(t)
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			requests.Add(1)
			return next.RoundTrip(req)
		})
		c := server.NewClient(t, kubelock.Config{})
		l := kubelock.NewLock[int](c, "k")
		var noContext context.Context
		expect := func(calls map[string]error, want string) {
			t.Helper()
			for call, err := range calls {
				if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "kubelock: ") {
					t.Errorf("%s: %v, want an error with %q", call, err, want)
				}
			}
		}
		expect(everyCall(t.Context(), nil), "NewLock")
		expect(everyCall(t.Context(), new(kubelock.Lock[int])), "NewLock")
		expect(everyCall(t.Context(), kubelock.NewLock[int](nil, "k")), "NewClient")
		expect(everyCall(t.Context(), kubelock.NewLock[int](new(kubelock.Client), "k")), "NewClient")
		expect(everyCall(noContext, l), "context")
		wrong := everyCall(t.Context(), l, kubelock.WithAutoRenew(), nil, kubelock.WithDuration(-1))
		for _, call := range []string{"Wait", "Get", "Delete"} {
			delete(wrong, call) // They take no options.
		}
		expect(wrong, "option 2")
		expect(wrong, "WithDuration")
		_, err := l.Do(t.Context(), nil)
		expect(map[string]error{"Do without a function": err, "Lead without a function": l.Lead(t.Context(), nil)}, "function")

		var noClient *kubelock.Client
		expect(map[string]error{"Close of nil": noClient.Close(), "Close of zero": new(kubelock.Client).Close()}, "NewClient")
		if n := requests.Load(); n > 3 { // Those of Wait, Get and Delete, which take no options.
			t.Errorf("wrong calls sent %d requests", n)
		}
	})
}

// TestMisuseOfHeld checks a Held that is none, as a program has it which does not look at the error
// beside it.
func TestMisuseOfHeld(t *testing.T) {
	t.Parallel()
	for how, held := range map[string]*kubelock.Held[int]{"nil": nil, "zero": {}} {
		if held.Key() != "" || held.ID() != "" || held.Token() != 0 || held.Value() != 0 || held.Exists() || !held.Deadline().IsZero() {
			t.Errorf("%s: it tells of a hold", how)
		}
		if ctx := held.Context(); ctx.Err() == nil || !strings.Contains(context.Cause(ctx).Error(), "Acquire") {
			t.Errorf("%s: its context says %v", how, context.Cause(ctx))
		}
		if held.Update(1) != held || held.Clear() != held {
			t.Errorf("%s: Update and Clear return something else", how)
		}
		for call, err := range map[string]error{"Save": held.Save(t.Context()), "Renew": held.Renew(t.Context()), "Release": held.Update(1).Release(t.Context())} {
			if err == nil || !strings.Contains(err.Error(), "Acquire") {
				t.Errorf("%s of %s: %v, want an error that says what to do", call, how, err)
			}
		}
	}
}

// TestHeldWithoutAContext checks that a forgotten context costs neither the hold nor its state.
func TestHeldWithoutAContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := kubelock.NewLock[int](kubelocktest.NewServer(t).NewClient(t, kubelock.Config{}), "k")
		held := acquire(t, l).Update(7)
		var none context.Context
		for call, err := range map[string]error{"Save": held.Save(none), "Renew": held.Renew(none), "Release": held.Release(none)} {
			if err == nil || !strings.Contains(err.Error(), "context") {
				t.Errorf("%s(nil): %v, want an error that names the context", call, err)
			}
		}
		if err := held.Context().Err(); err != nil {
			t.Errorf("the hold has ended: %v", err)
		}
		release(t, held)
		if s, err := l.Get(t.Context()); err != nil || s.Held || s.Value != 7 {
			t.Errorf("after the release: %+v, %v", s, err)
		}
	})
}

// TestCloseWhileDoRuns checks what is promised of a client that is closed under a function: the
// function learns of it at once, nothing is written, and the lock stays held until its lease ends.
func TestCloseWhileDoRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		c := server.NewClient(t, kubelock.Config{LockDuration: 20 * time.Second})
		other := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "k")
		own := errors.New("interrupted")
		for _, result := range []error{nil, own} {
			c := c
			if result == nil {
				c = server.NewClient(t, kubelock.Config{LockDuration: 20 * time.Second})
			}
			l := kubelock.NewLock[int](c, "k")
			start := time.Now()
			n, err := l.Do(t.Context(), func(ctx context.Context, n int) (int, error) {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				<-ctx.Done()
				if cause := context.Cause(ctx); !errors.Is(cause, kubelock.ErrClosed) {
					t.Errorf("the function's context ended with %v, want ErrClosed", cause)
				}
				return n + 1, result
			}, kubelock.WithAutoRenew())
			if n != 0 || !errors.Is(err, kubelock.ErrClosed) || result != nil && !errors.Is(err, result) {
				t.Errorf("Do returned %d, %v; want ErrClosed and %v", n, err, result)
			}
			if took := time.Since(start); took > time.Second {
				t.Errorf("it took %v", took)
			}
			if s, err := other.Get(t.Context()); err != nil || !s.Held || s.Exists {
				t.Errorf("after it: %+v, %v; want the lock held and no state", s, err)
			}
			release(t, acquire(t, other, kubelock.WithDuration(time.Second))) // When the lease has ended.
			if took := time.Since(start); took < 20*time.Second {
				t.Errorf("another client had the lock after %v, within the lease", took)
			}
		}
	})
}

// TestDoThatDoesNotReturn checks that the lock is free, and its state as it was, when the panic of a
// function or the end of its goroutine has passed through Do, also if the hold was renewed in the
// background or lost meanwhile.
func TestDoThatDoesNotReturn(t *testing.T) {
	t.Parallel()
	for how, leave := range map[string]func(){"panic": func() { panic("boom") }, "Goexit": runtime.Goexit} {
		for when, option := range map[string]kubelock.Option{"renewed": kubelock.WithAutoRenew(), "lost": kubelock.WithDuration(time.Second)} {
			t.Run(how+" "+when, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					server := kubelocktest.NewServer(t)
					l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{LockDuration: time.Hour}), "k")
					release(t, acquire(t, l).Update(7))
					done, inside := make(chan any), make(chan context.Context, 1)
					go func() {
						defer func() { done <- recover() }()
						_, _ = l.Do(t.Context(), func(ctx context.Context, _ int) (int, error) {
							inside <- ctx
							<-time.After(time.Minute)
							leave()
							return 9, nil
						}, option)
					}()
					if got := <-done; got != map[string]any{"panic": "boom", "Goexit": nil}[how] {
						t.Errorf("recovered %v", got)
					}
					if err := (<-inside).Err(); err == nil {
						t.Error("the function's context goes on")
					}
					start := time.Now()
					held := acquire(t, kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "k"))
					if took := time.Since(start); held.Value() != 7 || took > time.Second {
						t.Errorf("the next had the lock after %v, with the state %d", took, held.Value())
					}
					release(t, held)
				})
			})
		}
	}
}
