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

package controllers_test

import (
	"slices"
	"testing"
	"time"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

func waiter(client string, d time.Duration) string {
	return protocol.Waiter{LockID: protocol.LockID(client, 1), Duration: d, Identity: "who is " + client}.String()
}

func heldBy(client string) func(testenv.Version) bool {
	return func(v testenv.Version) bool {
		return !v.Deleted && v.Spec.Holder != nil && v.Spec.Holder.Client == client
	}
}

// TestExpiredLockGoesToTheFirstWaiter checks that waiters are granted an expired lock in the order
// of the queue. Each of the first dead waiters delays the next one by the grace, or by the lease
// that it asked for, whichever is shorter. After several dead waiters the lock is left free
// instead: see TestDeadThatWantShortLeases in internal/protocol.
func TestExpiredLockGoesToTheFirstWaiter(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	held := die(t, ns, "orders", 2*time.Second)
	change(t, ns, "orders", func(obj *v1alpha1.DistributedLock) {
		obj.Spec.Waiters = []string{waiter("first", time.Hour), waiter("second", time.Second)}
	})
	first := history.Until(patience, "orders", "granted to the first", heldBy("first"))
	notTooEarlyNorLate(t, "granted", first.Seen, held.Deadline())
	h := first.Spec.Holder
	if h.LockID != "first-1" || h.Identity != "who is first" || h.Token <= held.Token() || h.Duration.Duration != protocol.Grace ||
		h.RenewTimeSource != v1alpha1.TimeSourceServer || first.Labels[v1alpha1.HolderLabel] != "first" {
		t.Errorf("granted as %+v with the labels %v", h, first.Labels)
	}
	if len(first.Spec.Waiters) != 1 || *first.Spec.Value != `"of orders"` || first.Spec.LastRelease.Reason != v1alpha1.ReasonExpired ||
		first.Spec.LastRelease.LockID != held.ID() {
		t.Errorf("granting left %+v", first.Spec)
	}
	e := env.Event(t, patience, ns, "orders", "HolderExpired")
	if want := "the-dead did not renew its lease of 2s in time, who is first has the lock now"; e.Note != want {
		t.Errorf("the event says %q, want %q", e.Note, want)
	}

	second := history.Until(patience, "orders", "granted to the second", heldBy("second"))
	between(t, "granted", second.Seen, held.Deadline().Add(protocol.Grace), first.Seen.Add(protocol.Grace))
	if second.Spec.Holder.Duration.Duration != time.Second {
		t.Errorf("the lease is %v, longer than the waiter asked for", second.Spec.Holder.Duration)
	}
	free := history.Until(patience, "orders", "freed", expired)
	between(t, "freed", free.Seen, held.Deadline().Add(protocol.Grace+time.Second), second.Seen.Add(time.Second))
}

// TestFreeLockWithAQueueIsGranted checks that the reaper grants a lock which a user freed by hand,
// without a grant to its first waiter. It also checks that the reaper empties a queue which has no
// entry that can be read.
func TestFreeLockWithAQueueIsGranted(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	held := acquire(t, newLock(t, "freed", kubelock.Config{Namespace: ns}))
	sent := time.Now()
	release(t, held)
	change(t, ns, "freed", func(obj *v1alpha1.DistributedLock) {
		obj.Spec.Waiters = []string{"no client wrote this", waiter("first", time.Second)}
	})
	queued := history.Until(patience, "freed", "queued", func(v testenv.Version) bool { return len(v.Spec.Waiters) == 2 })
	first := history.Until(patience, "freed", "granted", heldBy("first"))
	between(t, "granted", first.Seen, sent.Add(protocol.Grace), queued.Seen.Add(protocol.Grace))
	if e := env.Event(t, patience, ns, "freed", "LockGranted"); e.Note != "the lock was free and who is first was first in its queue" {
		t.Errorf("the event says %q", e.Note)
	}

	create(t, ns, "unreadable", v1alpha1.DistributedLockSpec{Waiters: []string{"a", "b"}})
	history.Until(patience, "unreadable", "emptied", func(v testenv.Version) bool { return v.Free() && len(v.Spec.Waiters) == 0 })
}

// TestLivingWaitersGetAnExpiredLock checks the same with real clients: a holder dies, and the
// waiters get the lock in the order in which they queued. Each finds the state that the holder
// before it has written.
func TestLivingWaitersGetAnExpiredLock(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	held := die(t, ns, "orders", 3*time.Second)
	type got struct {
		n     int
		at    time.Time
		value string
	}
	results := make(chan got, 3)
	for n := range 3 {
		l := newLock(t, "orders", kubelock.Config{Namespace: ns, LockDuration: time.Minute})
		go func() {
			next, err := l.Acquire(soon(t))
			if err != nil {
				t.Error(err)
				results <- got{n: n}
				return
			}
			results <- got{n, time.Now(), next.Value()}
			if err := next.Update(next.Value() + "+").Release(soon(t)); err != nil {
				t.Error(err)
			}
		}()
		history.Until(patience, "orders", "queued", func(v testenv.Version) bool { return len(v.Spec.Waiters) == n+1 })
	}
	value := "of orders"
	for n := range 3 {
		r := <-results
		if r.n != n || r.value != value {
			t.Errorf("waiter %d got the lock as number %d, with the state %q, want %q", r.n, n, r.value, value)
		}
		value += "+"
		notTooEarlyNorLate(t, "acquired", r.at, held.Deadline())
	}
	var reasons []v1alpha1.ReleaseReason
	history.Until(patience, "orders", "freed", func(v testenv.Version) bool {
		if l := v.Spec.LastRelease; l != nil {
			reasons = append(reasons, l.Reason)
		}
		return v.Free()
	})
	want := []v1alpha1.ReleaseReason{v1alpha1.ReasonExpired, v1alpha1.ReasonHandedOff, v1alpha1.ReasonHandedOff, v1alpha1.ReasonReleased}
	if !slices.Equal(slices.Compact(reasons), slices.Compact(want)) {
		t.Errorf("the holds ended as %v", reasons)
	}
}
