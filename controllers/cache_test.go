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

package controllers

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// noon is the API server's time, and the reaper's, when a test begins.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newTestCache returns a cache that judges by *now.
func newTestCache(now *time.Time, namespaces ...string) *lockCache {
	return newLockCache(store.DistributedLocks, namespaces, func() protocol.Judge {
		return protocol.Judge{Now: *now, ServerTime: *now, MaxClockSkew: time.Second}
	})
}

// unused returns a lock that was last released at since.
func unused(ns, name string, since time.Time, expiry time.Duration) *v1alpha1.DistributedLock {
	return &v1alpha1.DistributedLock{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name, UID: types.UID(name), ResourceVersion: "7"},
		Spec: v1alpha1.DistributedLockSpec{
			Value: new(`"secret"`), ObjectExpiry: &v1alpha1.Duration{Duration: expiry},
			LastRelease: &v1alpha1.LastRelease{LockID: "l", Time: metav1.NewMicroTime(since), TimeSource: v1alpha1.TimeSourceServer, Reason: v1alpha1.ReleaseReason(protocol.Released)},
		},
	}
}

// held returns a held lock of the namespace a.
func held(name string, renewed time.Time) *v1alpha1.DistributedLock {
	lock := unused("a", name, noon, time.Hour)
	lock.Spec.Holder = &v1alpha1.Holder{
		Identity: "me", Client: "c", LockID: "c-1", Token: 5,
		AcquireTime: metav1.NewMicroTime(noon), RenewTime: metav1.NewMicroTime(renewed), Duration: metav1.Duration{Duration: time.Minute},
	}
	return lock
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func at(name string) types.NamespacedName { return types.NamespacedName{Namespace: "a", Name: name} }

// TestCacheKeepsNoState checks what the cache holds of a lock that is in use, and of others.
func TestCacheKeepsNoState(t *testing.T) {
	t.Parallel()
	now := noon
	c := newTestCache(&now, "a")
	p := namespaceStore{c, "a"}
	kept := unused("a", "kept", noon, time.Hour)
	kept.Annotations = map[string]string{KeepAnnotation: "true"}
	byNode := unused("a", "by a node", noon, time.Hour)
	byNode.Spec.LastRelease.TimeSource = v1alpha1.TimeSourceNode
	for _, obj := range []any{unused("a", "idle", noon, time.Hour), kept, byNode, held("held", noon)} {
		must(t, p.Add(obj))
	}
	for name, want := range map[string]struct {
		active, holder bool
		expiry         time.Duration
	}{"idle": {expiry: time.Hour}, "kept": {}, "by a node": {active: true, expiry: time.Hour}, "held": {active: true, holder: true, expiry: time.Hour}} {
		e := c.locks[at(name)]
		lock, seen, ok, err := c.get(at(name))
		if !ok || err != nil || (e.active != nil) != want.active || (lock.Holder != nil) != want.holder || lock.ObjectExpiry != want.expiry {
			t.Errorf("of %q is kept %+v (%v, %v), active %t", name, lock, ok, err, e.active != nil)
		}
		if lock.Value != nil || lock.Stored != nil {
			t.Errorf("of %q the state %v or the object %v is kept", name, lock.Value, lock.Stored)
		}
		if !want.holder && !lock.LastTransition().Time.Equal(noon) {
			t.Errorf("%q is free since %v, want %v", name, lock.LastTransition().Time, noon)
		}
		if want.active != seen.Since.Equal(noon) {
			t.Errorf("%q is observed since %v", name, seen.Since)
		}
	}
}

// TestObservationOutlivesRelists checks that an observation begins when a hold, with its last
// renewal, is seen first, and that events and lists without a change do not begin it again.
func TestObservationOutlivesRelists(t *testing.T) {
	t.Parallel()
	now := noon
	c := newTestCache(&now, "a")
	p := namespaceStore{c, "a"}
	since := func() time.Time { _, seen, _, _ := c.get(at("held")); return seen.Since }
	must(t, p.Replace([]any{held("held", noon)}, "1"))
	now = noon.Add(10 * time.Second)
	must(t, p.Replace([]any{held("held", noon)}, "2"))
	must(t, p.Update(held("held", noon)))
	if !since().Equal(noon) {
		t.Errorf("the hold counts as seen since %v, though it has not changed since %v", since(), noon)
	}
	must(t, p.Update(held("held", noon.Add(time.Second))))
	if !since().Equal(now) {
		t.Errorf("the hold counts as seen since %v, though it was renewed at %v", since(), now)
	}
	must(t, p.Update(unused("a", "held", noon, time.Hour)))
	now = noon.Add(20 * time.Second)
	must(t, p.Update(held("held", noon.Add(time.Second))))
	if !since().Equal(now) {
		t.Errorf("the hold counts as seen since %v, though it was not there until %v", since(), now)
	}
}

// TestEachNamespaceIsReplacedByItself checks that a list of one namespace does not remove the
// locks of another one, and does not count as a list of that one.
func TestEachNamespaceIsReplacedByItself(t *testing.T) {
	t.Parallel()
	now := noon
	c := newTestCache(&now, "a", "b")
	a, b := namespaceStore{c, "a"}, namespaceStore{c, "b"}
	must(t, a.Replace([]any{unused("a", "x", noon, 0), unused("a", "y", noon, 0)}, "1"))
	select {
	case <-c.synced:
		t.Error("synced, though one namespace was not listed")
	default:
	}
	must(t, b.Replace([]any{unused("b", "x", noon, 0)}, "1"))
	<-c.synced
	must(t, a.Replace([]any{unused("a", "y", noon, 0)}, "2"))
	must(t, b.Delete(unused("b", "x", noon, 0)))
	if _, ok := c.locks[at("y")]; !ok || len(c.locks) != 1 || c.counts[stateFree] != 1 {
		t.Errorf("the cache has %v and counts %v, want a/y alone", c.locks, c.counts)
	}
}

// TestOnlyRelevantLocksAreQueued checks which locks enter the work queue of a controller: when
// it starts, when locks change, and at a resync.
func TestOnlyRelevantLocksAreQueued(t *testing.T) {
	t.Parallel()
	now := noon
	c := newTestCache(&now, "")
	p := namespaceStore{c, ""}
	must(t, p.Replace([]any{held("z", noon), held("y", noon), unused("a", "idle", noon, time.Hour)}, "1"))
	queue := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer queue.ShutDown()
	queued := func() string {
		var names string
		for queue.Len() > 0 {
			req, _ := queue.Get()
			queue.Done(req)
			names += req.Name + " "
		}
		return names
	}
	must(t, changes{c, heldOrAwaited}.Start(t.Context(), queue))
	if got := queued(); got != "y z " {
		t.Errorf("%q were queued at the start", got)
	}
	must(t, p.Update(unused("a", "idle", noon, 2*time.Hour)))
	must(t, p.Update(unused("a", "y", noon, time.Hour)))
	if got := queued(); got != "" {
		t.Errorf("%q were queued, which are not held", got)
	}
	must(t, p.Resync())
	if got := queued(); got != "z " {
		t.Errorf("%q were queued at a resync", got)
	}

	c.kind = store.ConfigMaps
	must(t, p.Update(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "other's"}}))
	if _, _, _, err := c.get(at("other's")); err == nil || queued() != "other's " || c.counts[stateUnreadable] != 1 {
		t.Errorf("a ConfigMap that is no lock is not reported (%v), counts are %v", err, c.counts)
	}
}

// TestIdleLockIsSmall measures the memory that the cache needs per idle lock.
func TestIdleLockIsSmall(t *testing.T) {
	const locks, bound = 20000, 300
	now := noon
	c := newTestCache(&now, "")
	p := namespaceStore{c, ""}
	heap := func() uint64 {
		var stats runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	for i := range locks {
		must(t, p.Add(unused("default", fmt.Sprintf("lock-number-%d", i), noon, 24*time.Hour)))
	}
	each := float64(heap()-before) / locks
	t.Logf("%.0f B", each)
	if each > bound || each < 24 {
		t.Errorf("an idle lock takes %.0f B, want at most %d", each, bound)
	}
	runtime.KeepAlive(c)
}
