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
	"github.com/kubelock/kubelock/test/chaos/external"
	"github.com/kubelock/kubelock/test/chaos/history"
)

var lock = history.Lock{Kind: history.DistributedLocks, Key: "register-0-0"}

// good returns a run in which two clients have the lock one after the other, by a hand-over, and
// write once each. Then a third client applies two changes in one write, and one that fails.
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
	ended := func(lockID string, reason v1alpha1.ReleaseReason) *v1alpha1.LastRelease {
		return &v1alpha1.LastRelease{LockID: lockID, Reason: reason}
	}
	applied := func(write, read string) history.Operation {
		return history.Operation{
			Entry:  history.Entry{ID: write, Process: "c", Op: history.Apply, Kind: lock.Kind, Key: lock.Key, Outcome: history.OK, Read: read},
			Called: 90, Returned: 100, Written: write,
		}
	}
	failed := applied("c/3", "c/1")
	failed.Fails, failed.Outcome = true, history.Failed
	versions := []*history.Version{
		{Revision: 5, Seen: 16, Holder: holder("a", 5, 1), Transitions: 1},
		{Revision: 6, Seen: 36, Holder: holder("a", 5, 1), Transitions: 1, Waiters: []string{"b-1"}},
		{Revision: 7, Seen: 46, Holder: holder("b", 7, 2), Transitions: 2, Value: valueOf("a/w"), LastRelease: ended("a-1", "HandedOff")},
		{Revision: 8, Seen: 76, Transitions: 2, Value: valueOf("a/w", "b/w"), LastRelease: ended("b-1", "Released")},
		{Revision: 9, Seen: 96, Transitions: 3, Value: valueOf("a/w", "b/w", "c/1", "c/2"), LastRelease: ended("c-1", "Released")},
	}
	versions[4].LastRelease.Token = 9
	for _, v := range versions {
		v.Lock, v.UID = lock, "1"
	}
	return &Run{
		Account: &history.Account{
			Operations: []history.Operation{a.Operation, b.Operation, *a.Release, *b.Release, applied("c/1", "b/w"), applied("c/2", "c/1"), failed},
			Holds:      []*history.Hold{a, b}, Exits: map[string]history.Entry{"a": {}, "b": {}},
		},
		Versions: map[history.Lock][]*history.Version{lock: versions},
		Calm:     []Span{{0, 10_000}},
		Fenced:   map[string]external.Count{"k": {Value: 1, Accepted: 1}},
		Accesses: []external.Access{{Key: "k", Token: 5, Write: true, Accepted: true}},
	}
}

// valueOf returns the state after those writes.
func valueOf(writes ...string) *string {
	var s history.State
	for _, write := range writes {
		s = s.Next(write)
	}
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return new(string(text))
}

