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
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// Step takes one event in and returns what shall be done, in that order.
func (s *Session) Step(e Event) []Effect { //nolint:gocyclo // One case for each kind of event.
	s.now, s.server, s.number, s.ids, s.random = e.Now, e.Server, e.Number, 0, e.Random
	s.out = nil
	s.expire() // First: a hold whose deadline has passed is over, whatever has come.
	switch e.Kind {
	case Tick:
	case Arrive:
		s.arrive(e.Caller, e.Want)
	case GiveUp:
		s.giveUp(e.Caller)
	case Checked:
		s.checked(e)
	case Retract:
		s.retract(e.Caller, e.Op)
	case Update:
		s.update(e.Caller, op{id: e.Op, change: e.Change, asked: true})
	case KeepAlive:
		s.keepAlive(e.Caller)
	case Release:
		s.release(e)
	case Abandon:
		s.abandon(e.Op)
	case Answer:
		s.answer(e.Answered)
	case Shown:
		s.learnFromWatch(e.Record)
	case Missed:
		if s.state == Contending {
			s.acquisition.after = s.lastID
		}
	case Vanished:
		if s.state == Holding && e.Record.HeldBy(s.tenure.lockID, s.hold.Token) {
			s.hold.suspect, s.hold.suspected = true, s.lastID
		}
	case WatchLost:
		if s.state == Contending {
			s.fail(0, &Failure{Err: e.Err})
		}
	case Close:
		s.close()
	case End:
		s.stopped = true
	}
	for again := true; again; {
		s.wake = never
		again = s.decide()
	}
	return s.out
}

func (s *Session) emit(e Effect) { s.out = append(s.out, e) }

// by says that the session wants to decide anew at t, if nothing happens before.
func (s *Session) by(t time.Time) {
	if t.Before(s.wake) {
		s.wake = t
	}
}

// due reports whether t has come, and if not wakes the session up then.
func (s *Session) due(t time.Time) bool {
	if !s.now.Before(t) {
		return true
	}
	s.by(t)
	return false
}

// send sends a request, and notes what it needs to know when it is answered.
func (s *Session) send(r *Request) {
	s.lastID++
	r.ID, r.Sent, r.Closing = s.lastID, s.now, r.job == releasing || r.job == leaving
	_, r.upper, _ = s.server.ToldBounds(s.now) // A wrong hint would let a grant count from too late.
	s.request = r
	s.emit(Effect{Kind: Send, Request: r})
}

// sendAttempt sends a write that may begin, renew or end what the tenure t is for.
func (s *Session) sendAttempt(t *tenure, r *Request, a attempt) {
	s.send(r)
	if t.first.IsZero() {
		t.first = s.now
	}
	a.request, a.sent, a.open = r.ID, s.now, true
	if len(t.attempts) >= maxAttempts && !a.ends {
		t.attempts = slices.Delete(t.attempts, 0, 1)
	}
	t.attempts = append(t.attempts, a)
}

// drop gives up the request under way, if it is a read: there is something more urgent.
func (s *Session) dropRead() {
	if s.request != nil && (s.request.Kind == Read || s.request.Kind == Ask) {
		s.emit(Effect{Kind: Cancel, Request: s.request})
		s.request = nil
	}
}

// expire loses a hold whose deadline has passed, and does not expect a caller any more that has
// not come.
func (s *Session) expire() {
	if s.state == Holding && !s.now.Before(s.hold.Deadline) {
		s.lose(nil)
	}
	if s.state == Expecting && !s.now.Before(s.callers[0].until) {
		s.stopExpecting()
	}
}

// close ends what a closed client does not do any more. Its callers have given up.
func (s *Session) close() {
	s.closed = true
	s.handOverCheck = handOverCheck{}
	s.hold.renewAt = time.Time{}
	for i := range s.hold.ops {
		o := &s.hold.ops[i]
		o.left = o.left || o.id == 0
	}
	if s.state == Expecting {
		s.stopExpecting()
	}
}

// decide does the next thing that is due, and reports whether there may be another.
func (s *Session) decide() (again bool) { //nolint:gocyclo // One case for each state.
	if s.resolve() {
		return true
	}
	switch s.state {
	case Holding:
		s.by(s.hold.Deadline)
	case Expecting:
		s.by(s.callers[0].until)
	case Idle, Contending, Releasing, Leaving:
	}
	if s.state == Holding && s.request != nil && s.request.job != renewing && s.writes() {
		s.dropRead() // The holder's own request tells as much.
	}
	if s.request != nil { // One at a time.
		return false
	}
	switch s.state {
	case Holding:
		again = s.maintain()
	case Contending:
		again = s.contend()
	case Leaving:
		again = s.withdraw()
	case Idle:
		if s.present() {
			s.beginLeave()
			return true
		}
	case Releasing, Expecting:
	}
	for _, e := range s.endings {
		if again || s.request != nil {
			return again
		}
		again = s.end(e)
	}
	if !again && s.request == nil {
		s.checkHandOver()
	}
	return again
}

// resolve takes in what the view says of what was sent, without a further request.
func (s *Session) resolve() (again bool) {
	for _, e := range s.endings {
		if result := s.outcome(e); result != nil {
			s.finish(e, result)
			return true
		}
	}
	return s.state == Holding && s.resolveHold()
}

// answer takes in how the request under way ended.
func (s *Session) answer(a Answered) {
	req := s.request
	if req == nil || req.ID != a.Request {
		return // Late: nothing waits for it any more.
	}
	s.request = nil
	shows := a.Outcome == protocol.Committed || a.Outcome == protocol.Altered
	if req.Kind == Ask {
		if a.Outcome != protocol.Committed || !s.judge().Compares(protocol.Server) {
			s.askFrom = s.now.Add(askPause)
		}
		return
	}
	before := s.view.record
	if shows {
		s.learnFromAnswer(req, a.Record)
		if req.Kind != Read {
			s.usual = s.now.Sub(req.Sent)
		}
	}
	switch req.job {
	case contending:
		s.acquisitionAnswered(req, a, before)
	case renewing:
		s.renewalAnswered(req, a)
	case suspecting:
		s.hold.suspect = false
	case releasing:
		s.endAnswered(req, a)
	case leaving:
		s.leaveAnswered(req, a)
	case checkingHandOver:
		if req.Kind == Read && !shows {
			s.handOverCheck = handOverCheck{} // Waiters have their own reads.
		}
	}
	if shows && req.Kind == Amend {
		s.planHandOverCheck()
	}
}
