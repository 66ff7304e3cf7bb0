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
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/internal/testing/spans"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestSpans looks at the spans of each way for a call and for a hold to end.
func TestSpans(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, server := &spans.Recorder{}, kubelocktest.NewServer(t)
		a := server.NewClient(t, kubelock.Config{TracerProvider: s})
		b := server.NewClient(t, kubelock.Config{TracerProvider: s})
		ctx := s.With(t.Context())
		lock, other := kubelock.NewLock[string](a, "k"), kubelock.NewLock[string](b, "k")

		// Do: the function's work is under the hold.
		if _, err := lock.Do(ctx, func(ctx context.Context, text string) (string, error) {
			if parent := spans.Of(ctx); parent != "kubelock.hold" {
				t.Errorf("the function's context has the span %q", parent)
			}
			<-time.After(time.Second)
			return text + "1", nil
		}, kubelock.WithName("report")); err != nil {
			t.Fatal(err)
		}
		if took := s.Took("kubelock.hold"); took < time.Second || took > 2*time.Second {
			t.Errorf("the hold's span lasts for %v, the hold did for a second", took)
		}
		spans.Check(t, s.Take(t),
			"acquire < caller: handed_over=false lock_id name=report outcome=acquired token try=false",
			"hold < caller: lock_id name=report outcome=released token",
			"release < caller: lock_id name=report outcome=released token")

		// A hand-over, with a place in the queue, and a lock that another client has.
		held := acquire(t, lock)
		if parent := spans.Of(held.Context()); parent != "kubelock.hold" {
			t.Errorf("the hold's context has the span %q", parent)
		}
		if _, err := other.TryAcquire(ctx); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Error(err)
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if _, err := other.Acquire(short); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Error(err)
		}
		waiting := startAcquire(ctx, other)
		<-time.After(10 * time.Second)
		synctest.Wait()
		release(t, held)
		next := waiting.get(t)
		release(t, next)
		spans.Check(t, s.Take(t),
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=released token",
			"acquire < caller: outcome=not_acquired try=true",
			"acquire < caller: outcome=not_acquired queue.place=1 try=false Error",
			"acquire < caller: handed_over=true lock_id outcome=acquired queue.place=1 token try=false",
			"release < : lock_id outcome=released token",
			"hold < caller: lock_id outcome=released token",
			"release < : lock_id outcome=released token")

		<-time.After(time.Second) // What is remembered of the hand-over is old then.
		synctest.Wait()

		// A client that has left the queue has no place in it when it comes to a free lock.
		held = acquire(t, lock)
		short, cancel = context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if _, err := other.Acquire(short); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Error(err)
		}
		<-time.After(time.Second)
		release(t, held)
		<-time.After(time.Second)
		release(t, acquire(t, other))
		spans.Check(t, s.Take(t),
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=released token",
			"acquire < caller: outcome=not_acquired queue.place=1 try=false Error",
			"release < : lock_id outcome=released token",
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=released token",
			"release < : lock_id outcome=released token")
		<-time.After(time.Second)
		synctest.Wait()

		// A hold that is lost, and one that outlives the client.
		held = acquire(t, lock, kubelock.WithDuration(time.Second))
		<-held.Context().Done()
		synctest.Wait() // The span ends in a goroutine of its own.
		if err := held.Release(ctx); !errors.Is(err, kubelock.ErrLost) {
			t.Error(err)
		}
		acquire(t, lock)
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if _, err := lock.Acquire(ctx); !errors.Is(err, kubelock.ErrClosed) {
			t.Error(err)
		}
		spans.Check(t, s.Take(t),
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=lost token Error",
			"release < caller: lock_id outcome=lost token Error",
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=closed token")

		// Apply, with and without an error.
		counter := kubelock.NewLock[int](b, "counter")
		failure := errors.New("no")
		for _, err := range []error{nil, failure} {
			if _, got := counter.Apply(ctx, func(n int) (int, error) { return n + 1, err }, kubelock.WithName("count")); !errors.Is(got, err) {
				t.Error(got)
			}
		}
		spans.Check(t, s.Take(t), "apply < caller: name=count outcome=applied", "apply < caller: name=count outcome=error Error")
	})
}

// TestSpansOfAnUnknownOutcome says so.
func TestSpansOfAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, server := &spans.Recorder{}, kubelocktest.NewServer(t)
		lock := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{TracerProvider: s}), "k")
		held := acquire(t, lock)
		reconnect := server.Disconnect()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := held.Release(ctx); !errors.Is(err, kubelock.ErrUnknownOutcome) {
			t.Error(err)
		}
		reconnect()
		spans.Check(t, s.Take(t),
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=released token",
			"release < : lock_id outcome=unknown token Error")
	})
}
