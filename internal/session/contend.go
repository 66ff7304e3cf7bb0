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
	// The caller has the place of the one before. But what is stored under a lock ID tells that one caller has applied its change.
	if s.tenure.lockID != "" && !s.tenure.withdrawn && !s.tenure.applied() {
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
	case v == again && own != nil && own.applies:
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
