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
	"encoding/json"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/hack/chaos/external"
	"github.com/kubelock/kubelock/hack/chaos/history"
)

var lock = history.Lock{Kind: history.DistributedLocks, Key: "register-0-0"}

// good is a run in which two clients have the lock one after the other, by a hand-off,
// and write each once.
func good() *Run {
	acquire := func(id, client string, called, returned, deadline, token int64, read string) *history.Hold {
		return &history.Hold{
			Operation: history.Operation{
				Entry: history.Entry{
					ID: id, Process: client, Op: history.Acquire, Kind: lock.Kind, Key: lock.Key, Outcome: history.OK,
					Client: client, LockID: client + "-1", Token: token, Read: read, Deadline: deadline,
				},
				Called: called, Returned: returned,
			},
			Until: deadline,
		}
	}
	release := func(h *history.Hold, id, write string, called, returned int64) {
		h.Release = &history.Operation{
			Entry:  history.Entry{ID: id, Process: h.Process, Op: history.Release, Kind: lock.Kind, Key: lock.Key, Hold: h.ID, Outcome: history.OK},
			Called: called, Returned: returned, Written: write,
		}
	}
	a, b := acquire("a/1", "a", 10, 20, 1000, 5, ""), acquire("b/1", "b", 30, 60, 1000, 7, "a/w")
	release(a, "a/2", "a/w", 40, 50)
	release(b, "b/2", "b/w", 70, 80)
	at := func(n int) metav1.MicroTime { return metav1.NewMicroTime(time.Unix(int64(n), 0)) }
	holder := func(client string, token int64, renewed int) *history.Holder {
		return &history.Holder{Token: token, Holder: v1alpha1.Holder{
			Client: client, LockID: client + "-1", Token: token, RenewTime: at(renewed), Duration: metav1.Duration{Duration: 4 * time.Second},
		}}
	}
	value := func(n int, write string) *string {
		text, err := json.Marshal(history.State{Count: n, Write: write})
		if err != nil {
			panic(err)
		}
		return new(string(text))
	}
	ended := func(lockID string, reason v1alpha1.ReleaseReason) *v1alpha1.LastRelease {
		return &v1alpha1.LastRelease{LockID: lockID, Reason: reason}
	}
	versions := []*history.Version{
		{Revision: 5, Seen: 16, Holder: holder("a", 5, 1), Transitions: 1},
		{Revision: 6, Seen: 36, Holder: holder("a", 5, 1), Transitions: 1, Waiters: []string{"b-1"}},
		{Revision: 7, Seen: 46, Holder: holder("b", 7, 2), Transitions: 2, Value: value(1, "a/w"), LastRelease: ended("a-1", "HandedOff")},
		{Revision: 8, Seen: 76, Transitions: 2, Value: value(2, "b/w"), LastRelease: ended("b-1", "Released")},
	}
	for _, v := range versions {
		v.Lock, v.UID = lock, "1"
	}
	return &Run{
		Account: &history.Account{
			Operations: []history.Operation{a.Operation, b.Operation, *a.Release, *b.Release},
			Holds:      []*history.Hold{a, b}, Exits: map[string]history.Entry{"a": {}, "b": {}},
		},
		Versions: map[history.Lock][]*history.Version{lock: versions},
		Calm:     []Span{{0, 10_000}},
		Fenced:   map[string]external.Count{"k": {Value: 1, Accepted: 1}},
		Accesses: []external.Access{{Key: "k", Token: 5, Write: true, Accepted: true}},
	}
}

