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
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestLateReleaseWritesNothing checks the release after the deadline: ErrLost, no
// state, but the lock is free if nobody has taken it.
func TestLateReleaseWritesNothing(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	c := newClient(t, kubelock.Config{Namespace: ns})
	l := kubelock.NewLock[string](c, "late")
	release(t, acquire(t, l).Update("before"))

	held := acquire(t, l, kubelock.WithDuration(300*time.Millisecond)).Update("too late")
	<-held.Context().Done()
	if cause := context.Cause(held.Context()); !errors.Is(cause, kubelock.ErrLost) {
		t.Errorf("cause is %v, want ErrLost", cause)
	}
	if err := held.Release(t.Context()); !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("late release: %v, want ErrLost", err)
	}
	got, err := l.Get(t.Context())
	if err != nil || got.Value != "before" {
		t.Errorf("after a late release the state is %+v, %v; want that of before", got, err)
	}
	var obj v1alpha1.DistributedLock
	if err := env.Client(t).Get(t.Context(), types.NamespacedName{Namespace: ns, Name: "late"}, &obj); err != nil {
		t.Fatal(err)
	}
	if obj.Spec.Holder != nil || obj.Labels[v1alpha1.HolderLabel] != "" {
		t.Errorf("the late release left the lock held: %+v", obj.Spec.Holder)
	}

	// And when somebody else has it: nothing of theirs is touched.
	held = acquire(t, l, kubelock.WithDuration(300*time.Millisecond)).Update("too late")
	other := acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "late"))
	if err := held.Release(t.Context()); !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("release of a lock that somebody else has: %v, want ErrLost", err)
	}
	if err := other.Renew(t.Context()); err != nil {
		t.Errorf("the new holder lost its lock by the old one's release: %v", err)
	}
	release(t, other.Update("after"))
	if got, err := l.Get(t.Context()); err != nil || got.Value != "after" {
		t.Errorf("state is %+v, %v", got, err)
	}
}

// TestUseAfterRelease checks that a released hold is of no use, and says so.
func TestUseAfterRelease(t *testing.T) {
	t.Parallel()
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: env.Namespace(t)}), "used")
	held := acquire(t, l)
	ctx := held.Context()
	release(t, held)
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) || errors.Is(cause, kubelock.ErrLost) {
		t.Errorf("after a release the cause is %v, want Canceled", cause)
	}
	for name, err := range map[string]error{
		"Release": held.Release(t.Context()),
		"Renew":   held.Renew(t.Context()),
		"Save":    held.Update("x").Save(t.Context()),
	} {
		if err == nil || errors.Is(err, kubelock.ErrLost) {
			t.Errorf("%s after a release: %v, want an error that is not ErrLost", name, err)
		}
	}
	if got, err := l.Get(t.Context()); err != nil || got.Exists {
		t.Errorf("use after a release wrote %+v, %v", got, err)
	}
}

// TestSaveKeepsTheLock checks that Save writes at once, and what is saved survives a
// loss.
func TestSaveKeepsTheLock(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	l := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns}), "save")
	held := acquire(t, l, kubelock.WithDuration(5*time.Second))
	before := held.Deadline()
	if err := held.Update(counter{1}).Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Get(t.Context()); err != nil || got.Value.Count != 1 || !got.Held || got.Token != held.Token() {
		t.Errorf("after Save: %+v, %v; want the state written and the lock held", got, err)
	}
	if !held.Deadline().After(before) {
		t.Error("Save did not renew the lease")
	}
	if err := held.Clear().Save(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Get(t.Context()); err != nil || got.Exists || !got.Held {
		t.Errorf("after Clear and Save: %+v, %v", got, err)
	}
	release(t, held.Update(counter{2}))
	if got, err := l.Get(t.Context()); err != nil || got.Value.Count != 2 || got.Held {
		t.Errorf("after Release: %+v, %v", got, err)
	}
}

// TestForcedRelease checks that a holder whose lock was taken away by hand notices at
// its next write.
func TestForcedRelease(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "forced")
	other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "forced")
	force := func() {
		t.Helper()
		out, err := env.Kubectl(t.Context(), "", "patch", "dlock", "forced", "-n", ns, "--type=merge", "-p", `{"spec":{"holder":null}}`)
		if err != nil {
			t.Fatal(out)
		}
	}

	held := acquire(t, l).Update("mine")
	force()
	if err := held.Renew(t.Context()); !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("Renew after a forced release: %v, want ErrLost", err)
	}
	if cause := context.Cause(held.Context()); !errors.Is(cause, kubelock.ErrLost) {
		t.Errorf("the hold's context has the cause %v, want ErrLost at once", cause)
	}
	if err := held.Release(t.Context()); !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("Release: %v, want ErrLost", err)
	}

	held = acquire(t, l).Update("mine")
	force()
	next := acquire(t, other)
	if err := held.Release(t.Context()); !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("Release of a lock that somebody else has: %v, want ErrLost", err)
	}
	if got, err := other.Get(t.Context()); err != nil || got.Exists || !got.Held {
		t.Errorf("the old holder's release changed the lock to %+v, %v", got, err)
	}
	release(t, next)
}
