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

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// TestWriteOnTopOfOneThatWasNotDone has a hold that saves with an unknown outcome, and then releases
// with a state that builds on the saved one. The release may add both writes only if the save was not
// done.
func TestWriteOnTopOfOneThatWasNotDone(t *testing.T) {
	for name, tc := range map[string]struct {
		count   *string
		outcome history.Outcome
		found   int
	}{
		"counted on":                  {valueOf("a/w", "b/s", "b/w"), history.Unknown, 0},
		"counted on a refused one":    {valueOf("a/w", "b/s", "b/w"), history.Failed, 2}, // A refused write that another one adds to the log.
		"counted on, and one is lost": {valueOf("a/w", "b/w"), history.Unknown, 1},
	} {
		r := good()
		save := *r.Holds[1].Release
		save.ID, save.Op, save.Written, save.Outcome, save.Called, save.Returned = "b/3", history.Save, "b/s", tc.outcome, 62, 65
		r.Operations = []history.Operation{r.Operations[0], r.Operations[1], r.Operations[2], save, r.Operations[3]}
		r.Versions[lock] = r.Versions[lock][:4]
		r.Versions[lock][3].Value = tc.count
		if violations, _ := writes(r); len(violations) != tc.found {
			t.Errorf("%s: %v, want %d", name, violations, tc.found)
		}
	}
}

// TestChangeMadeAgain has a change that was stored, deleted with its object by a user, and made again
// in the next one by a call that heard nothing of it before.
func TestChangeMadeAgain(t *testing.T) {
	for uid, found := range map[string]int{"2": 0, "1": 1} {
		r := good()
		released := &v1alpha1.LastRelease{LockID: "c-2", Reason: "Released"}
		r.Versions[lock] = append(r.Versions[lock],
			&history.Version{Lock: lock, Revision: 10, Seen: 98, Deleted: true},
			&history.Version{Lock: lock, Revision: 11, Seen: 99, UID: uid, Transitions: 1, Value: valueOf("c/2"), LastRelease: released},
		)
		r.ManualEdits = []ManualEdit{{Span: Span{97, 98}}}
		r.Operations[5].Read = ""
		if violations, _ := writes(r); len(violations) != found {
			t.Errorf("in the object %s: %v, want %d", uid, violations, found)
		}
		if violations, _ := reads(r); len(violations) != 0 {
			t.Errorf("%v; want no violation", violations)
		}
		if violations, _, err := Linearizable(r, t.TempDir(), time.Minute); err != nil || len(violations) != 0 {
			t.Errorf("%v, %v; want no violation", violations, err)
		}
	}
}

// TestUnansweredChange has a change without an answer. It was made before the recorder saw it, or
// never.
func TestUnansweredChange(t *testing.T) {
	for name, spoil := range map[string]func(r *Run){
		"made":     func(*Run) {},
		"not made": func(r *Run) { r.Versions[lock] = r.Versions[lock][:4]; r.Operations = r.Operations[:5] },
	} {
		r := good()
		r.Operations[4].Outcome, r.Operations[4].Read, r.Operations[4].Returned = history.Cut, "", history.Never
		spoil(r)
		for _, check := range []func(*Run) ([]Violation, int){reads, writes} {
			if violations, _ := check(r); len(violations) > 0 {
				t.Errorf("%s: %v", name, violations)
			}
		}
		if violations, _, err := Linearizable(r, t.TempDir(), time.Minute); err != nil || len(violations) != 0 {
			t.Errorf("%s: %v, %v; want no violation", name, violations, err)
		}
	}
}