// TestChecksCanFail spoils the run in one way after the other, and each must be found by
// the check that is for it.
func TestChecksCanFail(t *testing.T) {
	far := int64(10 * time.Second)
	for name, tc := range map[string]struct {
		check string
		spoil func(r *Run, v []*history.Version)
	}{
		"a hold that begins in a deleted lock": {All[14].Name, func(_ *Run, v []*history.Version) { v[1].Terminating = true }},
		"two at once":                          {All[0].Name, func(r *Run, _ []*history.Version) { r.Holds[0].Release = nil }},
		"a claim that is nowhere":              {All[1].Name, func(r *Run, _ []*history.Version) { r.Holds[0].LockID = "x-1" }},
		"an end without a word":                {All[1].Name, func(_ *Run, v []*history.Version) { v[2].LastRelease = nil }},
		"an expiry before its time":            {All[1].Name, func(r *Run, v []*history.Version) { v[2].LastRelease.Reason = "Expired"; r.Holds[0].Release = nil }},
		"the same token again":                 {All[2].Name, func(_ *Run, v []*history.Version) { v[2].Holder.Token = 5 }},
		"a state of a free lock":               {All[3].Name, func(_ *Run, v []*history.Version) { v[2].Holder = nil; v[3].LastRelease = v[2].LastRelease }},
		"a state written by another":           {All[3].Name, func(_ *Run, v []*history.Version) { v[2].LastRelease.Reason = "Expired" }},
		"an old state read":                    {All[4].Name, func(r *Run, _ []*history.Version) { r.Holds[1].Read = "" }},
		"a write that is lost":                 {All[5].Name, func(_ *Run, v []*history.Version) { v[2].Value, v[3].Value = nil, nil }},
		"a write counted twice":                {All[5].Name, func(_ *Run, v []*history.Version) { v[3].Value = new(`{"count":3,"write":"b/w"}`) }},
		"a refused write":                      {All[5].Name, func(r *Run, _ []*history.Version) { r.Operations[2].Outcome = history.Lost }},
		"an old token accepted": {All[6].Name, func(r *Run, _ []*history.Version) {
			r.Accesses = append(r.Accesses, external.Access{Key: "k", Token: 4, Accepted: true})
		}},
		"a fenced update lost":     {All[6].Name, func(r *Run, _ []*history.Version) { r.Fenced["k"] = external.Count{Value: 1, Accepted: 2} }},
		"a loss that nobody tells": {All[7].Name, func(r *Run, _ []*history.Version) { r.Late = []history.Entry{{ID: "a/1"}} }},
		"a waiter that starves": {All[8].Name, func(r *Run, _ []*history.Version) {
			r.Operations[1].Final, r.Operations[1].Outcome = true, history.NotAcquired
		}},
		"a waiter that is overtaken": {All[9].Name, func(_ *Run, v []*history.Version) { v[1].Waiters = []string{"c-1", "b-1"} }},
		"a grant that nobody notices": {All[10].Name, func(r *Run, v []*history.Version) {
			v[3].Seen, v[3].LastRelease.Reason = v[2].Seen+far, "Expired"
			r.Calm[0].To, r.Holds = 2*far, r.Holds[:1]
		}},
		"grants noticed late": {All[11].Name, func(r *Run, v []*history.Version) {
			r.Holds[1].Returned, r.Calm[0].To = 46+far, 2*far
			again := r.Versions[lock]
			for i := range 5 { // As often as it takes.
				other := history.Lock{Kind: lock.Kind, Key: string(rune('a' + i))}
				r.Versions[other] = again
			}
		}},
		"a held object collected": {All[12].Name, func(r *Run, v []*history.Version) {
			r.Versions[lock] = append(v[:2], &history.Version{Lock: lock, Revision: 9, Seen: 30, Deleted: true})
		}},
		"a lock left held":        {All[13].Name, func(r *Run, v []*history.Version) { r.Versions[lock] = v[:3] }},
		"a goroutine left behind": {All[13].Name, func(r *Run, _ []*history.Version) { r.Exits["a"] = history.Entry{Err: "a goroutine"} }},
	} {
		t.Run(name, func(t *testing.T) {
			r := good()
			tc.spoil(r, r.Versions[lock])
			for _, c := range All {
				if violations, _ := c.Of(r); c.Name == tc.check && len(violations) == 0 {
					t.Errorf("%q does not find it", c.Name)
				}
			}
		})
	}
}

func TestChecksFindNothingInAGoodRun(t *testing.T) {
	r := good()
	for _, c := range All {
		if violations, _ := c.Of(r); len(violations) > 0 {
			t.Errorf("%q: %v", c.Name, violations)
		}
	}
	if violations, found, err := Linearizable(r, t.TempDir(), time.Minute); err != nil || len(violations) > 0 || found.Operations != 4 {
		t.Errorf("linearizability: %v, %+v, %v", violations, found, err)
	}
}

// TestLinearizableCanFail has histories that no order of their operations explains.
func TestLinearizableCanFail(t *testing.T) {
	for name, spoil := range map[string]func(r *Run){
		"a stale read":               func(r *Run) { r.Holds[1].Read = "" },
		"two holders":                func(r *Run) { r.Holds[0].Release.Called, r.Holds[0].Release.Returned = 65, 66 },
		"an acknowledged write lost": func(r *Run) { r.Holds[0].Release.Written = "a/other" },
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

// TestWriteOnTopOfOneThatWasNotDone has a hold save with an unknown outcome, and then release
// with a state that counts on from that. That is right if the save was not done, and only then.
func TestWriteOnTopOfOneThatWasNotDone(t *testing.T) {
	for name, tc := range map[string]struct {
		count   string
		outcome history.Outcome
		found   int
	}{
		"counted on":                  {`{"count":3,"write":"b/w"}`, history.Unknown, 0},
		"counted on a refused one":    {`{"count":3,"write":"b/w"}`, history.Failed, 1},
		"counted on, and one is lost": {`{"count":2,"write":"b/w"}`, history.Unknown, 1},
	} {
		r := good()
		save := *r.Holds[1].Release
		save.ID, save.Op, save.Written, save.Outcome, save.Called, save.Returned = "b/3", history.Save, "b/s", tc.outcome, 62, 65
		r.Operations = []history.Operation{r.Operations[0], r.Operations[1], r.Operations[2], save, r.Operations[3]}
		r.Versions[lock][3].Value = &tc.count
		if violations, _ := writes(r); len(violations) != tc.found {
			t.Errorf("%s: %v, want %d", name, violations, tc.found)
		}
	}
}

// TestUnknownOutcomesMayBeEither has a release that was not answered: its write may have
// been done, or not.
func TestUnknownOutcomesMayBeEither(t *testing.T) {
	for _, read := range []string{"", "a/w"} {
		r := good()
		r.Holds[0].Release.Outcome, r.Holds[1].Read = history.Unknown, read
		if violations, _, err := Linearizable(r, t.TempDir(), time.Minute); err != nil || len(violations) != 0 {
			t.Errorf("read %q: %v, %v; want no violation", read, violations, err)
		}
	}
}
