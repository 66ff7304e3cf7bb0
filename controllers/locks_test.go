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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// newLock returns a lock of a client of its own, which is closed with the test.
func newLock(t *testing.T, key string, cfg kubelock.Config) *kubelock.Lock[string] {
	t.Helper()
	c, err := kubelock.NewClient(env.Config, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // Always nil.
	return kubelock.NewLock[string](c, key)
}

func acquire(t *testing.T, l *kubelock.Lock[string], opts ...kubelock.Option) *kubelock.Held[string] {
	t.Helper()
	held, err := l.Acquire(soon(t), opts...)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func release(t *testing.T, held *kubelock.Held[string]) {
	t.Helper()
	if err := held.Release(soon(t)); err != nil {
		t.Fatal(err)
	}
}

// die acquires a lock, writes a state, and stops without a release, as if the process were
// killed.
func die(t *testing.T, ns, key string, lease time.Duration) *kubelock.Held[string] {
	t.Helper()
	c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, LockDuration: lease, Identity: "the-dead"})
	if err != nil {
		t.Fatal(err)
	}
	held := acquire(t, kubelock.NewLock[string](c, key))
	if err := held.Update("of " + key).Save(soon(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return held
}

// expired reports whether v is the version that the reaper writes when it frees an expired lock.
func expired(v testenv.Version) bool {
	return v.Free() && v.Spec.LastRelease != nil && v.Spec.LastRelease.Reason == v1alpha1.ReasonExpired
}

func deleted(v testenv.Version) bool { return v.Deleted }

// reapAnother makes the reaper end an expired hold in a namespace, and returns when it has. What
// the reaper had to do before, it has done then.
func reapAnother(t *testing.T, ns, key string, history *testenv.History) {
	t.Helper()
	die(t, ns, key, time.Second)
	history.Until(patience, key, "freed", expired)
}

// object reads a lock's object as an administrator.
func object(t *testing.T, ns, name string) *v1alpha1.DistributedLock {
	t.Helper()
	obj := &v1alpha1.DistributedLock{}
	if err := env.Client(t).Get(soon(t), client.ObjectKey{Namespace: ns, Name: name}, obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

// create creates a lock's object as it is.
func create(t *testing.T, ns, name string, spec v1alpha1.DistributedLockSpec) {
	t.Helper()
	obj := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: spec}
	if err := env.Client(t).Create(soon(t), obj); err != nil {
		t.Fatal(err)
	}
}

// change changes a lock's object by hand.
func change(t *testing.T, ns, name string, f func(*v1alpha1.DistributedLock)) {
	t.Helper()
	obj := object(t, ns, name)
	before := obj.DeepCopy()
	f(obj)
	if err := env.Client(t).Patch(soon(t), obj, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// slack returns how much a loaded machine adds to a bound: it measures how long a few requests
// take at the moment.
func slack(t *testing.T) time.Duration {
	t.Helper()
	var longest time.Duration
	for range 5 {
		begun := time.Now()
		if _, err := env.Clientset(t).Discovery().ServerVersion(); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(begun))
	}
	return 20 * longest
}

// notTooEarlyNorLate checks that something was seen when it was due, or shortly after.
func notTooEarlyNorLate(t *testing.T, what string, seen, due time.Time) {
	t.Helper()
	between(t, what, seen, due, due)
}

// between checks that something was not seen before earliest, and at most two seconds after it
// was due, plus the slack of a loaded machine.
//
// earliest may be before due: the reaper counts from when it sees an object itself, which may be
// before the test sees it.
func between(t *testing.T, what string, seen, earliest, due time.Time) {
	t.Helper()
	late, bound := seen.Sub(due), 2*time.Second+slack(t)
	t.Logf("%s %v after it was due, bound %v", what, late, bound)
	if early := earliest.Sub(seen); early > 0 {
		t.Errorf("%s %v too early", what, early)
	}
	if late > bound {
		t.Errorf("%s %v late, want at most %v", what, late, bound)
	}
}
