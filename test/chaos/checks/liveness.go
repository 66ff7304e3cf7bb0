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
	"strings"
	"time"

	"github.com/kubelock/kubelock/test/chaos/history"
)

// losses checks that no hold's context outlived its deadline.
func losses(r *Run) (violations []Violation, looked int) {
	for _, e := range r.Late {
		violations = append(violations, Violation{"losses", history.Lock{Kind: e.Kind, Key: e.Key},
			fmt.Sprintf("the context of %s went on for %s after its deadline", e.ID, seconds(e.At-e.Deadline))})
	}
	return violations, len(r.Holds)
}

// starvation checks that each process acquired each lock once more after the faults.
func starvation(r *Run) (violations []Violation, looked int) {
	for _, o := range r.Operations {
		if !o.Final {
			continue
		}
		looked++
		if o.Outcome != history.OK {
			violations = append(violations, Violation{"starvation", o.Lock(), fmt.Sprintf("%s did not get it: %s: %s", o.ID, o.Outcome, o.Err)})
		}
	}
	return violations, looked
}

// order checks the order of the queue:
//
//   - A hand-over grants the lock to the first waiter of another client than the releasing one. If
//     there is none, it grants the lock to that client's own next caller.
//   - In a queue of annotations, a waiter may have joined in front of that one after the holder read
//     the queue. Then it is the next holder.
//   - A change in a hold that begins and ends at once does not overtake the queue.
func order(r *Run) (violations []Violation, looked int) {
	r.steps(func(s step) {
		if s.existed() && s.instant() {
			looked++
			if len(s.before.Waiters) > 0 {
				violations = append(violations, Violation{"order", s.after.Lock, fmt.Sprintf("revision %d: %s changed the state at once, and %s was first", s.after.Revision, s.after.LastRelease.LockID, s.before.Waiters[0])})
			}
		}
		if !s.ends() || s.after.Holder == nil || s.after.LastRelease == nil || s.after.LastRelease.Reason != "HandedOff" || r.mayBeManual(s.after) {
			return
		}
		looked++
		from, to := s.before.Holder.Client, s.after.Holder.LockID
		i := slices.IndexFunc(s.before.Waiters, func(id string) bool { return history.ClientOf(id) != from })
		switch {
		case i < 0 && history.ClientOf(to) != from:
			violations = append(violations, Violation{"order", s.after.Lock, fmt.Sprintf("revision %d: %s has it and did not queue", s.after.Revision, to)})
		case i >= 0 && s.before.Waiters[i] != to && (s.after.Kind == history.DistributedLocks || !queuesStill(s, to)):
			violations = append(violations, Violation{"order", s.after.Lock, fmt.Sprintf("revision %d: %s has it, and %s was first", s.after.Revision, to, s.before.Waiters[i])})
		}
	})
	return violations, looked
}

// queuesStill reports whether all waiters that were before lockID in the queue are still in it.
func queuesStill(s step, lockID string) bool {
	i := slices.Index(s.before.Waiters, lockID)
	return i >= 0 && !slices.ContainsFunc(s.before.Waiters[:i], func(id string) bool {
		return !slices.Contains(s.after.Waiters, id)
	})
}

// wakeups checks that in calm times no grant to a live client expires without its client having
// noticed it. That would be a lost wake-up.
func wakeups(r *Run) (violations []Violation, looked int) {
	granted := map[string]bool{}
	for _, h := range r.Holds {
		granted[h.LockID] = true
	}
	began := map[string]int64{}
	given := map[string]bool{}
	r.steps(func(s step) {
		if s.begins() {
			id := s.after.Holder.LockID
			began[id] = s.after.Seen
			given[id] = s.ends() && history.ClientOf(id) != s.before.Holder.Client
		}
		if !s.ends() || s.after.LastRelease == nil {
			return
		}
		id := s.before.Holder.LockID
		// The caller of Do does not know the lock ID, so counters are left out. A client without a
		// waiting caller ends a grant itself, long before the lease ends.
		if !given[id] || strings.HasPrefix(s.after.Key, "counter") || !r.calm(began[id], s.after.Seen) {
			return
		}
		looked++
		if s.after.Seen-began[id] < int64(s.before.Holder.Duration.Duration)/2 {
			return
		}
		if s.after.LastRelease.Reason == "Expired" && !granted[id] {
			violations = append(violations, Violation{"wakeups", s.after.Lock, fmt.Sprintf(
				"revision %d: %s was given the lock for %s, and its client did not notice", s.after.Revision, id, seconds(s.after.Seen-began[id]))})
		}
	})
	return violations, looked
}

// notices checks that in calm times a client soon notices that it was granted the lock: by its watch,
// and not only by the read that it makes once per lease. The check uses the median, so that a busy
// machine does not fail it.
func notices(r *Run) (violations []Violation, looked int) {
	granted := map[string]*history.Hold{}
	for _, h := range r.Holds {
		granted[h.LockID] = h
	}
	took := map[string][]int64{}
	where := map[string]history.Lock{}
	r.steps(func(s step) {
		if !s.begins() || !s.ends() || history.ClientOf(s.after.Holder.LockID) == s.before.Holder.Client {
			return
		}
		h := granted[s.after.Holder.LockID]
		if h == nil || !r.calm(h.Called, h.Returned) {
			return
		}
		looked++
		took[h.Client] = append(took[h.Client], h.Returned-s.after.Seen)
		where[h.Client] = s.after.Lock
	})
	for client, all := range took {
		slices.Sort(all)
		if median := all[len(all)/2]; len(all) >= 5 && median > int64(time.Second) {
			violations = append(violations, Violation{"notices", where[client], fmt.Sprintf("the client %s was given locks %d times, and noticed after %s in the median", client, len(all), seconds(median))})
		}
	}
	return violations, looked
}

// calm reports whether there was no fault between the two times.
func (r *Run) calm(from, to int64) bool {
	return slices.ContainsFunc(r.Calm, func(s Span) bool { return s.From <= from && to <= s.To })
}

// collections checks that no object was deleted while a client held the lock or waited for it, except
// by a manual edit or by the holder.
func collections(r *Run) (violations []Violation, looked int) {
	claims := map[string]*history.Hold{}
	for _, h := range r.Holds {
		if h.LockID != "" {
			claims[key(h.LockID, h.Token)] = h
		}
	}
	r.steps(func(s step) {
		if !s.after.Deleted || !s.existed() || r.mayBeManual(s.after) {
			return
		}
		looked++
		if s.before.Holder == nil {
			return
		}
		if h := claims[key(s.before.Holder.LockID, s.before.Holder.Token)]; h != nil && s.after.Seen < r.believed(h) {
			violations = append(violations, Violation{"collections", s.after.Lock, fmt.Sprintf("revision %d: the object was deleted while %s held it", s.after.Revision, h.ID)})
		}
	})
	return violations, looked
}

// leftovers checks that in the end no lock has a holder or waiters, and that each process that ended
// in order left no goroutine.
func leftovers(r *Run) (violations []Violation, looked int) {
	for lock, versions := range r.Versions {
		looked++
		if last := versions[len(versions)-1]; !last.Deleted && (last.Holder != nil || len(last.Waiters) > 0) {
			violations = append(violations, Violation{"leftovers", lock, fmt.Sprintf("is held: %v, waiters: %v", last.Holder != nil, last.Waiters)})
		}
	}
	for process, e := range r.Exits {
		looked++
		if e.Err != "" {
			violations = append(violations, Violation{"leftovers", history.Lock{}, fmt.Sprintf("%s leaves goroutines: %s", process, e.Err)})
		}
	}
	return violations, looked
}
