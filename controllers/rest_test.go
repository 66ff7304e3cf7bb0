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
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestRestIsOver checks that the reaper ends a rest when its time has come, that it gives the lock to the first
// waiter, and that no holder is said to have died.
func TestRestIsOver(t *testing.T) {
	t.Parallel()
	const d = 2 * time.Second
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	free := newLock(t, "free", kubelock.Config{Namespace: ns})
	held := acquire(t, free, kubelock.WithMinHold(d))
	begun := time.Now()
	release(t, held.Update("done"))
	over := history.Until(patience, "free", "freed", func(v testenv.Version) bool {
		return v.Spec.Holder == nil && v.Spec.LastRelease != nil && strings.HasPrefix(v.Spec.LastRelease.LockID, "rest-")
	})
	notTooEarlyNorLate(t, "freed", over.Seen, begun.Add(d))
	if *over.Spec.Value != `"done"` {
		t.Errorf("the state is %s", *over.Spec.Value)
	}

	waited := newLock(t, "awaited", kubelock.Config{Namespace: ns})
	held = acquire(t, waited, kubelock.WithMinHold(d))
	begun = time.Now()
	release(t, held)
	change(t, ns, "awaited", func(obj *v1alpha1.DistributedLock) { obj.Spec.Waiters = []string{waiter("first", time.Hour)} })
	granted := history.Until(patience, "awaited", "granted to the first", heldBy("first"))
	notTooEarlyNorLate(t, "granted", granted.Seen, begun.Add(d))
	e := env.Event(t, patience, ns, "awaited", "LockGranted")
	if want := "the lock had rested, and who is first was first in its queue"; e.Note != want || e.Type != "Normal" {
		t.Errorf("the event is %s %q, want %q", e.Type, e.Note, want)
	}
	events, err := kubernetes.NewForConfigOrDie(env.Config).EventsV1().Events(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range events.Items {
		if e := &events.Items[i]; e.Reason == "HolderExpired" {
			t.Errorf("an event says that a holder has died: %s", e.Note)
		}
	}
}
