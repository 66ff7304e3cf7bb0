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

package checks

import (
	"testing"
	"time"

	"github.com/kubelock/kubelock/test/chaos/history"
)

// TestLinearizableCanFail has histories that are not linearizable.
func TestLinearizableCanFail(t *testing.T) {
	for name, spoil := range map[string]func(r *Run){
		"a stale read":               func(r *Run) { r.Holds[1].Read = "" },
		"two holders":                func(r *Run) { r.Holds[0].Release.Called, r.Holds[0].Release.Returned = 65, 66 },
		"an acknowledged write lost": func(r *Run) { r.Holds[0].Release.Written = "a/other" },
		"a change in a hold":         func(r *Run) { r.Operations[4].Called, r.Operations[4].Returned = 62, 65 },
		"a change before its cause":  func(r *Run) { r.Operations[5].Called, r.Operations[5].Returned = 82, 85 },
		"two changes of one state":   func(r *Run) { r.Operations[5].Read = "b/w" },
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			spoil(r)
			if violations, _, err := Linearizable(r, t.TempDir(), time.Minute); err != nil || len(violations) != 1 {
				t.Errorf("%v, %v; want one violation", violations, err)
			}
		})
	}
}

// TestCollectedLock has a lock whose last release had no answer for longer than the lock's objectExpiry. The reaper
// collects the lock meanwhile, so the next hold reads no state. For a lock without an objectExpiry that history is a
// violation.
func TestCollectedLock(t *testing.T) {
	for key, want := range map[string]int{"long-a": 0, "counter-a": 1} {
		r := good()
		kept := history.Lock{Kind: lock.Kind, Key: key}
		hold := *r.Holds[0]
		release := *hold.Release
		release.Outcome = history.Unknown
		hold.Kind, hold.Key, hold.Release = kept.Kind, kept.Key, &release
		next := hold
		next.ID, next.LockID, next.Release = "a/9", "a-9", nil
		next.Called, next.Returned, next.Read = 200, 210, ""
		r.Holds, r.Operations = []*history.Hold{&hold, &next}, nil
		r.Versions = map[history.Lock][]*history.Version{kept: {
			{Lock: kept, UID: "1", Revision: 5, Seen: 16, Holder: r.Versions[lock][0].Holder, Transitions: 1},
			{Lock: kept, UID: "1", Revision: 6, Seen: 45, Value: valueOf(release.Written), Transitions: 1},
			{Lock: kept, Revision: 7, Seen: 150, Deleted: true},
			{Lock: kept, UID: "2", Revision: 8, Seen: 205, Holder: &history.Holder{}, Transitions: 1},
		}}
		r.Operations = []history.Operation{hold.Operation, release, next.Operation}
		// A read in between finds the released state, so the release was done.
		read := r.Operations[0]
		read.Op, read.ID, read.Called, read.Returned, read.Outcome, read.Read = history.Get, "a/8", 100, 110, history.OK, release.Written
		r.Operations = append(r.Operations, read)
		if violations, _, err := Linearizable(r, t.TempDir(), time.Minute); err != nil || len(violations) != want {
			t.Errorf("%s: %v, %v; want %d violations", key, violations, err, want)
		}
	}
}

// TestUnknownOutcomesMayBeEither has a release without an answer: its write may have been done or not.
func TestUnknownOutcomesMayBeEither(t *testing.T) {
	for _, read := range []string{"", "a/w"} {
		r := good()
		r.Holds[0].Release.Outcome, r.Holds[1].Read = history.Unknown, read
		if violations, _, err := Linearizable(r, t.TempDir(), time.Minute); err != nil || len(violations) != 0 {
			t.Errorf("read %q: %v, %v; want no violation", read, violations, err)
		}
	}
}
