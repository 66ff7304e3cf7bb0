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
	"reflect"
	"slices"

	"github.com/kubelock/kubelock/hack/chaos/history"
)

// step is a version of a lock and the one before it; before is nil, or deleted, where
// there was no object.
type step struct{ before, after *history.Version }

// steps calls f for each version of each lock.
func (r *Run) steps(f func(step)) {
	for _, versions := range r.Versions {
		var before *history.Version
		for _, v := range versions {
			f(step{before, v})
			before = v
		}
	}
}

func (s step) existed() bool { return s.before != nil && !s.before.Deleted }

// begins reports whether a hold begins.
func (s step) begins() bool {
	return s.after.Holder != nil && (!s.existed() || s.before.Holder == nil || !same(s.before.Holder, s.after.Holder))
}

// ends reports whether a hold ends that had an object.
func (s step) ends() bool {
	return s.existed() && s.before.Holder != nil && !s.after.Deleted && (s.after.Holder == nil || !same(s.before.Holder, s.after.Holder))
}

func same(a, b *history.Holder) bool { return a.LockID == b.LockID && a.Token == b.Token }

// grants replays the log: every hold ends by a release, a hand-off or an expiry that
// says so, and an expiry comes after the deadline of the holder. And every hold that a
// client was given is in the log.
func grants(r *Run) (violations []Violation, looked int) {
	bad := func(v *history.Version, format string, args ...any) {
		violations = append(violations, Violation{"grants", v.Lock, fmt.Sprintf("revision %d: %s", v.Revision, fmt.Sprintf(format, args...))})
	}
	claims := map[string]*history.Hold{}
	for _, h := range r.Holds {
		if h.LockID != "" {
			claims[key(h.LockID, h.Token)] = h
		}
	}
	inLog := map[string]bool{}
	created := map[string]int64{} // of holds whose record never had a token
	r.steps(func(s step) {
		looked++
		if s.begins() {
			inLog[key(s.after.Holder.LockID, s.after.Holder.Token)] = true
			if s.after.Holder.Holder.Token == 0 {
				created[s.after.Holder.LockID] = s.after.Revision
			}
		}
		if !s.ends() || r.byHand(s.after) {
			return
		}
		last := s.after.LastRelease
		if last == nil || last.LockID != s.before.Holder.LockID {
			bad(s.after, "the hold %s ended, and lastRelease does not say how", s.before.Holder.LockID)
			return
		}
		if last.Reason != "Expired" && s.after.Holder != nil && last.Reason != "HandedOff" {
			bad(s.after, "the lock went from %s to %s by %s", s.before.Holder.LockID, s.after.Holder.LockID, last.Reason)
		}
		claim := claims[key(s.before.Holder.LockID, s.before.Holder.Token)]
		// The recorder saw it after it was committed: if even that was before the
		// deadline, the hold was ended too early.
		if last.Reason == "Expired" && claim != nil && s.after.Seen < r.believed(claim) {
			bad(s.after, "the hold %s was ended as expired %s before its deadline", claim.LockID, seconds(r.believed(claim)-s.after.Seen))
		}
	})
	for id, h := range claims {
		if since, ok := created[h.LockID]; ok && h.Token >= since {
			continue // It has read its create back, or got its answer.
		}
		if !inLog[id] {
			violations = append(violations, Violation{"grants", h.Lock(), fmt.Sprintf("%s was told that it has the lock as %s, which is not in the log", h.ID, id)})
		}
	}
	return violations, looked
}

func key(lockID string, token int64) string { return fmt.Sprintf("%s with token %d", lockID, token) }

// tokens checks that each hold of a lock has a greater token than all before it, also
// across the deletion of object, kind and namespace.
func tokens(r *Run) (violations []Violation, looked int) {
	for lock, versions := range r.Versions {
		var greatest int64
		var before *history.Version
		for _, v := range versions {
			s := step{before, v}
			before = v
			if !s.begins() {
				continue
			}
			looked++
			if token := v.Holder.Token; token <= greatest {
				violations = append(violations, Violation{"tokens", lock, fmt.Sprintf("revision %d: the hold %s has token %d, one before it had %d", v.Revision, v.Holder.LockID, token, greatest)})
			}
			greatest = max(greatest, v.Holder.Token)
		}
	}
	return violations, looked
}