// TestChecksCanFail breaks the run in one way after the other. The check for each must find it.
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
		"a change without a hold":              {All[3].Name, func(_ *Run, v []*history.Version) { v[4].Transitions = 2 }},
		"a change with an old token":           {All[2].Name, func(_ *Run, v []*history.Version) { v[4].LastRelease.Token = 5 }},
		"a change of an old state":             {All[4].Name, func(r *Run, _ []*history.Version) { r.Operations[5].Read = "b/w" }},
		"a change of what is not stored":       {All[4].Name, func(r *Run, _ []*history.Version) { r.Operations[6].Read = "c/4" }},
		"a change that is lost":                {All[5].Name, func(_ *Run, v []*history.Version) { v[4].Value = valueOf("a/w", "b/w", "c/2") }},
		"a change that replaces others":        {All[5].Name, func(_ *Run, v []*history.Version) { v[4].Value = valueOf("a/w", "x", "c/1", "c/2") }},
		"a change that is there twice":         {All[5].Name, func(_ *Run, v []*history.Version) { v[4].Value = valueOf("a/w", "b/w", "c/1", "c/2", "c/1") }},
		"a change that was refused":            {All[5].Name, func(r *Run, _ []*history.Version) { r.Operations[4].Outcome = history.NotAcquired }},
		"a change that its function did not want": {All[5].Name, func(_ *Run, v []*history.Version) {
			v[4].Value = valueOf("a/w", "b/w", "c/1", "c/3", "c/2")
		}},
		"a change that no client asked for":   {All[5].Name, func(r *Run, _ []*history.Version) { r.Operations = r.Operations[:5] }},
		"a success of a function that failed": {All[5].Name, func(r *Run, _ []*history.Version) { r.Operations[6].Outcome = history.OK }},
		"a change of another client with it":  {All[5].Name, func(r *Run, _ []*history.Version) { r.Operations[4].Process = "d" }},
		"a change that overtakes the queue":   {All[9].Name, func(_ *Run, v []*history.Version) { v[3].Waiters = []string{"d-1"} }},
		"an old token accepted": {All[6].Name, func(r *Run, _ []*history.Version) {
			r.Accesses = append(r.Accesses, external.Access{Key: "k", Token: 4, Accepted: true})
		}},
		"a fenced update lost":        {All[6].Name, func(r *Run, _ []*history.Version) { r.Fenced["k"] = external.Count{Value: 1, Accepted: 2} }},
		"a loss that is not reported": {All[7].Name, func(r *Run, _ []*history.Version) { r.Late = []history.Entry{{ID: "a/1"}} }},
		"a waiter that starves": {All[8].Name, func(r *Run, _ []*history.Version) {
			r.Operations[1].Final, r.Operations[1].Outcome = true, history.NotAcquired
		}},
		"a waiter that is overtaken": {All[9].Name, func(_ *Run, v []*history.Version) { v[1].Waiters = []string{"c-1", "b-1"} }},
		"a grant that is not noticed": {All[10].Name, func(r *Run, v []*history.Version) {
			v[3].Seen, v[3].LastRelease.Reason = v[2].Seen+far, "Expired"
			r.Calm[0].To, r.Holds = 2*far, r.Holds[:1]
		}},
		"grants noticed late": {All[11].Name, func(r *Run, v []*history.Version) {
			r.Holds[1].Returned, r.Calm[0].To = 46+far, 2*far
			again := r.Versions[lock]
			for i := range 5 { // The check needs several cases.
				other := history.Lock{Kind: lock.Kind, Key: string(rune('a' + i))}
				r.Versions[other] = again
			}
		}},
		"a held object collected": {All[12].Name, func(r *Run, v []*history.Version) {
			r.Versions[lock] = append(v[:2], &history.Version{Lock: lock, Revision: 9, Seen: 30, Deleted: true})
		}},
		"a lock left held": {All[13].Name, func(r *Run, v []*history.Version) { r.Versions[lock] = v[:3] }},
		"a refusal repeated without a pause": {All[15].Name, func(r *Run, _ []*history.Version) {
			for i := range int64(refusals) + 1 {
				r.Refusals = append(r.Refusals, history.Refusal{Lock: lock, Process: "a", At: i * far / 1000})
			}
		}},
		"a call that ends by a passing refusal":               {All[16].Name, func(r *Run, _ []*history.Version) { refuse(r, knownAfter) }},
		"a deletion that is denied to a client which deletes": {All[16].Name, func(r *Run, _ []*history.Version) { deny(r, "delete") }},
		"a creation that is denied to a client which creates": {All[16].Name, func(r *Run, _ []*history.Version) { deny(r, "create") }},
		"a loss of what is not lost": {All[17].Name, func(r *Run, v []*history.Version) {
			// Reported at 50, before the deadline, while the log shows no end until then or shortly after.
			r.Operations[2].Outcome, v[2].Seen = history.Lost, 50+2*late
		}},
		"a long lease lost by 429": {All[18].Name, func(r *Run, _ []*history.Version) { loseLong(r, 0) }},
		"a goroutine left behind":  {All[13].Name, func(r *Run, _ []*history.Version) { r.Exits["a"] = history.Entry{Err: "a goroutine"} }},
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

// refuse adds a call that fails at once by a refusal, after that many successful calls.
func refuse(r *Run, others int) {
	call := r.Operations[0]
	call.Timeout = 1
	for i := range int64(others) {
		call.Called, call.Returned = 100+i, 101+i
		r.Operations = append(r.Operations, call)
	}
	call.Called, call.Returned, call.Outcome, call.Err = 10_000, 20_000, history.Failed, NotNow
	r.Operations = append(r.Operations, call)
}

// denial returns the authorizer's refusal of a verb.
func denial(verb string) string {
	return `"x" is forbidden: User "a" cannot ` + verb + ` resource "leases"`
}

// deny adds a call that fails by a denial of that verb, of a client that has created an object and has deleted
// several.
func deny(r *Run, verb string) {
	refuse(r, knownAfter)
	denied := len(r.Operations) - 1
	r.Operations[denied].Err = denial(verb)
	for i := range int64(knownAfter) {
		deletion := r.Operations[0]
		deletion.Op, deletion.Called, deletion.Returned = history.Delete, 200+i, 201+i
		r.Operations = append(r.Operations, deletion)
	}
	r.Versions[lock][0].Holder.Identity = r.Operations[denied].Process
}

