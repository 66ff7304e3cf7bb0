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
	"errors"
	"slices"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// Ending is a release: of a hold that has ended for its caller, until it is known what became of
// it. One that is not resolved is handed to the caller, who may go on with it later.
type Ending struct {
	caller int
	uid    string
	token  int64
	// tenure is that of the hold, with all attempts to renew and to end it.
	tenure     tenure
	change     protocol.Change
	deadline   time.Time
	rest       time.Time // until when the lock shall rest after it; zero: not at all
	before     *protocol.LastRelease
	lost       bool // the hold had ended before it was released: no state is written
	applies    bool // no caller has believed in the hold: the release applies its change
	deleted    bool // an earlier write may have stored that change, and the object was deleted since
	blocksNext bool // the client's next caller waits for it
	ops        []int

	leftOut error // why the state is left out
	begun   bool

	effort
}

func (e *Ending) clone() *Ending {
	c := *e
	c.tenure.attempts = slices.Clone(e.tenure.attempts)
	c.ops = slices.Clone(e.ops)
	return &c
}

// endingOf is the release of that caller's hold that is not done yet; nil if there is none.
func (s *Session) endingOf(caller int) *Ending {
	for _, e := range s.endings {
		if e.caller == caller {
			return e
		}
	}
	return nil
}

// sent reports whether a release was sent.
func (e *Ending) sent() bool {
	return slices.ContainsFunc(e.tenure.attempts, func(a attempt) bool { return a.ends })
}

// outcomeUnknown reports whether a release may have been committed.
func (e *Ending) outcomeUnknown() bool {
	return slices.ContainsFunc(e.tenure.attempts, func(a attempt) bool { return a.ends && a.open })
}

// release ends a hold for its caller. What was written of it is taken back, whether the caller
// waits for that or not.
func (s *Session) release(e Event) {
	if s.state == Holding && s.hold.Caller == e.Caller {
		h := s.hold
		s.endOps(Result{Kind: NotHeld})
		s.dropRead()
		s.state, s.hold = Releasing, Hold{}
		s.ended = endedOf(&h)
		s.endings = append(s.endings, &Ending{
			caller: h.Caller, uid: h.UID, token: h.Token, tenure: s.tenure, change: e.Change, deadline: h.Deadline, rest: h.rest(),
			before: h.before, blocksNext: true, ops: []int{e.Op}, effort: effort{Tries: Tries{Usual: s.usual}},
		})
		s.tenure, s.next = tenure{}, tenure{}
		return
	}
	if other := s.endingOf(e.Caller); other != nil {
		other.ops = append(other.ops, e.Op)
		return
	}
	if e.Ending == nil { // It was lost, and so nothing is written.
		s.releaseLost(e)
		return
	}
	again := e.Ending.clone()
	again.ops, again.blocksNext, again.begun = []int{e.Op}, false, false
	again.effort, again.leftOut = effort{Tries: Tries{Usual: s.usual}}, nil
	if again.sent() {
		again.after = s.lastID
	} else {
		again.change = e.Change
	}
	s.endings = append(s.endings, again)
}

// releaseLost ends the call of a holder that has lost its hold. If the lock shows that hold still, it
// is freed, without state.
func (s *Session) releaseLost(e Event) {
	r, lost := s.view.record, s.ended
	result := &Result{Kind: Lost}
	if lost.caller == e.Caller && r.UID == lost.uid && r.Terminating {
		result.Terminating = &r
	}
	if lost.caller != e.Caller || r.UID != lost.uid || !r.HeldBy(lost.lockID, lost.token) || s.closed {
		s.done(e.Op, result)
		return
	}
	s.endings = append(s.endings, &Ending{
		caller: e.Caller, ops: []int{e.Op}, uid: lost.uid, token: lost.token, tenure: tenure{lockID: lost.lockID, duration: lost.duration},
		deadline: s.now, lost: true, effort: effort{Tries: Tries{Usual: s.usual}},
	})
}

// end does the next thing that is due for a release. The lock is held by its hold, as far as is known.
func (s *Session) end(e *Ending) (again bool) {
	if s.stopped {
		s.unresolved(e, nil)
		return true
	}
	if e.blocksNext {
		s.extendEnding(e)
	}
	left := e.deadline.Sub(s.now)
	if !e.begun {
		e.begun = true
		e.end = later(e.deadline, s.now.Add(FirstRequest))
		if !s.server.Fresh(s.now) && left > 0 && s.view.fresh(e.after) { // For the stamp.
			r := s.read(releasing, e.caller)
			r.Timeout = min(left/readsPerHold, FirstRequest)
			s.send(r)
			return false
		}
	}
	if e.applies { // The call waits until its change is stored, or cannot be any more.
		e.end = later(e.end, s.now.Add(FirstRequest))
	}
	if s.due(e.end) {
		s.unresolved(e, nil)
		return true
	}
	if !s.due(e.next) || !s.looked(&e.effort, releasing, e.caller) {
		return false
	}
	if st, final := s.wasStale(&e.effort); final {
		s.refusedEnding(e, st.request, st.refusal, true)
		return true
	}
	if !s.due(e.next) || !s.view.record.HeldBy(e.tenure.lockID, e.token) {
		return false
	}
	return s.sendRelease(e)
}