// states checks that the state of a lock changes only with a renewal or the release of
// its holder, and that holds follow the rules of renewal.
func states(r *Run) (violations []Violation, looked int) {
	r.steps(func(s step) {
		looked++
		if !s.existed() || s.after.Deleted || r.byHand(s.after) {
			return
		}
		bad := func(format string, args ...any) {
			violations = append(violations, Violation{"states", s.after.Lock, fmt.Sprintf("revision %d: %s", s.after.Revision, fmt.Sprintf(format, args...))})
		}
		changed := !reflect.DeepEqual(s.before.Value, s.after.Value)
		switch {
		case s.before.Holder == nil:
			if changed {
				bad("the state of a free lock changed")
			}
		case s.ends():
			if last := s.after.LastRelease; changed && (last == nil || last.Reason == "Expired") {
				bad("the state changed when the hold %s was ended by another", s.before.Holder.LockID)
			}
		case s.after.Holder.RenewTime.Before(&s.before.Holder.RenewTime):
			bad("the renewal time of %s went back", s.after.Holder.LockID)
		case s.after.Holder.RenewTime.Equal(&s.before.Holder.RenewTime) && changed:
			bad("the state changed and %s did not renew", s.after.Holder.LockID)
		}
		if s.begins() && s.after.Transitions != s.before.Transitions+1 {
			bad("a hold began, and transitions went from %d to %d", s.before.Transitions, s.after.Transitions)
		}
	})
	return violations, looked
}

// terminating checks that no hold begins in an object that is being deleted, that its state
// does not change and that its queue does not grow. What is done by hand does none of that.
func terminating(r *Run) (violations []Violation, looked int) {
	r.steps(func(s step) {
		if !s.existed() || !s.before.Terminating || s.after.Deleted || s.after.UID != s.before.UID {
			return
		}
		looked++
		bad := func(what string) {
			violations = append(violations, Violation{"terminating", s.after.Lock, fmt.Sprintf("revision %d: %s in an object that is being deleted", s.after.Revision, what)})
		}
		if s.begins() {
			bad("the hold " + s.after.Holder.LockID + " begins")
		}
		if !reflect.DeepEqual(s.before.Value, s.after.Value) {
			bad("the state changes")
		}
		for _, lockID := range s.after.Waiters {
			if !slices.Contains(s.before.Waiters, lockID) {
				bad(lockID + " queues")
			}
		}
	})
	return violations, looked
}

// reads checks that what a hold was given to read is the state of the version that
// began it.
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
	return violations, looked
}

// countUp calls what checks a write in the log with how many writes its holder has counted on
// that were not done. times is how often each is in the log.
func countUp(r *Run, times map[string]int, checks map[string][]func(skipped int)) {
	skipped := map[string]int{} // by hold, so far
	for _, o := range r.Operations {
		for _, check := range checks[o.Written] {
			check(skipped[o.Hold])
		}
		delete(checks, o.Written)
		if o.Written != "" && o.Outcome == history.Unknown && times[o.Written] == 0 {
			skipped[o.Hold]++
		}
	}
	for _, unclaimed := range checks {
		for _, check := range unclaimed {
			check(0)
		}
	}
}

// writes checks the set of writes: each acknowledged one once in the log, none twice,
// none that was refused, and each counts one up from the state before it; and one up more
// for each write of the same hold before it whose outcome was unknown, and that was not done.
func writes(r *Run) (violations []Violation, looked int) {
	times, ups := map[string]int{}, map[string][]func(skipped int){}
	r.steps(func(s step) {
		if s.after.Deleted || s.after.Value == nil {
			return
		}
		state, err := s.after.Write()
		if err != nil {
			violations = append(violations, Violation{"writes", s.after.Lock, err.Error()})
			return
		}
		var before history.State
		if s.existed() {
			before, _ = s.before.Write() // It was looked at a step ago.
		}
		if state.Write == before.Write {
			return
		}
		times[state.Write]++
		ups[state.Write] = append(ups[state.Write], func(skipped int) {
			if state.Count != before.Count+1+skipped {
				violations = append(violations, Violation{"writes", s.after.Lock, fmt.Sprintf(
					"revision %d: %s counts %d on top of %d: an update was lost", s.after.Revision, state.Write, state.Count, before.Count)})
			}
		})
	})
	countUp(r, times, ups)
	for _, o := range r.Operations {
		if o.Written == "" {
			continue
		}
		looked++
		n := times[o.Written]
		switch {
		case n > 1:
			violations = append(violations, Violation{"writes", o.Lock(), fmt.Sprintf("%s (%s) is %d times in the log", o.Written, o.Outcome, n)})
		case o.Outcome == history.OK && n != 1:
			violations = append(violations, Violation{"writes", o.Lock(), fmt.Sprintf("%s was acknowledged to %s and is not in the log", o.Written, o.ID)})
		case (o.Outcome == history.Lost || o.Outcome == history.Failed) && n == 1:
			violations = append(violations, Violation{"writes", o.Lock(), fmt.Sprintf("%s told %s %q, and its write %s is in the log", o.Op, o.ID, o.Outcome, o.Written)})
		}
	}
	return violations, looked
}
