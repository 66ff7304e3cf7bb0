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

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestNodesClockDoesNotMatter checks reapers on nodes whose clocks are an hour off. They leave a
// live hold alone and end a dead one in time, and they delete only the lock that was unused for
// its objectExpiry.
func TestNodesClockDoesNotMatter(t *testing.T) {
	t.Parallel()
	for _, offset := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(offset.String(), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			history := env.Watch(t, ns)
			live := acquire(t, newLock(t, "live", kubelock.Config{Namespace: ns, LockDuration: 30 * time.Second}))
			release(t, acquire(t, newLock(t, "recent", kubelock.Config{Namespace: ns, ObjectExpiry: 30 * time.Minute})))
			sent := time.Now()
			release(t, acquire(t, newLock(t, "unused", kubelock.Config{Namespace: ns, ObjectExpiry: 2 * time.Second})))
			reaper{namespaces: []string{ns}, now: func() time.Time { return time.Now().Add(offset) }}.start(t)

			dead := die(t, ns, "dead", time.Second)
			freed := history.Until(patience, "dead", "freed", expired)
			notTooEarlyNorLate(t, "freed", freed.Seen, dead.Deadline())
			if early := freed.Seen.Add(-time.Hour).Sub(freed.Spec.LastRelease.Time.Time); early > 0 {
				t.Errorf("the end of the hold is stamped %v, at %v", freed.Spec.LastRelease.Time, freed.Seen)
			}
			gone := history.Until(patience, "unused", "deleted", deleted)
			if early := sent.Add(2 * time.Second).Sub(gone.Seen); early > 0 {
				t.Errorf("deleted %v too early", early)
			}

			if h := object(t, ns, "live").Spec.Holder; h == nil || h.LockID != live.ID() {
				t.Error("a live hold was cleared")
			}
			object(t, ns, "recent")
			release(t, live)
		})
	}
}
