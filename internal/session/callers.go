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

	// Of a caller that applies a change: what it has made of the state, and of which version.
	change protocol.Change
	of     protocol.Record
}

// habit is how callers have come back to the lock.
type habit struct {
	left  time.Time // when the last one was done with it, and no other waited; zero: never
	quick int       // how often they came soon after that, in a row
}

// came notes that a caller wants the lock that no other caller has or wants.
func (h *habit) came(now time.Time) {
	switch {
	case h.left.IsZero():
	case now.Sub(h.left) <= soon:
		h.quick++
	default:
		h.quick = 0
	}
}

// expects reports whether a caller is likely to come soon after a release, for a lock that so
// many others wait for.
func (h *habit) expects(waiters int) bool {
	return h.quick >= sure || h.quick > 0 && waiters >= many
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
		s.habit = habit{}
	} else {
		s.habit.came(s.now)
	}
	s.callers = append(s.callers, c)
	s.compete()
}

// compete begins the turn of the first caller.
func (s *Session) compete() {
	s.drop()
	s.state = Contending
	s.contest.caller = 0
	if s.request != nil { // Its answer tells nothing of the time after it was sent.
		s.contest.after = s.request.ID
	}
}

func (s *Session) giveUp(id int) {
	if i := slices.IndexFunc(s.callers, func(c caller) bool { return c.id == id }); i >= 0 {
		s.fail(i, &Failure{GaveUp: true})
		return
	}
	for _, e := range s.endings {
		if e.applies && e.caller == id { // The release goes on.
			e.applies = false
			s.emit(Effect{Kind: Applied, Caller: id, Result: &Result{Kind: Failed, Doubt: true, Last: e.last}})
		}
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
	f.Record, f.Ahead, f.Own = s.view.record, c.ahead, !turn
	if turn && s.contest.caller == c.id {
		f.Doubt = f.Doubt || s.tenure.doubt() || s.tenure.applies(c.id) || s.contest.deleted
		f.Removing, f.Last, f.Mine = s.contest.removing != "", s.contest.last, s.tenure.lockID
		if place := s.place(); place < len(s.view.record.Waiters) {
			f.Place = place + 1
		}
	}
	s.emit(Effect{Kind: Fail, Caller: c.id, Failure: f})
	if !turn {
		return
	}
	doubt := s.tenure.doubt() // Of a caller before, too.
	if f.Removed {            // With all that was in it.
		s.tenure, doubt = tenure{}, false
	}
	if c.want.Remove && doubt || s.contest.spoilt { // No hold may begin with it.
		if doubt {
			s.leave.until = s.now.Add(s.tenure.duration)
		}
		s.tenure, s.contest.spoilt = tenure{}, false
	}
	if len(s.callers) > 0 {
		s.compete()
		return
	}
	s.rest(doubt)
}

// rest is what follows when no caller has, or wants, the lock any more.
func (s *Session) rest(doubt bool) {
	s.habit.left = s.now
	s.contest = contest{}
	s.drop()
	if doubt {
		s.leave.until = s.now.Add(s.tenure.duration)
	}
	if s.present() || s.leave.until.After(s.now) {
		s.leaveNow()
		return
	}
	s.state, s.tenure = Idle, tenure{}
}

// expect keeps the place of the next tenure for a caller that is likely to come soon.
func (s *Session) expect() {
	s.habit.left = s.now
	s.state = Expecting
	s.callers = []caller{{until: s.now.Add(soon)}}
}

// unexpected gives up what was kept for a caller that has not come.
func (s *Session) unexpected() {
	s.callers = nil
	s.rest(s.tenure.doubt())
	s.habit = habit{}
}
