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

	"github.com/kubelock/kubelock/test/chaos/history"
)

// step is a version of a lock and the version before it. before is nil or deleted if there was no
// object.
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

// begins reports whether a hold begins with the step.
func (s step) begins() bool {
	return s.after.Holder != nil && (!s.existed() || s.before.Holder == nil || !same(s.before.Holder, s.after.Holder))
}

// ends reports whether the hold of the version before ends with the step.
func (s step) ends() bool {
	return s.existed() && s.before.Holder != nil && !s.after.Deleted && (s.after.Holder == nil || !same(s.before.Holder, s.after.Holder))
}

// instant reports whether a hold begins and ends with the step, as Apply's does on a free lock.
func (s step) instant() bool {
	if s.after.Deleted || s.after.Holder != nil || s.after.LastRelease == nil {
		return false
	}
	return !s.existed() || s.before.Holder == nil && s.after.Transitions == s.before.Transitions+1
}

// token returns the fencing token of the hold that begins. A hold that created the object, and ended
// in the same write, has none in its record.
func (s step) token() int64 {
	switch {
	case s.begins():
		return s.after.Holder.Token
	case !s.existed():
		return s.after.Revision
	}
	return s.after.LastRelease.Token
}

func same(a, b *history.Holder) bool { return a.LockID == b.LockID && a.Token == b.Token }

// grants replays the log. It checks that every hold ends by a recorded release, hand-over or expiry,
// that no expiry comes before the deadline of the holder, and that every hold which a client reported
// is in the log.
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
	created := map[string]int64{} // tokens of holds whose record never had one
	r.steps(func(s step) {
		looked++
		if s.begins() {
			inLog[key(s.after.Holder.LockID, s.after.Holder.Token)] = true
			if s.after.Holder.Holder.Token == 0 {
				created[s.after.Holder.LockID] = s.after.Revision
			}
		}
		if !s.ends() || r.mayBeManual(s.after) {
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
		// The recorder sees a version after its commit. If it saw this one before the deadline, the
		// hold was ended too early.
		if last.Reason == "Expired" && claim != nil && s.after.Seen < r.believed(claim) {
			bad(s.after, "the hold %s was ended as expired %s before its deadline", claim.LockID, seconds(r.believed(claim)-s.after.Seen))
		}
	})
	for id, h := range claims {
		if since, ok := created[h.LockID]; ok && h.Token >= since {
			continue // The client has read its creation back, or has got the answer to it.
		}
		if !inLog[id] {
			violations = append(violations, Violation{"grants", h.Lock(), fmt.Sprintf("%s has acquired the lock as %s, which is not in the log", h.ID, id)})
		}
	}
	return violations, looked
}

func key(lockID string, token int64) string { return fmt.Sprintf("%s with token %d", lockID, token) }

// tokens checks that each hold of a lock has a greater token than all holds before it, also across
// the deletion of the object, the CRD and the namespace.
func tokens(r *Run) (violations []Violation, looked int) {
	for lock, versions := range r.Versions {
		var greatest int64
		var before *history.Version
		for _, v := range versions {
			s := step{before, v}
			before = v
			if !s.begins() && !s.instant() {
				continue
			}
			looked++
			token := s.token()
			if token <= greatest {
				violations = append(violations, Violation{"tokens", lock, fmt.Sprintf("revision %d: the hold that begins has token %d, one before it had %d", v.Revision, token, greatest)})
			}
			greatest = max(greatest, token)
		}
	}
	return violations, looked
}

// states checks that the state of a lock changes only by a renewal or a release of its holder, or in
// a hold that begins and ends at once. It also checks that renewal times do not go back, and that each
// new hold counts as one transition.
func states(r *Run) (violations []Violation, looked int) {
	r.steps(func(s step) {
		looked++
		if !s.existed() || s.after.Deleted || r.mayBeManual(s.after) {
			return
		}
		bad := func(format string, args ...any) {
			violations = append(violations, Violation{"states", s.after.Lock, fmt.Sprintf("revision %d: %s", s.after.Revision, fmt.Sprintf(format, args...))})
		}
		changed := !reflect.DeepEqual(s.before.Value, s.after.Value)
		switch {
		case s.before.Holder == nil:
			if changed && (!s.instant() || s.after.LastRelease.Reason != "Released") {
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

// terminating checks that no hold begins in an object that is being deleted, that its state does not
// change, and that its queue does not grow. The manual edits of a run do none of that.
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
