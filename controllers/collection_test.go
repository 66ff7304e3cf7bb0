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
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/api/v1alpha1"
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
	notTooEarlyNorLate(t, "deleted", gone.Seen, sent.Add(expiry))

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

// TestLockThatWasNeverHeldIsDeleted checks the same for a lock whose object somebody
// has applied, counted from its creation.
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

// TestWhatIsNotDeleted checks the locks that must stay, by one that is deleted after
// their time would have come.
func TestWhatIsNotDeleted(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	const expiry = time.Second
	second := &v1alpha1.Duration{Duration: expiry}
	create(t, ns, "kept-for-ever", v1alpha1.DistributedLockSpec{Value: new(`"precious"`)})
	create(t, ns, "queued-for", v1alpha1.DistributedLockSpec{ObjectExpiry: second, Waiters: []string{"first"}})
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
	history.Until(patience, "held", "deleted", deleted) // Now it may.

	// People change the expiry of a lock that is there.
	change(t, ns, "expiry-shortened", func(obj *v1alpha1.DistributedLock) { obj.Spec.ObjectExpiry = second })
	history.Until(patience, "expiry-shortened", "deleted", deleted)
}
