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
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// acquisition is how far the first caller has come.
type acquisition struct {
	effort

	caller int // whose turn it is; 0: its turn has not begun
	// cached is set while the view is from before the caller's turn, and may be old.
	cached bool
	// listens is set once the caller relies on a watch.
	listens bool
	// removing is the UID of an object that is being deleted, as the caller wants it.
	removing string
	// altered is set when what was stored is not what was written: the tenure is not to be used.
	altered bool
	// deleted is set when the object was deleted in which the caller's change may have been stored.
	deleted bool
	join    joinBackOff
	// tooLate is the last look that showed a lease which ends too soon.
	tooLate int
	// firstSince is since when the caller is known to be the first in the queue for a lock that is
	// held; zero: it is not.
	headSince time.Time
	// firstLook is up to when at most the caller relies on what it knew when it came, where
	// that is longer than a lease: not all that came at once shall look at once.
	firstReread time.Time
}

// beginTurn begins the turn of the first caller.
func (s *Session) beginTurn(c *caller) {
	before := s.acquisition
	s.acquisition = acquisition{
		effort: effort{Tries: Tries{Usual: s.usual}, end: c.want.Until, after: before.after}, caller: c.id,
		listens: before.listens, headSince: before.headSince, firstReread: before.firstReread,
	}
	if s.tenure.lockID != "" && !s.tenure.withdrawn { // The caller has the place of the one before.
		s.acquisition.cached = s.view.known
		if s.tenure.outcomeUnknown() || c.want.Try {
			s.acquisition.after = s.lastID
		}
		return
	}
	s.tenure = s.newTenure(c.want.Duration)
	r := s.view.record
	useful := s.view.afterRelease && (r.Holder == nil || !c.want.Try && s.now.Sub(s.view.at) < trustHeldFor)
	s.view.afterRelease = false
	if useful && s.server.Fresh(s.now) {
		s.acquisition.cached = true
		return
	}
	s.acquisition.after = max(s.acquisition.after, s.lastID)
}

// contend does the next thing that brings the first caller closer to the lock.
func (s *Session) contend() (again bool) { //nolint:gocyclo // One switch over how the lock stands.
	c := &s.callers[0]
	if s.acquisition.caller != c.id {
		s.beginTurn(c)
	}
	s.tenure.duration = c.want.Duration
	if !s.looked(&s.acquisition.effort, contending, c.id) {
		return false
	}
	switch st, final := s.wasStale(&s.acquisition.effort); {
	case final:
		s.fail(0, &Failure{Err: st.refusal})
		return true
	case st != nil && !s.view.record.SameVersion(st.from) && st.from.Exists() && !st.cached:
		s.acquisition.join.noteRefusal(st.took) // A client that created the lock too late, or knew an old version, has not lost a race yet.
	}
	r := s.view.record
	if c.want.Remove && s.removed() {
		s.planHandOverCheckOf(s.tenure.lockID)
		s.fail(0, &Failure{Removed: true})
		return true
	}
	if c.want.Apply && s.resolveApply(c) {
		return true
	}
	s.renewLockID()
	switch {
	case r.Terminating && c.want.Try:
		s.fail(0, &Failure{Refused: true})
		return true
	case r.Terminating:
		if c.want.Remove {
			s.acquisition.removing = r.UID
		}
		return s.readAt(s.view.at.Add(minute))
	case c.want.Remove && s.heldByClaim() && !r.Contended(s.cfg.Client):
		return s.removeObject()
	case c.want.Remove && s.heldByClaim():
		return s.removeState()
	case s.heldByClaim():
		return s.confirmHold(c)
	case s.heldByClient():
		return s.endStaleHold(c)
	}
	return s.takeOrQueue(c)
}

// ready reports whether the acquisition may send a request now.
func (s *Session) ready() bool { return s.due(s.acquisition.next) }

// readAt waits for what the watch shows, and reads the lock when t has come.
func (s *Session) readAt(t time.Time) (again bool) {
	s.acquisition.listens = true
	if s.due(t) && s.ready() {
		s.send(s.read(contending, s.acquisition.caller))
	}
	return false
}

// removed reports whether the lock is deleted that the caller wants to delete.
func (s *Session) removed() bool {
	r := s.view.record
	last := r.LastRelease
	return !r.Exists() && !s.acquisition.cached || s.acquisition.removing != "" && r.UID != s.acquisition.removing ||
		last != nil && last.LockID == s.tenure.lockID && s.tenure.endedAt(last.Time) != nil
}

// renewLockID gives the claim another lock ID if a hold of this one has ended, or another
// client's has it: each hold has its own. Nothing that was written under the old one counts
// any more.
func (s *Session) renewLockID() {
	r := s.view.record
	last := r.LastRelease
	used := last != nil && last.LockID == s.tenure.lockID || r.HeldBy(s.tenure.lockID, 0)
	if used && (!s.heldByClaim() || r.Terminating) {
		s.tenure = s.newTenure(s.tenure.duration)
	}
}

