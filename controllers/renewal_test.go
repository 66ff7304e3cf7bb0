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

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestRenewedHoldIsLeftAlone checks that the reaper does not touch a lock whose holder renews it,
// nor one whose holder has released it in time.
func TestRenewedHoldIsLeftAlone(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)

	renewed := acquire(t, newLock(t, "renewed", kubelock.Config{Namespace: ns, LockDuration: 3 * time.Second}), kubelock.WithAutoRenew())
	begun := time.Now()
	released := acquire(t, newLock(t, "released", kubelock.Config{Namespace: ns, LockDuration: 3 * time.Second}))
	release(t, released)
	die(t, ns, "marker", 5*time.Second)
	freed := history.Until(patience, "marker", "freed", expired)

	if err := renewed.Context().Err(); err != nil {
		t.Errorf("the renewed hold ended: %v", err)
	}
	if seen := freed.Seen.Sub(begun); seen < 3*time.Second {
		t.Fatalf("the test took only %v, which is less than the lease", seen)
	}
	renewals := map[time.Time]bool{}
	for _, v := range history.Of("renewed") {
		if v.Free() || v.Deleted || v.Spec.Holder.LockID != renewed.ID() {
			t.Fatalf("the renewed hold was replaced by %+v", v.Spec)
		}
		renewals[v.Spec.Holder.RenewTime.Time] = true
	}
	if len(renewals) < 3 {
		t.Errorf("the hold was renewed %d times only", len(renewals)-1)
	}
	release(t, renewed)

	versions := history.Of("released")
	last := versions[len(versions)-1]
	if len(versions) != 2 || last.Deleted || last.Spec.LastRelease.Reason != v1alpha1.ReasonReleased || last.Spec.LastRelease.LockID != released.ID() {
		t.Errorf("after its release the lock is %+v in version %d, want it as its holder left it", last.Spec, len(versions))
	}
}