// loseLong adds a hold with a long lease that is lost while requests get 429. Another fault lasts for
// the given time before its end.
func loseLong(r *Run, other time.Duration) {
	h := *r.Holds[0]
	h.Kind, h.Key, h.Process = lock.Kind, "long-a", "a.1"
	end := 2 * int64(history.LongLease)
	h.Release = &history.Operation{Entry: history.Entry{Outcome: history.Lost}, Called: end - 1, Returned: end}
	r.Holds = append(r.Holds, &h)
	r.Faults = append(r.Faults, Fault{Span{end - 1, end}, "retry-after", "a"})
	if other > 0 {
		r.Faults = append(r.Faults, Fault{Span{end - int64(other), end}, "partition-client", "a"})
	}
}

// TestExcuses has cases that would be violations, each with and without a fact that excuses it.
func TestExcuses(t *testing.T) {
	for name, tc := range map[string]struct {
		check func(*Run) ([]Violation, int)
		spoil func(r *Run)
	}{
		"refusals with pauses": {paces, func(r *Run) {
			for i := range int64(10 * refusals) {
				r.Refusals = append(r.Refusals, history.Refusal{Lock: lock, Process: "a", At: i * int64(time.Second) / refusals})
			}
		}},
		"refusals that calls end by": {paces, func(r *Run) {
			for i := range int64(2 * refusals) {
				at := i * int64(time.Millisecond)
				r.Refusals = append(r.Refusals, history.Refusal{Lock: history.Lock{Kind: lock.Kind}, Process: "a", At: at})
				call := r.Operations[0]
				call.Process, call.Outcome, call.Returned = "a.1", history.Failed, at+1
				r.Operations = append(r.Operations, call)
			}
		}},
		"a deletion by a client that has deleted nothing": {endures, func(r *Run) {
			refuse(r, knownAfter)
			r.Operations[len(r.Operations)-1].Err = denial("delete")
		}},
		"a release whose time was over": {endures, func(r *Run) {
			refuse(r, knownAfter)
			r.Operations[len(r.Operations)-1].Err = "no answer from the API server; the last answer was: " + denial("update")
		}},
		"a first watch that was denied": {endures, func(r *Run) {
			refuse(r, knownAfter)
			r.Operations[len(r.Operations)-1].Err = "no permission to list and watch: " + denial("list")
		}},
		"a creation by a client that has created nothing": {endures, func(r *Run) {
			refuse(r, knownAfter)
			r.Operations[len(r.Operations)-1].Err = denial("create")
		}},
		"a client that never had access": {endures, func(r *Run) { refuse(r, 0) }},
		"a TryAcquire": {endures, func(r *Run) {
			refuse(r, knownAfter)
			r.Operations[len(r.Operations)-1].Timeout = 0
		}},
		"a Get": {endures, func(r *Run) {
			refuse(r, knownAfter)
			r.Operations[len(r.Operations)-1].Op = history.Get
		}},
		"a refusal that was doubted": {endures, func(r *Run) {
			refuse(r, knownAfter)
			r.Operations[len(r.Operations)-1].Returned += doubted
		}},
		"a denial that was believed before": {endures, func(r *Run) {
			refuse(r, knownAfter)
			first := &r.Operations[len(r.Operations)-1]
			first.Returned += doubted
			again := *first
			again.Called, again.Returned = first.Returned+1, first.Returned+2
			r.Operations = append(r.Operations, again)
		}},
		"a hold whose deadline has passed": {lost, func(r *Run) { r.Operations[2].Outcome, r.Operations[2].Returned = history.Lost, 1000 }},
		"a hold that another one followed": {lost, func(r *Run) { r.Operations[2].Outcome = history.Lost }},
		"a hold that was taken away": {lost, func(r *Run) {
			r.Operations[2].Outcome, r.ManualEdits = history.Lost, []ManualEdit{{Span: Span{15, 16}}}
		}},
		"a long lease behind a partition":       {outlasts, func(r *Run) { loseLong(r, 10*time.Second) }},
		"a long lease that nothing happened to": {outlasts, func(r *Run) { loseLong(r, 0); r.Faults = nil }},
	} {
		r := good()
		tc.spoil(r)
		if violations, _ := tc.check(r); len(violations) > 0 {
			t.Errorf("%s: %v", name, violations)
		}
	}
}

func TestChecksFindNothingInAGoodRun(t *testing.T) {
	r := good()
	for _, c := range All {
		if violations, _ := c.Of(r); len(violations) > 0 {
			t.Errorf("%q: %v", c.Name, violations)
		}
	}
	if violations, found, err := Linearizable(r, t.TempDir(), time.Minute); err != nil || len(violations) > 0 || found.Operations != 6 {
		t.Errorf("linearizability: %v, %+v, %v", violations, found, err)
	}
}
