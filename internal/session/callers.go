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

// caller is one call of this client that wants the lock. Callers get it one after another: so at
// most one hold of a client on a key is alive, and at most one entry of a client that still
// counts is in a lock's queue.
type caller struct {
	id    int // 0 for one that is only expected
	want  Want
	ahead int       // how many callers came first
	until time.Time // for how long one is expected

	checking bool    // it was asked whether it can use the state
	checks   bool    // it was, and has answered
	value    *string // the state that it was asked about
	bad      error   // why it cannot use that

	// Of a caller that applies a change: what it has made of the state, and which hold there was then. The caller is asked again when
	// its turn has come, since more calls may share its write by then.
	change protocol.Change
	of     string
}

// returnPattern is how callers have come back to the lock.
type returnPattern struct {
	left  time.Time // when the last one was done with it, and no other waited; zero: never
	quick int       // how often they came soon after that, in a row
}

// came notes that a caller wants the lock that no other caller has or wants.
func (h *returnPattern) came(now time.Time) {
	switch {
	case h.left.IsZero():
	case now.Sub(h.left) <= returnsWithin:
		h.quick++
	default:
		h.quick = 0
	}
}

// expects reports whether a caller is likely to come soon after a release, for a lock that so
// many others wait for.
func (h *returnPattern) expects(waiters int) bool {
	return h.quick >= sureReturns || h.quick > 0 && waiters >= manyWaiters
}

func (s *Session) arrive(id int, want Want) {
	c := caller{id: id, want: want, ahead: s.Callers()}
	switch s.state {
	case Contending, Holding, Releasing:
		s.callers = append(s.callers, c)
		if want.Try {
			s.fail(len(s.callers)-1, &Failure{Refused: true})
		}
		return
	case Expecting: // Perhaps not this one. It has the place, however.
		s.callers = nil
	case Idle, Leaving:
	}
	if want.Try { // Such a caller does not queue.
		s.returnPattern = returnPattern{}
	} else {
		s.returnPattern.came(s.now)
	}
	s.callers = append(s.callers, c)
	s.nextTurn()
}

// nextTurn begins the turn of the first caller.
func (s *Session) nextTurn() {
	s.dropRead()
	s.state = Contending
	s.acquisition.caller = 0
	if s.request != nil { // Its answer tells nothing of the time after it was sent.
		s.acquisition.after = s.request.ID
	}
}

func (s *Session) giveUp(id int) {
	if i := slices.IndexFunc(s.callers, func(c caller) bool { return c.id == id }); i >= 0 {
		s.fail(i, &Failure{GaveUp: true})
		return
	}
	if e := s.endingOf(id); e != nil && e.applies { // The release goes on.
		e.applies = false
		s.emit(Effect{Kind: Applied, Caller: id, Result: &Result{Kind: Failed, OutcomeUnknown: true, Last: e.last}})
	}
}

func (s *Session) checked(e Event) {
	if len(s.callers) > 0 && s.callers[0].id == e.Caller && s.callers[0].checking {
		c := &s.callers[0]
		c.checking, c.checks, c.bad, c.change = false, true, e.Err, e.Change
	}
}

// fail ends the wait of a caller. The next one has its place; without a next one, what is in the
// object is taken back.
func (s *Session) fail(i int, f *Failure) {
	c := s.callers[i]
	s.callers = slices.Delete(s.callers, i, i+1)
	turn := i == 0 && s.state == Contending
	f.Record, f.Ahead, f.Behind = s.view.record, c.ahead, !turn
	if turn && s.acquisition.caller == c.id {
		unknown := s.tenure.outcomeUnknown()
		if c.want.Apply { // What may have taken the lock for it carries no change.
			unknown = s.tenure.applied() || s.acquisition.deleted
		}
		f.OutcomeUnknown = f.OutcomeUnknown || unknown
		f.Removing, f.Last, f.LockID = s.acquisition.removing != "", s.acquisition.last, s.tenure.lockID
		if place := s.place(); place < len(s.view.record.Waiters) {
			f.Place = place + 1
		}
	}
	s.emit(Effect{Kind: Fail, Caller: c.id, Failure: f})
	if !turn {
		return
	}
	unknown := s.tenure.outcomeUnknown() // Of a caller before, too.
	if f.Removed {                       // With all that was in it.
		s.tenure, unknown = tenure{}, false
	}
	if c.want.Remove && unknown || s.acquisition.altered { // No hold may begin with it.
		if unknown {
			s.leave.until = s.now.Add(s.tenure.duration)
		}
		s.tenure, s.acquisition.altered = tenure{}, false
	}
	if len(s.callers) > 0 {
		s.nextTurn()
		return
	}
	s.idleOrLeave(unknown)
}

// idleOrLeave is what follows when no caller has, or wants, the lock any more. unknown is set if a write may be
// committed still.
func (s *Session) idleOrLeave(unknown bool) {
	s.returnPattern.left = s.now
	s.acquisition = acquisition{}
	s.dropRead()
	if unknown {
		s.leave.until = s.now.Add(s.tenure.duration)
	}
	if s.present() || s.leave.until.After(s.now) {
		s.beginLeave()
		return
	}
	s.state, s.tenure = Idle, tenure{}
}

// expect keeps the place of the next tenure for a caller that is likely to come soon.
func (s *Session) expect() {
	s.returnPattern.left = s.now
	s.state = Expecting
	s.callers = []caller{{until: s.now.Add(returnsWithin)}}
}

// stopExpecting gives up what was kept for a caller that has not come.
func (s *Session) stopExpecting() {
	s.callers = nil
	s.idleOrLeave(s.tenure.outcomeUnknown())
	s.returnPattern = returnPattern{}
}