// overtakes reports whether others queue for the lock, whom a caller that does not queue
// would overtake if it used the place that was kept for one that does.
func (s *Session) overtakes(c *caller) bool {
	return c.want.Try && s.view.record.Contended(s.cfg.Client)
}

// takeOrQueue takes the lock if it is available, and otherwise queues for it, or waits in the queue.
func (s *Session) takeOrQueue(c *caller) (again bool) {
	r, place := s.view.record, s.place()
	if c.want.Remove && r.Resting() && !r.Contended(s.cfg.Client) { // No client believes in that.
		return s.removeObject()
	}
	if s.overtakes(c) {
		place = len(r.Waiters)
	}
	available, at := s.available(place)
	switch {
	case s.request != nil: // It asks for the server's time.
		return false
	case available && s.lostRace(c, place):
		return s.enqueue()
	case available && c.want.Remove && r.Holder == nil && len(r.Waiters) <= place+1:
		return s.removeObject()
	case available: // To delete the lock of a dead holder, too: a deletion does not say that its lease is over.
		return s.takeLock(c, place)
	case c.want.Try:
		s.fail(0, &Failure{Refused: true})
		return true
	case place < len(r.Waiters):
	case place < protocol.MaxWaiters:
		return s.enqueue()
	default:
		at = earlier(at, after(s.view.at, fullQueueWait+time.Duration(s.view.random*float64(fullQueueWait)/2)))
	}
	return s.wait(place, at)
}

// acceptable asks the caller whether it can use the state, before it has the lock. It returns
// true if it can.
func (s *Session) acceptable(c *caller) (ok, again bool) {
	value := s.view.record.Value
	switch {
	case c.want.Remove:
		return true, false
	case c.checking:
		return false, false
	case !c.checks || !sameText(c.value, value) || c.want.Apply && !c.of.SameVersion(s.view.record):
		c.checking, c.checks, c.value, c.of = true, false, value, version(s.view.record)
		s.emit(Effect{Kind: Check, Caller: c.id, Value: value})
		return false, false
	case c.bad == nil:
		return true, false
	case s.acquisition.cached: // The state may be another by now.
		s.acquisition.after = s.lastID
		return false, true
	}
	s.fail(0, &Failure{Err: c.bad})
	return false, true
}

// sendClaim sends a write that takes or deletes the lock.
func (s *Session) sendClaim(r *Request, stamp protocol.Stamp) (again bool) {
	r.From, r.Timeout = s.view.record, s.acquisition.Limit(max(s.tenure.duration, time.Second))
	r.job, r.caller, r.cached = contending, s.acquisition.caller, s.acquisition.cached
	a := attempt{stamp: stamp.Time, takes: true, base: r.From.ResourceVersion}
	if r.Kind == Amend && !r.applies {
		a.amends, a.base = true, holderOf(r.From)
	}
	s.sendAttempt(&s.tenure, r, a)
	return false
}

// takeLock writes the claim into the lock, which is available.
func (s *Session) takeLock(c *caller, place int) (again bool) {
	if ok, again := s.acceptable(c); !ok || !s.ready() {
		return again
	}
	if r := s.view.record; c.want.Apply && r.Holder == nil && len(r.Waiters) == 0 {
		return s.applyFree(c)
	}
	r, stamp := s.view.record, s.stamp(s.tenure.attempts)
	drop := min(place+1, len(r.Waiters)) // All that come first have had their chance.
	next, err := protocol.Take(r, s.claim(&s.tenure), drop, stamp)
	if err != nil {
		s.fail(0, &Failure{Err: err})
		return true
	}
	if !r.Exists() {
		next.Name, next.Key = s.cfg.Object, s.cfg.Key
	}
	return s.sendClaim(&Request{Kind: Write, To: next}, stamp)
}

// endStaleHold ends a dead hold of this client: the lock goes to the first waiter of another,
// and the claim joins the queue; if there is no such waiter, the claim has the lock. The caller
// has the client's turn: whatever became of such a hold, nothing here believes in it any more.
func (s *Session) endStaleHold(c *caller) (again bool) {
	if ok, again := s.acceptable(c); !ok || !s.ready() {
		return again
	}
	claim := s.claim(&s.tenure)
	successor := &claim
	if c.want.Try && len(s.view.record.Waiters) > 0 {
		successor = nil // It would queue.
	}
	stamp := s.stamp(s.tenure.attempts)
	next, err := protocol.Expire(s.view.record, successor, stamp)
	if err != nil {
		s.fail(0, &Failure{Err: err})
		return true
	}
	return s.sendClaim(&Request{Kind: Amend, To: next}, stamp)
}