// extendEnding takes in a renewal that was under way when the hold was released: the release has
// that much longer, too.
func (s *Session) extendEnding(e *Ending) {
	h := s.view.record.Holder
	for i := range e.tenure.attempts {
		a := &e.tenure.attempts[i]
		if h == nil || !a.open || !a.takes || a.ends || !a.stamp.Equal(h.RenewTime) || !s.coversForOthers(h, a.sent, true) {
			continue
		}
		a.open = false
		if deadline := a.sent.Add(min(h.Duration, e.tenure.duration)); s.now.Before(e.deadline) {
			e.deadline = later(e.deadline, deadline)
		}
	}
}

// sendRelease sends one attempt to release.
func (s *Session) sendRelease(e *Ending) (again bool) {
	r, stamp := s.view.record, s.stamp(e.tenure.attempts)
	late := e.lost || !e.applies && !e.deadline.After(s.now) || r.Terminating
	claim, change := s.claim(&e.tenure), e.change.Unless(late || e.leftOut != nil)
	rest := e.rest.Sub(s.now)
	rests := rest > 0 && !late
	var next protocol.Record
	var successor *protocol.Claim
	var err error
	if rests { // A waiter of this client joins the queue by a write of its own: this one must not fail because that is full.
		next, err = protocol.Rest(r, claim, e.token, change, rest, stamp)
	} else {
		successor = s.succession(e)
		next, err = protocol.Release(r, claim, e.token, change, successor, stamp)
	}
	if err != nil {
		s.unresolved(e, err)
		return true
	}
	req := &Request{Kind: Amend, From: r, To: next, Timeout: e.Timeout(e.end.Sub(s.now)), job: releasing, caller: e.caller}
	s.sendAttempt(&e.tenure, req, attempt{
		stamp: stamp.Time, ends: true, late: late, leftOut: e.leftOut, rests: rests, amends: true, base: holderOf(r),
	})
	if successor != nil {
		if s.next.first.IsZero() {
			s.next.first = s.now
		}
		s.next.attempts = append(s.next.attempts, attempt{
			request: req.ID, stamp: stamp.Time, sent: s.now, takes: true, open: true, amends: true, base: holderOf(r),
		})
	}
	return false
}

// succession is what the release gives to this client's next caller, if there is
// one: the lock, or a place in the queue. A caller that is only expected to come is given
// a place behind others, and never the lock.
func (s *Session) succession(e *Ending) *protocol.Claim {
	r := s.view.record
	if !e.blocksNext || r.Terminating {
		return nil
	}
	contended := r.Contended(s.cfg.Client)
	if s.next.lockID == "" {
		duration, expected := e.tenure.duration, len(s.callers) == 0
		if expected {
			full := len(r.Waiters) >= protocol.MaxWaiters // Others may wait for room.
			if full || !contended || s.closed || !s.returnPattern.expects(len(r.Waiters)) {
				return nil
			}
		} else {
			duration = s.callers[0].want.Duration
		}
		s.next = s.newTenure(duration)
		s.next.expected = expected
	}
	if s.next.expected && !contended {
		return nil
	}
	claim := s.claim(&s.next)
	return &claim
}

// endAnswered takes in the answer to a request of a release.
func (s *Session) endAnswered(req *Request, a Answered) {
	e := s.endingOf(req.caller)
	if e == nil {
		return
	}
	s.next.closeOutdated(s.view.record)
	v := s.answered(&e.effort, req, a)
	if e.lost && v != done { // It is known that nothing is written. The lock is freed without its caller.
		for _, op := range e.ops {
			s.done(op, &Result{Kind: Lost})
		}
		e.ops = nil
	}
	if req.Kind == Read {
		switch {
		case v == done:
		case s.view.fresh(e.after): // It was for the stamp, and is not needed.
			e.Tries = Tries{Usual: s.usual}
		case v == refused:
			s.unresolved(e, a.Err)
		}
		return
	}
	if v == done || v == altered { // A watch may have shown a later version, in which others have had the lock.
		s.view.afterRelease = s.next.lockID == "" && s.view.record.SameVersion(a.Record)
	}
	switch {
	case v == done:
		if result := s.outcomeIn(e, a.Record); result != nil {
			s.finish(e, result)
			return
		}
		e.Pause(s.now, e.end, s.random)
	case v == altered && a.Record.HeldBy(e.tenure.lockID, e.token):
		s.unresolved(e, a.Err)
	case v == altered:
		s.finish(e, &Result{Kind: Failed, Err: a.Err, Altered: true})
	case v == refused:
		s.refusedEnding(e, req.ID, a.Err, a.Reply.Outcome != protocol.Denied)
	case e.stale != nil && e.stale.request == req.ID:
		e.tenure.of(req.ID).stale = true
	}
}

// refusedEnding goes on after the attempt of that request was refused for good. What is refused with the
// state is tried without. A program without access would be refused without it, too.
func (s *Session) refusedEnding(e *Ending, request int, refusal error, hasAccess bool) {
	last := e.tenure.of(request)
	if !hasAccess || !e.change.Write || last == nil || last.late || last.leftOut != nil || e.leftOut != nil {
		s.unresolved(e, joined(refusal, e.leftOut))
		return
	}
	e.leftOut = refusal
}

func joined(first, second error) error {
	if second == nil {
		return first
	}
	return errors.Join(first, second)
}
