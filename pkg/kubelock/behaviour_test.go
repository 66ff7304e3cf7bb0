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
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

type counter struct {
	Count int `json:"count"`
}

// TestNewAndExistingState checks that a new lock has no state, and that the next
// holder, of another client, sees what the last one wrote.
func TestNewAndExistingState(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	first := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns}), "orders")
	second := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns}), "orders")

	held := acquire(t, first)
	if held.Exists() || held.Value() != (counter{}) {
		t.Errorf("a new lock has the state %+v, exists %v; want none", held.Value(), held.Exists())
	}
	if _, err := second.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
		t.Errorf("trying a held lock gives %v, want ErrNotAcquired", err)
	}
	if held.Update(counter{Count: 3}) != held {
		t.Error("Update does not return its receiver")
	}
	release(t, held)

	other := acquire(t, second)
	if !other.Exists() || other.Value() != (counter{Count: 3}) {
		t.Errorf("the second holder sees %+v, exists %v; want the first one's state", other.Value(), other.Exists())
	}
	if other.Token() <= held.Token() || other.ID() == held.ID() {
		t.Errorf("second hold has token %d and ID %s, first had %d and %s", other.Token(), other.ID(), held.Token(), held.ID())
	}
	release(t, other) // Without Update: the state stays.
	if got, err := first.Get(t.Context()); err != nil || got.Value.Count != 3 || got.Held {
		t.Errorf("after a release without an update: %+v, %v; want the state unchanged and the lock free", got, err)
	}

	release(t, acquire(t, first).Clear())
	if got, err := first.Get(t.Context()); err != nil || got.Exists {
		t.Errorf("after Clear: %+v, %v; want no state", got, err)
	}
}

// TestAcquireTimesOut checks what a wait in vain says.
func TestAcquireTimesOut(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	holder := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns, Identity: "the-holder"}), "busy")
	waiter := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns}), "busy")
	held := acquire(t, holder)
	defer release(t, held)

	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := waiter.Acquire(ctx)
	if !errors.Is(err, kubelock.ErrNotAcquired) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kubelock.ErrUnknownOutcome) {
		t.Errorf("got %v, want ErrNotAcquired and DeadlineExceeded", err)
	}
	for _, part := range []string{`"busy"`, `"the-holder"`, "after 3"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error %q does not say %s", err, part)
		}
	}

	cause := errors.New("shutting down")
	canceled, stop := context.WithCancelCause(t.Context())
	stop(cause)
	if _, err := waiter.Acquire(canceled); !errors.Is(err, kubelock.ErrNotAcquired) || !errors.Is(err, context.Canceled) || !errors.Is(err, cause) {
		t.Errorf("with an ended context: got %v, want ErrNotAcquired, Canceled and its cause", err)
	}
}

// TestReleaseWakesAWaiter checks that a waiter of another client gets the lock at the
// release, long before its own timeout or the lease's end.
func TestReleaseWakesAWaiter(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var rec recorder
	first := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns, LockDuration: time.Hour}), "wake")
	second := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "wake")

	held := acquire(t, first)
	got := make(chan *kubelock.Held[string], 1)
	go func() { got <- acquire(t, second) }()
	rec.waitFor(t, "watch")
	select {
	case <-got:
		t.Fatal("the waiter has the lock while it is held")
	default:
	}
	release(t, held.Update("from the first"))
	next := <-got
	if next.Value() != "from the first" {
		t.Errorf("the waiter sees %q", next.Value())
	}
	release(t, next)
}

// TestTenDosCountToTen checks mutual exclusion and atomic updates.
func TestTenDosCountToTen(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	clients := []*kubelock.Client{newClient(t, kubelock.Config{Namespace: ns}), newClient(t, kubelock.Config{Namespace: ns})}
	ctx := within(t)
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			l := kubelock.NewLock[counter](clients[i%2], "count")
			if _, err := l.Do(ctx, func(_ context.Context, s counter) (counter, error) {
				s.Count++
				return s, nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := kubelock.NewLock[counter](clients[0], "count").Get(t.Context())
	if err != nil || got.Value.Count != 10 || got.Held {
		t.Errorf("got %+v, %v; want a count of 10 and a free lock", got, err)
	}
	var obj v1alpha1.DistributedLock
	if err := env.Client(t).Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "count"}, &obj); err != nil || obj.Spec.Transitions != 10 {
		t.Errorf("the object counts %d transitions (%v), want 10", obj.Spec.Transitions, err)
	}
}
