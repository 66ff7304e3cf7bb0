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
	"runtime"
	"testing"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

func TestDoWritesWhatTheFunctionReturns(t *testing.T) {
	t.Parallel()
	l := kubelock.NewLock[*counter](newClient(t, kubelock.Config{Namespace: env.Namespace(t)}), "do")
	got, err := l.Do(t.Context(), func(_ context.Context, s *counter) (*counter, error) {
		if s != nil {
			t.Errorf("a new lock has the state %+v, want nil", s)
		}
		return &counter{7}, nil
	})
	if err != nil || got == nil || got.Count != 7 {
		t.Errorf("Do returned %+v, %v", got, err)
	}
	got, err = l.Do(t.Context(), func(_ context.Context, s *counter) (*counter, error) {
		s.Count++
		return s, nil
	})
	if err != nil || got.Count != 8 {
		t.Errorf("the second Do returned %+v, %v", got, err)
	}
}

func TestDoOfAFailingFunctionWritesNothing(t *testing.T) {
	t.Parallel()
	l := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: env.Namespace(t)}), "fails")
	failure := errors.New("no such thing")
	got, err := l.Do(t.Context(), func(context.Context, counter) (counter, error) { return counter{9}, failure })
	if !errors.Is(err, failure) || got != (counter{}) {
		t.Errorf("Do returned %+v, %v; want the function's error and no state", got, err)
	}
	if s, err := l.Get(t.Context()); err != nil || s.Exists || s.Held {
		t.Errorf("after a failed function: %+v, %v; want no state and a free lock", s, err)
	}
}

func TestDoReleasesAfterAPanic(t *testing.T) {
	t.Parallel()
	l := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: env.Namespace(t)}), "panics")
	check := func(how string) {
		t.Helper()
		if s, err := l.Get(t.Context()); err != nil || s.Exists || s.Held {
			t.Errorf("after %s: %+v, %v; want no state and a free lock", how, s, err)
		}
	}
	func() {
		defer func() {
			if got := recover(); got != "boom" {
				t.Errorf("recovered %v, want the function's own panic", got)
			}
		}()
		_, _ = l.Do(t.Context(), func(context.Context, counter) (counter, error) { panic("boom") })
	}()
	check("a panic")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = l.Do(t.Context(), func(context.Context, counter) (counter, error) { runtime.Goexit(); return counter{}, nil })
	}()
	<-done
	check("runtime.Goexit")
}

// explosive panics when it is encoded or decoded.
type explosive struct {
	Armed bool
}

func (e explosive) MarshalJSON() ([]byte, error) {
	if e.Armed {
		panic("encoding")
	}
	return []byte(`{}`), nil
}

func (e *explosive) UnmarshalJSON([]byte) error { panic("decoding") }

// TestPanicsOfTheStatesTypeKeepNothing checks states whose own code panics: the panic
// goes on, and neither the lock nor the client's turn for it stays taken.
func TestPanicsOfTheStatesTypeKeepNothing(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	c := newClient(t, kubelock.Config{Namespace: ns, LockDuration: time.Hour})
	l := kubelock.NewLock[explosive](c, "bomb")
	panicsWith := func(want string, f func()) {
		t.Helper()
		defer func() {
			if got := recover(); got != want {
				t.Errorf("recovered %v, want %q", got, want)
			}
		}()
		f()
	}
	panicsWith("encoding", func() {
		_, _ = l.Do(within(t), func(context.Context, explosive) (explosive, error) { return explosive{Armed: true}, nil })
	})
	if s, err := kubelock.NewLock[counter](c, "bomb").Get(t.Context()); err != nil || s.Exists || s.Held {
		t.Errorf("after a panic in the encoding: %+v, %v; want no state and a free lock", s, err)
	}
	release(t, acquire(t, kubelock.NewLock[counter](c, "bomb")).Update(counter{1}))
	panicsWith("decoding", func() { _, _ = l.Acquire(within(t)) })
	panicsWith("decoding", func() { _, _ = l.TryAcquire(within(t)) })
	release(t, acquire(t, kubelock.NewLock[counter](c, "bomb")))
}

func TestDoOfAnOverlongFunction(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	l := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns}), "overlong")
	_, err := l.Do(t.Context(), func(ctx context.Context, _ counter) (counter, error) {
		<-ctx.Done()
		if cause := context.Cause(ctx); !errors.Is(cause, kubelock.ErrLost) {
			t.Errorf("the function's context ended with %v, want ErrLost", cause)
		}
		return counter{1}, nil
	}, kubelock.WithDuration(300*time.Millisecond))
	if !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("an overlong function gives %v, want ErrLost", err)
	}
	if s, err := l.Get(t.Context()); err != nil || s.Exists || s.Held {
		t.Errorf("after it: %+v, %v; want nothing written and a free lock", s, err)
	}
	failure := errors.New("own")
	_, err = l.Do(t.Context(), func(ctx context.Context, _ counter) (counter, error) {
		<-ctx.Done()
		return counter{}, failure
	}, kubelock.WithDuration(300*time.Millisecond))
	if !errors.Is(err, failure) || !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("got %v, want the function's error and ErrLost", err)
	}
}

// TestDoWaitsForTheFunction checks that the end of the caller's context does not
// release the lock under a function that still runs, and that what the function
// then returns counts.
func TestDoWaitsForTheFunction(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	l := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns}), "canceled")
	other := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns}), "canceled")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := l.Do(ctx, func(fnCtx context.Context, _ counter) (counter, error) {
		cancel()
		<-fnCtx.Done()
		if cause := context.Cause(fnCtx); !errors.Is(cause, context.Canceled) || errors.Is(cause, kubelock.ErrLost) {
			t.Errorf("the function's context ended with %v, want Canceled", cause)
		}
		if _, err := other.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Errorf("while the function runs another client gets %v, want ErrNotAcquired", err)
		}
		return counter{5}, nil
	})
	if err != nil {
		t.Errorf("Do returned %v although the function succeeded", err)
	}
	if s, err := l.Get(t.Context()); err != nil || s.Value.Count != 5 || s.Held {
		t.Errorf("after it: %+v, %v; want the function's state and a free lock", s, err)
	}
}

func TestDoWithoutAFunction(t *testing.T) {
	t.Parallel()
	l := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: env.Namespace(t)}), "nil")
	if _, err := l.Do(t.Context(), nil); err == nil {
		t.Error("Do(nil) gives no error")
	}
	if s, err := l.Get(t.Context()); err != nil || s.Token != 0 {
		t.Errorf("Do(nil) touched the lock: %+v, %v", s, err)
	}
}

func TestDoWithABadState(t *testing.T) {
	t.Parallel()
	l := kubelock.NewLock[any](newClient(t, kubelock.Config{Namespace: env.Namespace(t)}), "bad")
	if _, err := l.Do(t.Context(), func(context.Context, any) (any, error) { return func() {}, nil }); err == nil {
		t.Error("a function as state gives no error")
	}
	if s, err := l.Get(t.Context()); err != nil || s.Exists || s.Held {
		t.Errorf("after it: %+v, %v; want nothing written and a free lock", s, err)
	}
}
