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
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestUnusedLockIsDeleted checks that a free lock is deleted its objectExpiry after it
// was last released.
func TestUnusedLockIsDeleted(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	const expiry = 2 * time.Second
	l := newLock(t, "used", kubelock.Config{Namespace: ns, ObjectExpiry: expiry})
	release(t, acquire(t, l))
	held := acquire(t, l)
	sent := time.Now()
	release(t, held.Update("state"))
	gone := history.Until(patience, "used", "deleted", deleted)
	// The reaper judges by the API server's time, and allows for clocks that are a second apart.
	between(t, "deleted", gone.Seen, sent.Add(expiry), sent.Add(expiry+time.Second))

	e := env.Event(t, patience, ns, "used", "ObjectExpired")
	if want := "not used for 2s, deleted with its state"; e.Note != want || e.Type != "Normal" || e.Regarding.UID != gone.UID {
		t.Errorf("the event is %+v, want a normal one about the lock: %s", e, want)
	}
	next := acquire(t, newLock(t, "used", kubelock.Config{Namespace: ns}))
	if next.Exists() || next.Token() <= held.Token() {
		t.Errorf("after the deletion: state %q, token %d; want no state, and a token above %d", next.Value(), next.Token(), held.Token())
	}
	release(t, next)
}

// TestLockThatWasNeverHeldIsDeleted checks that a lock which a user has applied from a manifest
// is deleted its objectExpiry after its creation.
func TestLockThatWasNeverHeldIsDeleted(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	sample, err := os.ReadFile(filepath.Join(env.Root, "config", "samples", "distributedlock.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(sample), "objectExpiry: 24h") {
		t.Fatalf("the sample has no objectExpiry of 24h:\n%s", sample)
	}
	manifest := strings.Replace(string(sample), "objectExpiry: 24h", "objectExpiry: 3s", 1)
	begun := time.Now()
	if out, err := env.Kubectl(soon(t), manifest, "apply", "--server-side", "-n", ns, "-f", "-"); err != nil {
		t.Fatal(out)
	}
	applied := time.Now()
	gone := history.Until(patience, "nightly-report", "deleted", deleted)
	if early := begun.Add(3 * time.Second).Sub(gone.Seen); early > 0 {
		t.Errorf("deleted %v too early", early)
	}
	if late, bound := gone.Seen.Sub(applied.Add(3*time.Second)), 2*time.Second+slack(t); late > bound {
		t.Errorf("deleted %v late, want at most %v", late, bound)
	}
	env.Event(t, patience, ns, "nightly-report", "ObjectExpired")
}

// TestLocksThatMustStay checks locks that the reaper must not delete. A marker lock, whose
// objectExpiry is twice as long as theirs, is deleted: so the reaper had the time to delete them.
func TestLocksThatMustStay(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	const expiry = time.Second
	second := &v1alpha1.Duration{Duration: expiry}
	create(t, ns, "kept-for-ever", v1alpha1.DistributedLockSpec{Value: new(`"precious"`)})
	create(t, ns, "queued-for", v1alpha1.DistributedLockSpec{ObjectExpiry: second, Waiters: []string{"first-1 30s first"}})
	release(t, acquire(t, newLock(t, "kept-since", kubelock.Config{Namespace: ns})))
	held := acquire(t, newLock(t, "held", kubelock.Config{Namespace: ns, ObjectExpiry: expiry, LockDuration: time.Minute}))
	create(t, ns, "expiry-shortened", v1alpha1.DistributedLockSpec{ObjectExpiry: &v1alpha1.Duration{Duration: time.Hour}})

	create(t, ns, "marker", v1alpha1.DistributedLockSpec{ObjectExpiry: &v1alpha1.Duration{Duration: 2 * expiry}})
	history.Until(patience, "marker", "deleted", deleted)
	for _, name := range []string{"kept-for-ever", "queued-for", "kept-since", "held", "expiry-shortened"} {
		if obj := object(t, ns, name); !obj.DeletionTimestamp.IsZero() {
			t.Errorf("the lock %s is being deleted", name)
		}
	}
	release(t, held)
	history.Until(patience, "held", "deleted", deleted) // Its holder has released it.

	// A user shortens the expiry of an existing lock.
	change(t, ns, "expiry-shortened", func(obj *v1alpha1.DistributedLock) { obj.Spec.ObjectExpiry = second })
	history.Until(patience, "expiry-shortened", "deleted", deleted)
}

// TestKeepAnnotation checks that the annotation protects a lock from deletion, and does so only
// while the object has it.
func TestKeepAnnotation(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)
	const expiry = time.Second
	obj := &v1alpha1.DistributedLock{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "kept", Annotations: map[string]string{controllers.KeepAnnotation: "true"}},
		Spec:       v1alpha1.DistributedLockSpec{ObjectExpiry: &v1alpha1.Duration{Duration: expiry}},
	}
	if err := env.Client(t).Create(soon(t), obj); err != nil {
		t.Fatal(err)
	}
	create(t, ns, "marker", v1alpha1.DistributedLockSpec{ObjectExpiry: &v1alpha1.Duration{Duration: 2 * expiry}})
	history.Until(patience, "marker", "deleted", deleted)
	object(t, ns, "kept")
	change(t, ns, "kept", func(obj *v1alpha1.DistributedLock) { obj.Annotations = nil })
	history.Until(patience, "kept", "deleted", deleted)
}

