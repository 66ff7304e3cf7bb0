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

// Hold is one period of ownership by one caller.
type Hold struct {
	Caller   int
	LockID   string
	UID      string // of the object
	Token    int64
	Duration time.Duration // that the caller has asked for
	Begun    time.Time
	Deadline time.Time
	MinHold  time.Duration // see Want

	lease time.Duration // from the last renewal to the deadline
	// end is until when the hold lasts that its caller has asked for. Where electors use the
	// object, too, it is kept until then by renewals in the background.
	end    time.Time
	before *protocol.LastRelease // how the hold before has ended
	ops    []op                  // the calls of the holder, and renewals in the background, in their order
	// always is set if it is renewed in the background until it ends, and once if its lease is
	// shorter than the caller has asked for: it was granted, and is not sure to be needed for longer.
	always, once bool
	renewAt      time.Time // when it is renewed in the background; zero: it is not
	background   Tries
	// suspect is set while a watch does not show the hold any more, and suspected is the last
	// request whose answer does not tell.
	suspect   bool
	suspected int
}

// rest is until when the lock shall rest after a release of h; zero: not at all. It counts by the client's own
// clock: the stamps of two writes are bounds, and may be further from each other than the writes were.
func (h *Hold) rest() time.Time {
	if h.MinHold <= 0 {
		return time.Time{}
	}
	return h.Begun.Add(h.MinHold)
}

// op is a save or a renewal.
type op struct {
	id       int // 0 for a renewal in the background
	since    time.Time
	serial   int // the first request that it has sent; 0: none
	change   protocol.Change
	asked    bool // for by the hold's owner
	begun    bool
	optional bool // the read under way: the write does not depend on it
	left     bool // its caller does not wait any more
	written  bool // a write of it was committed, and another is due for its lease

	effort
}

// grant begins the hold of the first caller.
func (s *Session) grant(c *caller, token int64, deadline time.Time, lease time.Duration) {
	r := s.view.record
	s.hold = Hold{
		Caller: c.id, LockID: s.tenure.lockID, UID: r.UID, Token: token, Duration: s.tenure.duration,
		Begun: s.now, Deadline: deadline, MinHold: c.want.MinHold, lease: lease, end: deadline.Add(s.tenure.duration - lease),
		before: r.LastRelease, once: lease < s.tenure.duration && !r.Shared,
	}
	s.heldFrom(r.Holder)
	s.callers = slices.Delete(s.callers, 0, 1)
	s.acquisition = acquisition{}
	s.state = Holding
	s.schedule()
	hold := s.hold
	s.emit(Effect{Kind: Grant, Caller: hold.Caller, Hold: &hold, Value: r.Value, Record: &r, Granted: s.tenure.granted})
}

// trimAttempts forgets the attempts before the one that made the holder what it is: none of them can
// be committed any more, as each tests the renewal time. It returns that one.
func (s *Session) trimAttempts(h *protocol.Holder) *attempt {
	t := &s.tenure
	i := slices.IndexFunc(t.attempts, func(a attempt) bool { return a.takes && !a.ends && a.stamp.Equal(h.RenewTime) })
	if i < 0 {
		return nil
	}
	t.attempts = slices.Clone(t.attempts[i:])
	return &t.attempts[0]
}

// heldFrom forgets all attempts that can only have led to the hold h, which is there now.
func (s *Session) heldFrom(h *protocol.Holder) {
	if a := s.trimAttempts(h); a != nil {
		a.open = false
	} else {
		s.tenure.attempts = nil
	}
}

// update begins a save or a renewal.
func (s *Session) update(caller int, o op) {
	switch {
	case s.state == Holding && s.hold.Caller == caller:
		o.since, o.Usual = s.now, s.usual
		s.hold.ops = append(s.hold.ops, o)
	case s.endingOf(caller) != nil:
		s.done(o.id, &Result{Kind: NotHeld})
	default:
		s.done(o.id, &Result{Kind: Lost})
	}
}

func (s *Session) done(op int, r *Result) { s.emit(Effect{Kind: Done, Op: op, Result: r}) }

