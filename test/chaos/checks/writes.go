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
	"fmt"
	"slices"

	"github.com/kubelock/kubelock/test/chaos/history"
)

// change is a write of the log.
type change struct {
	step  step
	below string // the write before it in the same state
}

// changes returns all writes of the log, by their names.
func (r *Run) changes() map[string][]change {
	all := map[string][]change{}
	r.additions(func(s step, added []string, below string) {
		for _, write := range added {
			all[write] = append(all[write], change{s, below})
			below = write
		}
	}, func(step, error) {}) // writes reports such states.
	return all
}

// additions calls f for each version with the writes that it adds, oldest first, and with the write
// below them. It calls bad for each state that cannot follow from the state before it.
func (r *Run) additions(f func(s step, added []string, below string), bad func(s step, err error)) {
	r.steps(func(s step) {
		if s.after.Deleted || s.after.Value == nil {
			return
		}
		state, err := s.after.Write()
		if err != nil {
			bad(s, err)
			return
		}
		var before history.State
		if s.existed() {
			before, _ = s.before.Write() // The step before has checked it.
		}
		added, err := state.Since(before)
		if err != nil {
			bad(s, err)
			added = []string{state.Write}
		}
		if len(added) > 0 {
			f(s, added, before.Write)
		}
	})
}

// applied returns the calls of Apply whose change is in the log, or should be. A change without an
// answer counts as done when the recorder saw it. That includes a change that was deleted with its
// object and then made again.
func (r *Run) applied() (all []history.Operation) {
	log := r.changes()
	for _, o := range r.Operations {
		if o.Op != history.Apply {
			continue
		}
		unanswered := log[o.Written]
		if o.Outcome == history.OK {
			all = append(all, o)
			unanswered = unanswered[:max(0, len(unanswered)-1)]
		}
		for _, c := range unanswered {
			o.Outcome, o.Returned = history.Unknown, c.step.after.Seen
			all = append(all, o)
		}
	}
	return all
}

// reads checks three things: the state that a hold reads is the state of the version that began it;
// the state that Apply returns was made from the write below it; and the state that the function of
// an Apply without a change has seen is in the log.
func reads(r *Run) (violations []Violation, looked int) {
	left := map[string]string{}
	r.steps(func(s step) {
		if !s.begins() {
			return
		}
		state, err := s.after.Write()
		if err != nil {
			violations = append(violations, Violation{"reads", s.after.Lock, err.Error()})
		}
		left[key(s.after.Holder.LockID, s.after.Holder.Token)] = state.Write
	})
	for _, h := range r.Holds {
		if h.LockID == "" {
			continue
		}
		looked++
		if want, ok := left[key(h.LockID, h.Token)]; ok && want != h.Read {
			violations = append(violations, Violation{"reads", h.Lock(), fmt.Sprintf("%s read the write %q, and the log has %q", h.ID, h.Read, want)})
		}
	}
	log := r.changes()
	for _, o := range r.Operations {
		if o.Op != history.Apply {
			continue
		}
		looked++
		if is := log[o.Written]; o.Outcome == history.OK && len(is) > 0 && is[len(is)-1].below != o.Read {
			violations = append(violations, Violation{"reads", o.Lock(), fmt.Sprintf("%s was applied to the write %q, and the log has %q below it", o.ID, o.Read, is[len(is)-1].below)})
		}
		if o.Fails && o.Read != "" && len(log[o.Read]) == 0 {
			violations = append(violations, Violation{"reads", o.Lock(), fmt.Sprintf("the function of %s saw the write %q, which is not in the log", o.ID, o.Read)})
		}
	}
	return violations, looked
}

// writes checks the set of writes in the log:
//
//   - Each acknowledged write is in it once, no write is in it twice, and no refused write is in it.
//   - Each write follows the state before it. One version may add several writes: earlier ones of the
//     same hold whose outcome was unknown and that were not stored yet, or other changes of the same
//     client by Apply.
//   - If the object is deleted before a call of Apply has its answer, the call makes its change again
//     in the next object.
func writes(r *Run) (violations []Violation, looked int) {
	bad := func(lock history.Lock, format string, args ...any) {
		violations = append(violations, Violation{"writes", lock, fmt.Sprintf(format, args...)})
	}
	asked, ofHold := map[string]history.Operation{}, map[string][]history.Operation{}
	for _, o := range r.Operations {
		if o.Written != "" {
			asked[o.Written] = o
			ofHold[o.Hold] = append(ofHold[o.Hold], o)
		}
	}
	in := map[string][]string{} // the UIDs of the objects with each write
	r.additions(func(s step, added []string, _ string) {
		o, ok := asked[added[len(added)-1]]
		switch {
		case !ok:
			bad(s.after.Lock, "revision %d: no client asked for %v", s.after.Revision, added)
		case o.Op == history.Apply:
			if i := slices.IndexFunc(added, func(write string) bool { return !together(o, asked[write]) }); i >= 0 {
				bad(s.after.Lock, "revision %d: %s comes with %s", s.after.Revision, o.Written, added[i])
			}
		default:
			if want := carried(o, ofHold[o.Hold], in); !slices.Equal(added, want) {
				bad(s.after.Lock, "revision %d: %s brings %v, and not %v: an update was lost", s.after.Revision, o.Written, added, want)
			}
		}
		for _, write := range added {
			in[write] = append(in[write], s.after.UID)
		}
	}, func(s step, err error) { bad(s.after.Lock, "revision %d: %v", s.after.Revision, err) })
	for _, o := range r.Operations {
		if o.Written == "" {
			continue
		}
		looked++
		if text := answered(o, in[o.Written]); text != "" {
			bad(o.Lock(), "%s", text)
		}
	}
	return violations, looked
}

// together reports whether two changes may share a write: both were made by Apply, in the same client.
func together(a, b history.Operation) bool {
	return a.Op == b.Op && a.Process == b.Process && a.Lock() == b.Lock()
}

// carried returns the writes of a hold that one of its writes may add to the log: itself, and earlier
// ones whose outcome was unknown and that the log does not have yet.
func carried(o history.Operation, ofHold []history.Operation, in map[string][]string) []string {
	var all []string
	for _, before := range ofHold {
		if before.Called < o.Called && before.Outcome == history.Unknown && len(in[before.Written]) == 0 {
			all = append(all, before.Written)
		}
	}
	return append(all, o.Written)
}

// answered returns what is wrong with the answer to a write that those objects have.
func answered(o history.Operation, in []string) string {
	times := len(in)
	again := o.Op == history.Apply && times == len(slices.Compact(slices.Sorted(slices.Values(in))))
	switch {
	case times > 1 && !again:
		return fmt.Sprintf("%s (%s) is %d times in the log", o.Written, o.Outcome, times)
	case o.Fails && times > 0:
		return fmt.Sprintf("the function of %s failed, and its write %s is in the log", o.ID, o.Written)
	case o.Fails && o.Outcome == history.OK:
		return fmt.Sprintf("the function of %s failed, and the call did not", o.ID)
	case o.Fails:
		return ""
	case o.Outcome == history.OK && times == 0:
		return fmt.Sprintf("%s was acknowledged to %s and is not in the log", o.Written, o.ID)
	case times > 0 && slices.Contains([]history.Outcome{history.NotAcquired, history.Lost, history.Failed}, o.Outcome):
		return fmt.Sprintf("%s answered %s with %q, but its write %s is in the log", o.Op, o.ID, o.Outcome, o.Written)
	}
	return ""
}