// TestDryRun checks that a dry run reports the lock that it would delete, deletes nothing, and
// still ends expired holds.
func TestDryRun(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}, dryRun: true}.start(t)
	create(t, ns, "unused", v1alpha1.DistributedLockSpec{ObjectExpiry: &v1alpha1.Duration{Duration: time.Second}, Value: new(`"precious"`)})
	before := object(t, ns, "unused")
	e := env.Event(t, patience, ns, "unused", "ObjectExpired")
	if want := "not used for 1s, would be deleted with its state"; e.Note != want {
		t.Errorf("the event says %q, want %q", e.Note, want)
	}
	reapAnother(t, ns, "orders", history)
	if after := object(t, ns, "unused"); after.ResourceVersion != before.ResourceVersion {
		t.Errorf("the dry run has made %+v of it", after)
	}
}

// TestCollectionDoesNotDelayExpiries checks that the reaper ends an expired hold in time while
// more locks wait for their deletion than the rate allows, and that all of those are deleted in
// the end.
func TestCollectionDoesNotDelayExpiries(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	const unused = 20
	for n := range unused {
		create(t, ns, fmt.Sprintf("unused-%02d", n), v1alpha1.DistributedLockSpec{ObjectExpiry: &v1alpha1.Duration{Duration: time.Second}})
	}
	reaper{namespaces: []string{ns}, collectionRate: 1}.start(t)
	held := die(t, ns, "orders", 3*time.Second)
	freed := history.Until(patience, "orders", "freed", expired)
	notTooEarlyNorLate(t, "freed", freed.Seen, held.Deadline())
	left := &v1alpha1.DistributedLockList{}
	if err := env.Client(t).List(soon(t), left, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	if n := len(left.Items) - 1; n < unused/2 {
		t.Errorf("of %d unused locks only %d are left: they did not compete with the holder", unused, n)
	}
	for n := range unused {
		history.Until(patience, fmt.Sprintf("unused-%02d", n), "deleted", deleted)
	}
}

// TestAcquisitionsRaceWithCollection acquires a lock a thousand times at about the time at which
// the reaper deletes it. Whether the client or the reaper wins, nothing is lost: the client finds
// either the last state or none, its hold is real, and the state that it writes stays. Each client
// adapts its pause to the reaper's last deletion. The test runs alone, since it keeps the API
// server busy.
func TestAcquisitionsRaceWithCollection(t *testing.T) {
	ns := env.Namespace(t)
	reaper{namespaces: []string{ns}, collectionRate: 1000, skew: -1}.start(t) // Without the server's time: observation is exact.
	const clients, rounds, expiry, step = 10, 100, 200 * time.Millisecond, 20 * time.Millisecond
	var kept, collected atomic.Int64
	var all sync.WaitGroup
	for c := range clients {
		l := newLock(t, fmt.Sprintf("raced-%d", c), kubelock.Config{Namespace: ns, ObjectExpiry: expiry, LockDuration: time.Minute})
		all.Go(func() {
			var token int64
			wait := expiry
			for round := range rounds {
				before, after := fmt.Sprintf("before %d", round), fmt.Sprintf("after %d", round)
				if err := write(t, l, before, nil); err != nil {
					t.Error(err)
					return
				}
				<-time.After(wait)
				err := write(t, l, after, func(held *kubelock.Held[string]) {
					switch {
					case !held.Exists():
						collected.Add(1)
						wait = max(wait-step, 0)
					case held.Value() == before:
						kept.Add(1)
						wait += step
					default:
						t.Errorf("the state is %q, want %q or none", held.Value(), before)
					}
					if held.Token() <= token {
						t.Errorf("the token %d follows %d", held.Token(), token)
					}
					token = held.Token()
				})
				if err != nil {
					t.Error(err)
					return
				}
				if got, err := l.Get(soon(t)); err != nil || got.Value != after {
					t.Errorf("written and released, the lock is %+v, %v", got, err)
				}
			}
		})
	}
	all.Wait()
	t.Logf("%d locks were acquired before, %d after their deletion", kept.Load(), collected.Load())
	if kept.Load()+collected.Load() != clients*rounds || kept.Load() < clients*rounds/10 || collected.Load() < clients*rounds/10 {
		t.Error("this was no race")
	}
}

// write acquires a lock, saves a state, and releases the lock.
func write(t *testing.T, l *kubelock.Lock[string], state string, look func(*kubelock.Held[string])) error {
	t.Helper()
	held, err := l.Acquire(soon(t))
	if err != nil {
		return err
	}
	if look != nil {
		look(held)
	}
	if err := held.Update(state).Save(soon(t)); err != nil {
		return err
	}
	return held.Release(soon(t))
}

// TestShortestExpiryCostsLittle has the reaper delete a lock whose objectExpiry is a nanosecond.
// The reaper has to wait for MaxClockSkew first, and must not check the lock all that time.
func TestShortestExpiryCostsLittle(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	const looks = "controller_runtime_reconcile_total"
	collecting := map[string]string{"controller": "distributedlocks-collection", "result": "requeue_after"}
	reaper{namespaces: []string{ns}, skew: 2 * time.Second}.start(t)
	was := series(t, looks, collecting)
	release(t, acquire(t, newLock(t, "short", kubelock.Config{Namespace: ns, ObjectExpiry: time.Nanosecond})))
	history.Until(patience, "short", "deleted", deleted)
	// The reapers of other tests are counted, too.
	if n := series(t, looks, collecting) - was; n > 2000 {
		t.Errorf("reapers have checked locks %v times", n)
	}
}