// abandon ends a call of the holder whose caller does not wait any more: what was not sent is not
// sent any more.
func (s *Session) abandon(id int) {
	for i := range s.hold.ops {
		o := &s.hold.ops[i]
		if s.state != Holding || o.id != id {
			continue
		}
		sent := o.serial != 0
		s.done(id, &Result{Kind: Failed, OutcomeUnknown: sent})
		if i == 0 && s.request != nil && s.request.job == renewing {
			o.left, o.id = true, 0
			return
		}
		s.hold.ops = slices.Delete(s.hold.ops, i, i+1)
		return
	}
	for _, e := range s.endings {
		if i := slices.Index(e.ops, id); i >= 0 { // The release goes on.
			e.ops = slices.Delete(slices.Clone(e.ops), i, i+1)
			s.done(id, &Result{Kind: Failed, OutcomeUnknown: true})
			return
		}
	}
}

// lose ends the hold, which its caller has not ended.
func (s *Session) lose(terminating *protocol.Record) {
	h := s.hold
	s.emit(Effect{Kind: Lose, Caller: h.Caller, Hold: &h}) // First: a caller that learns of a failed call finds the hold ended.
	s.endOps(Result{Kind: Lost, Terminating: terminating})
	s.ended = endedOf(&h)
	s.dropRead()
	s.hold, s.tenure, s.acquisition = Hold{}, tenure{}, acquisition{}
	if len(s.callers) > 0 {
		s.nextTurn()
		return
	}
	s.idleOrLeave(false)
}

// endOps ends the calls of a hold that is over.
func (s *Session) endOps(r Result) {
	for i := range s.hold.ops {
		result := r
		result.OutcomeUnknown = s.hold.ops[i].change.Write && s.maybeWritten(&s.hold.ops[i])
		result.Last = s.hold.ops[i].last
		result.Took = s.now.Sub(s.hold.ops[i].since)
		if o := s.hold.ops[i]; o.id != 0 {
			s.done(o.id, &result)
		}
	}
	s.hold.ops = nil
}

// maybeWritten reports whether a write of o was, or may have been, committed.
func (s *Session) maybeWritten(o *op) bool {
	return o.written || o.serial != 0 && slices.ContainsFunc(s.tenure.attempts, func(a attempt) bool { return a.op == o.serial && a.open })
}

// resolveHold takes in what the view says of the hold.
func (s *Session) resolveHold() (again bool) {
	h, r := &s.hold, s.view.record
	switch {
	case r.Terminating:
		s.lose(&r)
		return true
	case r.UID != h.UID || !r.HeldBy(h.LockID, h.Token):
		s.lose(nil)
		return true
	}
	under := 0 // The answer to that tells more.
	if s.request != nil {
		under = s.request.ID
	}
	if len(s.tenure.attempts) == 0 || s.tenure.attempts[0].stamp.Equal(r.Holder.RenewTime) && !s.tenure.attempts[0].open {
		return false
	}
	a := s.trimAttempts(r.Holder)
	if a == nil || !a.open || a.request == under {
		return false
	}
	result := storedIn(r, s.changeOf(a))
	if a.stale && result.Kind != OK { // Another process has renewed the hold, and written the same time.
		a.open = false
		return true
	}
	s.renewed(r.Holder, a, result)
	return true
}

// changeOf is what the first call writes, if the attempt is its.
func (s *Session) changeOf(a *attempt) protocol.Change {
	if len(s.hold.ops) == 0 || a.op == 0 || a.op != s.hold.ops[0].serial {
		return protocol.Change{}
	}
	return s.hold.ops[0].change
}

// endOp ends the first call.
func (s *Session) endOp(r *Result) {
	o := s.hold.ops[0]
	s.hold.ops = s.hold.ops[1:]
	if o.left {
		return
	}
	r.Took = s.now.Sub(o.since)
	s.done(o.id, r)
	switch {
	case o.id != 0:
	case r.Kind == OK:
		s.hold.background = Tries{Usual: s.usual}
	case s.closed:
	default: // It is tried again until the lease ends.
		s.hold.background.Pause(s.now, s.hold.Deadline, s.random)
		s.hold.renewAt = s.hold.background.next
	}
}
