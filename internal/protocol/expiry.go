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

package protocol

import "time"

// Observation is one observer's view of a record: since when, by its own
// monotonic clock, it has seen the same hold unchanged. The zero Observation has
// seen nothing.
//
// Unchanged means the same object, lock ID, renewal time and duration, and for a
// free lock the same number of holds before. Whatever else changes (the queue,
// labels) does not count.
type Observation struct {
	uid, lockID string
	renewTime   time.Time
	duration    time.Duration
	transitions int64
	// Since is when this was first seen.
	Since time.Time
}

// Observe returns what the observer knows after it has seen r at now. It keeps
// the earlier time where r shows nothing new.
func (o Observation) Observe(r Record, now time.Time) Observation {
	seen := Observation{uid: r.UID, transitions: r.Transitions, Since: now}
	if h := r.Holder; h != nil {
		seen.lockID, seen.renewTime, seen.duration = h.LockID, h.RenewTime, h.Duration
	}
	unchanged := !o.Since.IsZero() && o.uid == seen.uid && o.lockID == seen.lockID &&
		o.renewTime.Equal(seen.renewTime) && o.duration == seen.duration && o.transitions == seen.transitions
	if unchanged {
		return o
	}
	return seen
}

// Judge holds what expiry is judged by. Nobody trusts another machine's clock.
type Judge struct {
	// Now is the observer's own time; only differences of it are used, and those are
	// monotonic.
	Now time.Time
	// ServerTime is a lower bound of the API server's time at Now; zero when the
	// observer has none.
	ServerTime time.Time
	// MaxClockSkew is how far the clocks of two API servers may be apart. Below zero
	// nothing is judged by the server's time.
	MaxClockSkew time.Duration
}

// Expired reports whether r's hold has ended, and if not, for how long it cannot
// be found to have ended without a change of r. A free lock has no hold to end.
//
// A hold has ended when the observer has seen it unchanged for the hold's own
// duration, or when the API server's time is past its renewal plus its duration
// plus MaxClockSkew. Both leave the holder its lease: the first starts to count
// after the renewal was written, the holder before it was sent; the renewal time
// is an upper bound of the server's time, the judge's a lower.
func (j Judge) Expired(r Record, seen Observation) (expired bool, wait time.Duration) {
	if r.Holder == nil {
		return false, 0
	}
	return j.over(r, seen, headStart(0))
}

// Available reports whether the lock is there for the taking by whoever has that
// place in the queue, 0 being its head, and if not, for how long it cannot be found
// to be so without a change of r. Somebody who does not queue has the place behind
// the last.
//
// It is when its hold has ended, or there is none, and all waiters before that place
// have had their head start: see headStart. Entries that cannot be read have none. A lock
// whose object is being deleted is not available before the object has gone.
func (j Judge) Available(r Record, seen Observation, place int) (available bool, wait time.Duration) {
	if r.Terminating {
		return false, MaxDuration
	}
	return j.over(r, seen, headStart(r.Ahead(place)))
}

// over reports whether the hold has ended, and that head start after it.
func (j Judge) over(r Record, seen Observation, start time.Duration) (over bool, wait time.Duration) {
	if r.Holder == nil && start == 0 {
		return true, 0
	}
	end := r.LastTransition()
	if h := r.Holder; h != nil {
		start = Sum(start, h.Duration)
		end = Stamp{Time: h.RenewTime, Source: h.Source}
	}
	wait = start - j.Now.Sub(seen.Since)
	if by, ok := j.until(end.Time.Add(start), end.Source); ok {
		wait = min(wait, by)
	}
	return wait <= 0, max(wait, 0)
}

// Grantable reports whether a free lock that is queued for may be granted to its first
// waiter, which has not taken it by itself, and if not, for how long it may not without a
// change of r. After a hold that expired, all waiters have their head start before: those
// before them may all be dead. See graceAfter. A waiter that lives may count from when it read
// that the lock is free, which is up to a Grace later, and needs a moment to take it: so all of them
// have two more.
func (j Judge) Grantable(r Record, seen Observation) (grantable bool, wait time.Duration) {
	if r.Terminating || !r.LastRelease.died() {
		return j.Available(r, seen, r.BehindHead())
	}
	return j.over(r, seen, Sum(headStart(r.Ahead(len(r.Waiters))), 2*Grace))
}

// Collectable reports whether the object of r may be deleted because it has been
// free for its objectExpiry since its last transition, and if not, for how long it
// cannot be without a change of r. ok is false for a record that is not to be
// collected as it is: held, queued for, being deleted already, or kept without end; or with
// a fencing token above its version, as a lock from another cluster may have, whose tokens a
// deletion would lower.
func (j Judge) Collectable(r Record, seen Observation) (due bool, wait time.Duration, ok bool) {
	if r.Holder != nil || len(r.Waiters) > 0 || r.ObjectExpiry <= 0 || r.Terminating || r.tokensAhead() {
		return false, 0, false
	}
	wait = r.ObjectExpiry - j.Now.Sub(seen.Since)
	last := r.LastTransition()
	if by, known := j.until(last.Time.Add(r.ObjectExpiry), last.Source); known {
		wait = min(wait, by)
	}
	return wait <= 0, max(wait, 0), true
}

// Compares reports whether times from that source are compared with the server's. Of
// what happened at another time only observation tells how long ago it was.
func (j Judge) Compares(source Source) bool {
	return source == Server && !j.ServerTime.IsZero() && j.MaxClockSkew >= 0
}

// until is how long it takes at least until the server's time is past t by more
// than the skew between servers; 0 if it is. ok is false when t or the server's time
// is unknown.
func (j Judge) until(t time.Time, source Source) (wait time.Duration, ok bool) {
	if !j.Compares(source) {
		return 0, false
	}
	t = t.Add(j.MaxClockSkew)
	if j.ServerTime.After(t) {
		return 0, true
	}
	return max(t.Sub(j.ServerTime), 1), true // At least a nanosecond: they may be equal.
}
