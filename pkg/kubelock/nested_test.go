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
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// waitingCalls are the calls that would wait for the end of a hold of l.
func waitingCalls(ctx context.Context, l *kubelock.Lock[int]) map[string]error {
	_, do := l.Do(ctx, func(_ context.Context, n int) (int, error) { return n + 100, nil })
	_, acquire := l.Acquire(ctx)
	_, wait := l.Wait(ctx)
	lead := l.Lead(ctx, func(context.Context, *kubelock.Held[int]) error { return errors.New("leads") })
	return map[string]error{"Do": do, "Lead": lead, "Acquire": acquire, "Wait": wait, "Delete": l.Delete(ctx)}
}

type plain struct{}

// TestCallUnderItsOwnHold checks that a call which would wait for its own caller fails at
// once, by whichever way the caller's context came, and that the hold is not harmed.
func TestCallUnderItsOwnHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		c := server.NewClient(t, kubelock.Config{})
		l := kubelock.NewLock[int](c, "orders")
		again := kubelock.NewLock[int](c, "orders") // The key counts, and not the Lock.
		other := kubelock.NewLock[int](c, "customers")

		refused := func(ctx context.Context, how string) {
			t.Helper()
			start := time.Now()
			for call, err := range waitingCalls(ctx, again) {
				if !errors.Is(err, kubelock.ErrDeadlock) || errors.Is(err, kubelock.ErrNotAcquired) {
					t.Errorf("%s %s: %v, want ErrDeadlock alone", call, how, err)
				} else if !strings.Contains(err.Error(), `"orders"`) {
					t.Errorf("%s %s: %v, which does not name the key", call, how, err)
				}
			}
			if _, err := again.TryAcquire(ctx); !errors.Is(err, kubelock.ErrDeadlock) || !errors.Is(err, kubelock.ErrNotAcquired) {
				t.Errorf("TryAcquire %s: %v, want ErrNotAcquired and ErrDeadlock", how, err)
			}
			if took := time.Since(start); took != 0 {
				t.Errorf("%s the calls took %v", how, took)
			}
			if s, err := again.Get(ctx); err != nil || !s.Held {
				t.Errorf("Get %s: %+v, %v; want the lock as it is", how, s, err)
			}
		}

		got, err := l.Do(t.Context(), func(ctx context.Context, n int) (int, error) {
			refused(ctx, "in Do")
			derived, cancel := context.WithTimeout(context.WithValue(context.WithoutCancel(ctx), plain{}, 1), time.Hour)
			defer cancel()
			refused(derived, "with a derived context")
			_, err := other.Do(ctx, func(ctx context.Context, _ int) (int, error) {
				refused(ctx, "in Do of another key in Do")
				return 1, nil
			})
			return n + 1, err
		}, kubelock.WithAutoRenew())
		if err != nil || got != 1 {
			t.Errorf("the outer Do: %d, %v", got, err)
		}

		held := acquire(t, l)
		refused(held.Context(), "with a hold's context")
		if _, err := other.Do(held.Context(), func(ctx context.Context, _ int) (int, error) {
			refused(ctx, "in Do of another key with a hold's context")
			return 1, nil
		}); err != nil {
			t.Errorf("Do of another key with a hold's context: %v", err)
		}
		release(t, held)
	})
}

// TestCallUnderAHoldThatIsOver checks that a hold which has ended is no reason to refuse a call: a
// function's goroutine may go on, and be the next to have the lock.
func TestCallUnderAHoldThatIsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "orders")
		add := func(_ context.Context, n int) (int, error) { return n + 1, nil }

		var later context.Context
		if _, err := l.Do(t.Context(), func(ctx context.Context, n int) (int, error) {
			later = context.WithoutCancel(ctx) //nolint:fatcontext // It is what is tested.
			return n + 1, nil
		}); err != nil {
			t.Fatal(err)
		}
		if n, err := l.Do(later, add); err != nil || n != 2 {
			t.Errorf("after a release: %d, %v", n, err)
		}

		// The lease ends in the function.
		if _, err := l.Do(t.Context(), func(ctx context.Context, n int) (int, error) {
			<-ctx.Done()
			if n, err := l.Do(context.WithoutCancel(ctx), add); err != nil || n != 3 {
				t.Errorf("after a loss: %d, %v", n, err)
			}
			return n + 1, nil
		}, kubelock.WithDuration(time.Second)); !errors.Is(err, kubelock.ErrLost) {
			t.Errorf("a lost hold gives %v", err)
		}
	})
}

// TestCallUnderAnotherClientsHold checks that only the client's own holds count: another client may
// have the same key in another cluster.
func TestCallUnderAnotherClientsHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		here := kubelock.NewLock[int](kubelocktest.NewServer(t).NewClient(t, kubelock.Config{}), "orders")
		there := kubelock.NewLock[int](kubelocktest.NewServer(t).NewClient(t, kubelock.Config{}), "orders")
		_, err := here.Do(t.Context(), func(ctx context.Context, n int) (int, error) {
			return there.Do(ctx, func(_ context.Context, n int) (int, error) { return n + 1, nil })
		})
		if err != nil {
			t.Errorf("Do in two clusters: %v", err)
		}
	})
}
