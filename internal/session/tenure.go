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

package session

import (
	"slices"
	"strconv"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// attempt is a write that was sent under a lock ID. Together with that, its stamp tells it from
// every other.
type attempt struct {
	request int
	stamp   time.Time
	sent    time.Time // before it was sent: deadlines count from here
	base    string    // the version, or the holder, that it is conditioned on; "" if there was none
	amends  bool      // base is a holder
	takes   bool      // it begins, renews or deletes the hold
	open    bool      // it may be committed still, or be already
	op      int       // the save or renewal that it does; 0 for none
	stale   bool      // the answer was that the object is not as it was

	// Of one that applies the caller's change, in a hold that begins and ends with it:
	applies bool
	token   int64           // of that hold
	before  protocol.Record // of the lock before it: the object's UID, how the hold before had ended, and the state

	// Of a release:
	ends    bool
	late    bool  // it was sent without state: after the deadline, or in an object that was being deleted
	leftOut error // why it was sent without the state; nil: it was not
	rests   bool  // the lock rests after it
}

// tenure is the life of one lock ID: asked for, held, given back.
type tenure struct {
	lockID   string
	duration time.Duration
	// first is when the first write was sent that may lead to the hold, queue entries included;
	// zero: none was.
	first    time.Time
	attempts []attempt
	// granted is set when another client, or the reaper, has granted it the lock.
	granted bool
	// withdrawn is set once a write was sent that gives back what the tenure has: it may be done
	// late, so no hold begins with the tenure any more.
	withdrawn bool
	// expected is set if no caller wants it, but one is likely to come soon.
	expected bool
}

// written reports whether something of the tenure is, or may be, in the object.
func (t *tenure) written() bool { return !t.first.IsZero() }

// outcomeUnknown reports whether a write may be committed still that takes or deletes the lock.
func (t *tenure) outcomeUnknown() bool {
	return slices.ContainsFunc(t.attempts, func(a attempt) bool { return a.open && a.takes })
}

// applied reports whether a write may have been committed, or may be still, that applies a change.
func (t *tenure) applied() bool {
	return slices.ContainsFunc(t.attempts, func(a attempt) bool { return a.open && a.applies })
}

// foldApplied forgets all writes that apply a change but the last one, and one before that may have been committed: those on the
// same version tell the same.
func (t *tenure) foldApplied() {
	last, earlier := t.attempts[len(t.attempts)-1].request, false
	t.attempts = slices.DeleteFunc(t.attempts, func(a attempt) bool {
		superfluous := a.applies && a.request != last && (!a.open || earlier)
		earlier = earlier || a.applies && a.open
		return superfluous
	})
}

// of is the attempt that a request made; nil if it made none.
func (t *tenure) of(request int) *attempt {
	for i := range t.attempts {
		if t.attempts[i].request == request {
			return &t.attempts[i]
		}
	}
	return nil
}

// closed notes that the attempt of a request cannot be committed any more.
func (t *tenure) closed(request int) {
	if a := t.of(request); a != nil {
		a.open = false
	}
}

// closeOutdated closes the attempts that cannot be committed any more, now that a look has shown
// r: what was conditioned on another version, or on another holder. But where there was no object,
// there may be none again.
func (t *tenure) closeOutdated(r protocol.Record) {
	holder := holderOf(r)
	for i := range t.attempts {
		a, base := &t.attempts[i], r.ResourceVersion
		if a.amends {
			base = holder
		}
		if a.open && a.base != "" && a.base != base && !a.applies { // Whether it was done is decided elsewhere.
			a.open = false
		}
	}
}

// holderOf tells r's holder, and when it has last renewed its lease, from all others.
func holderOf(r protocol.Record) string {
	if r.Holder == nil {
		return r.UID + " free"
	}
	return r.UID + " " + r.Holder.LockID + " " + strconv.FormatInt(r.Holder.RenewTime.UnixNano(), 36)
}

// endedAt is the attempt to end the tenure that wrote that time; nil if there is none.
func (t *tenure) endedAt(at time.Time) *attempt {
	for i := range t.attempts {
		if a := &t.attempts[i]; a.ends && a.stamp.Equal(at) {
			return a
		}
	}
	return nil
}

func (s *Session) newTenure(d time.Duration) tenure {
	s.ids++
	return tenure{lockID: protocol.LockID(s.cfg.Client, s.number<<idBits|uint64(s.ids)), duration: d} //nolint:gosec // An event begins three at most.
}

// claim is what is written of a tenure.
func (s *Session) claim(t *tenure) protocol.Claim {
	return protocol.Claim{
		Identity:     s.cfg.Identity,
		Pod:          s.cfg.Pod,
		Client:       s.cfg.Client,
		LockID:       t.lockID,
		Duration:     t.duration,
		ObjectExpiry: s.cfg.ObjectExpiry,
	}
}

// stamp is the time to write: another than in each attempt before.
func (s *Session) stamp(attempts []attempt) protocol.Stamp {
	stamp := s.server.Stamp(s.now)
	for slices.ContainsFunc(attempts, func(a attempt) bool { return a.stamp.Equal(stamp.Time) }) {
		stamp.Time = stamp.Time.Add(time.Microsecond)
	}
	return stamp
}

// place is where the claim stands in the queue; the queue's length if it does not.
func (s *Session) place() int {
	return s.view.record.Place(func(lockID string) bool { return lockID == s.tenure.lockID })
}

// strayEntry is where any entry of this client stands in the queue: the network may have delivered one
// twice, or late.
func (s *Session) strayEntry() int {
	return s.view.record.Place(func(lockID string) bool { return protocol.Waiter{LockID: lockID}.Client() == s.cfg.Client })
}

// heldByClaim reports whether the lock is held by the claim. Lock IDs can be read and guessed;
// where the API server checks who writes an identity, no other client has this one.
func (s *Session) heldByClaim() bool {
	r := s.view.record
	return s.tenure.lockID != "" && r.HeldBy(s.tenure.lockID, 0) && r.Holder.Identity == s.cfg.Identity
}

// heldByClient reports whether the lock is held by this client, by whichever lock ID.
func (s *Session) heldByClient() bool {
	h := s.view.record.Holder
	return h != nil && h.Client == s.cfg.Client && h.Identity == s.cfg.Identity
}

// notBefore is before whatever has granted the lock to the claim.
func (s *Session) notBefore() time.Time {
	if s.seenWithout.After(s.tenure.first) {
		return s.seenWithout
	}
	return s.tenure.first
}

// sentFor finds when the attempt was sent that made the lock what it is. Where that is not
// known, or another client has granted the lock to this one, it is before whatever
// may have led to it, so that the deadline is never too late.
func (s *Session) sentFor(h *protocol.Holder) (sent time.Time, exact bool) {
	for _, a := range s.tenure.attempts {
		if a.takes && a.stamp.Equal(h.RenewTime) {
			return a.sent, true
		}
	}
	return s.grantedFrom(h), false
}

// grantedFrom is from when a lease counts that another client has begun for the claim. A write
// may be under way for long: the read that has shown the lock without it may be later than
// its stamp, from which others count. A stamp by a node's clock is none to count from: of
// that, others count from when they have seen it, which is later than the read.
func (s *Session) grantedFrom(h *protocol.Holder) time.Time {
	from := s.notBefore()
	if h.Source != protocol.Server {
		return from
	}
	if s.seenWithoutUpper.IsZero() {
		return s.tenure.first
	}
	if late := s.seenWithoutUpper.Sub(h.RenewTime); late > 0 {
		from = from.Add(-late)
	}
	if from.Before(s.tenure.first) { // Whichever client gives the lock has seen the claim before it takes the time.
		return s.tenure.first
	}
	return from
}

// coversForOthers reports whether the hold h lasts for others, too, until its holder gives it up,
// which counts its lease from from. Of the holder's own writes, which exact says that this is
// of, that is when it was sent. Of a grant, from is as early as it has
// to be by the stamp already.
func (s *Session) coversForOthers(h *protocol.Holder, from time.Time, exact bool) bool {
	if exact || h.Source != protocol.Server {
		return s.server.Covers(protocol.Stamp{Time: h.RenewTime, Source: h.Source}, from)
	}
	lower, _, ok := s.server.ToldBounds(s.now)
	return ok && !lower.Add(from.Sub(s.now)).After(h.RenewTime)
}