// confirmHold gives the caller the lock, which its claim holds. If too little is left of its lease, or
// others may take it for ended too early, it is renewed first: nothing believes in it yet.
func (s *Session) confirmHold(c *caller) (again bool) {
	if ok, again := s.acceptable(c); !ok {
		return again
	}
	r := s.view.record
	h := r.Holder
	sent, exact := s.sentFor(h)
	token := h.Token
	if token == 0 {
		var err error
		if token, err = protocol.CreatedToken(r); err != nil {
			s.fail(0, &Failure{Err: err})
			return true
		}
	}
	switch {
	case c.want.Apply:
		s.applyHeld(c, token)
		return true
	case !exact && s.overtakes(c):
		s.fail(0, &Failure{Refused: true})
		return true
	}
	s.tenure.granted = s.tenure.granted || !exact
	lease := min(h.Duration, s.tenure.duration)
	deadline := sent.Add(lease)
	needed := h.Duration / 2 // Less could end while a slow API server takes the release in.
	if exact {
		needed = 0
	}
	left := deadline.Sub(s.now)
	if left > needed && s.coversForOthers(h, sent, exact) {
		s.grant(c, token, deadline, lease)
		return true
	}
	if exact && c.want.Try && left <= 0 {
		s.fail(0, &Failure{Refused: true, TooLate: true})
		return true
	}
	if exact && s.acquisition.tooLate != s.view.looked { // The next answer may come in time.
		s.acquisition.tooLate = s.view.looked
		s.acquisition.Pause(s.now, s.acquisition.end, s.random)
	}
	if !s.ready() {
		return false
	}
	stamp := s.stamp(s.tenure.attempts)
	next, err := protocol.Renew(r, s.claim(&s.tenure), token, protocol.Change{}, stamp)
	if err != nil {
		s.fail(0, &Failure{Err: err})
		return true
	}
	stamp.Time = next.Holder.RenewTime
	return s.sendClaim(&Request{Kind: Amend, To: next}, stamp)
}

// removeObject deletes the object as it was last seen, which no other client holds or
// queues for. The deletion is conditioned on that version, so it needs no hold.
func (s *Session) removeObject() (again bool) {
	if !s.ready() {
		return false
	}
	if !s.acquisition.cached {
		s.acquisition.removing = s.view.record.UID
	}
	return s.sendClaim(&Request{Kind: Delete}, s.stamp(s.tenure.attempts))
}

// removeState hands the lock that was granted to this claim over to the next waiter, without state.
func (s *Session) removeState() (again bool) {
	if !s.ready() {
		return false
	}
	r, stamp := s.view.record, s.stamp(s.tenure.attempts)
	next, err := protocol.Release(r, s.claim(&s.tenure), r.Holder.Token, protocol.Change{Write: true}, nil, stamp)
	if err != nil {
		s.fail(0, &Failure{Err: err})
		return true
	}
	again = s.sendClaim(&Request{Kind: Amend, To: next}, stamp)
	s.tenure.attempts[len(s.tenure.attempts)-1].ends = true
	return again
}

// acquisitionAnswered takes in the answer to a request of the acquisition.
func (s *Session) acquisitionAnswered(req *Request, a Answered, before protocol.Record) { //nolint:gocyclo // One case for each verdict.
	f, current := &s.acquisition.effort, s.state == Contending && s.acquisition.caller == req.caller
	if !current { // The caller has gone. What is known of the write remains.
		f = &effort{}
	}
	v := s.answered(f, req, a)
	if v == done || v == altered {
		s.acquisition.cached = false
		s.tenure.closeOutdated(s.view.record)
	}
	switch own := s.tenure.of(req.ID); {
	case v == done && req.Kind == Read:
		s.acquisition.join.noteRead(s.now.Sub(req.Sent), before, s.view.record)
		if !s.heldByClaim() {
			s.seenWithout, s.seenWithoutUpper = req.Sent, req.upper
		}
	case v == again && own != nil && own.caller != 0:
		own.stale = a.Outcome == protocol.Stale
	case (v == done || v == altered) && own != nil && own.takes:
		for i := range s.tenure.attempts {
			s.tenure.attempts[i].open = false
		}
	}
	switch {
	case !current:
		s.acquisition.after = max(s.acquisition.after, f.after)
	case v == done && req.applies:
		s.appliedFree(a.Record)
	case v == altered && req.applies: // The hold has ended with it.
		s.applied(&Result{Kind: Failed, Err: a.Err, Altered: true})
	case v == altered:
		s.acquisition.altered = true
		s.fail(0, &Failure{Err: a.Err})
	case v == refused && a.QueueFull:
		f.Pause(s.now, f.end, s.random)
		f.after = s.lastID
	case v == refused, v == again && req.Kind == Read && s.callers[0].want.Try && !s.tenure.outcomeUnknown(): // Nothing to learn that would be worth a wait.
		s.fail(0, &Failure{Err: a.Err})
	}
}

func sameText(a, b *string) bool {
	return a == b || a != nil && b != nil && *a == *b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
