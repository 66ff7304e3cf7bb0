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
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestExpiredHolderIsCleared checks when the reaper ends the hold of a client that has died, and
// what it writes.
func TestExpiredHolderIsCleared(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	release(t, acquire(t, newLock(t, "orders", kubelock.Config{Namespace: ns, ObjectExpiry: time.Hour})).Update("before"))
	held := die(t, ns, "orders", 3*time.Second)
	before := object(t, ns, "orders").Spec

	after := history.Until(patience, "orders", "freed", expired)
	notTooEarlyNorLate(t, "freed", after.Seen, held.Deadline())
	last := after.Spec.LastRelease
	if last.LockID != held.ID() || last.Identity != "the-dead" || last.Token != held.Token() || last.Time.Before(&before.Holder.RenewTime) {
		t.Errorf("the end of the hold is noted as %+v, want the hold %s of the-dead with the token %d", last, held.ID(), held.Token())
	}
	if label, ok := after.Labels[v1alpha1.HolderLabel]; ok {
		t.Errorf("the free lock has the label of the holder %s", label)
	}
	if *after.Spec.Value != `"of orders"` || after.Spec.ObjectExpiry.Duration != time.Hour || after.Spec.Transitions != 2 {
		t.Errorf("freeing the lock changed more than its holder: %+v, was %+v", after.Spec, before)
	}

	e := env.Event(t, patience, ns, "orders", "HolderExpired")
	if want := "the-dead did not renew its lease of 3s in time, the lock is free"; e.Note != want || e.Type != "Warning" ||
		e.ReportingController != "kubelock-reaper" || e.Regarding.UID != after.UID || e.Regarding.Kind != "DistributedLock" {
		t.Errorf("the event is %+v, want a warning about the lock: %s", e, want)
	}
	next := acquire(t, newLock(t, "orders", kubelock.Config{Namespace: ns}))
	if next.Token() <= held.Token() || next.Value() != "of orders" {
		t.Errorf("the next hold has the token %d and the state %q, want a token above %d and the dead holder's state",
			next.Token(), next.Value(), held.Token())
	}
	release(t, next)
}

// TestExpiryWithoutTheServersTime checks that the reaper needs no time of the API server: it ends
// a hold that it has seen unchanged for the lease's duration.
func TestExpiryWithoutTheServersTime(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}, skew: -1}.start(t)
	held := die(t, ns, "watched", time.Second)
	freed := history.Until(patience, "watched", "freed", expired)
	notTooEarlyNorLate(t, "freed", freed.Seen, held.Deadline())
}

// TestHolderThatDiedLongAgo checks that a reaper which has just started ends an expired hold at
// once, by the API server's time. It leaves a hold alone that was stamped by a node's clock, and
// one whose lease has not ended.
func TestHolderThatDiedLongAgo(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	now := time.Now()
	hold := func(renewed time.Duration, source v1alpha1.TimeSource) v1alpha1.DistributedLockSpec {
		at := metav1.NewMicroTime(now.Add(-renewed))
		return v1alpha1.DistributedLockSpec{Holder: &v1alpha1.Holder{
			Identity: "long-gone", Client: "c", LockID: "l", AcquireTime: at, RenewTime: at, RenewTimeSource: source,
			Duration: metav1.Duration{Duration: 30 * time.Minute},
		}, Transitions: 1}
	}
	create(t, ns, "alive", hold(15*time.Minute, v1alpha1.TimeSourceServer))
	create(t, ns, "of-a-node", hold(time.Hour, v1alpha1.TimeSourceNode))
	create(t, ns, "dead", hold(time.Hour, v1alpha1.TimeSourceServer))
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	dead := history.Until(patience, "dead", "freed", expired)
	if token := dead.Spec.LastRelease.Token; token != 0 {
		t.Errorf("the end of a hold whose token was not in the object is noted with the token %d, want none", token)
	}
	reapAnother(t, ns, "marker", history)
	for _, name := range []string{"alive", "of-a-node"} {
		if object(t, ns, name).Spec.Holder == nil {
			t.Errorf("the lock %s was freed", name)
		}
	}
}
