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

// How a hold is saved and renewed, by its holder or in the background.

// keepAlive renews the hold in the background until it ends.
func (s *Session) keepAlive(caller int) {
	if s.state == Holding && s.hold.Caller == caller {
		s.hold.always, s.hold.once = true, false
		s.schedule()
	}
}

// schedule says when the hold is renewed in the background.
func (s *Session) schedule() {
	h := &s.hold
	shared := s.view.record.Shared
	h.renewAt = time.Time{}
	if s.closed || !h.always && !h.once && (!shared || !h.end.After(h.Deadline)) {
		return
	}
	left := h.Deadline.Sub(s.now)
	// Many holds shall not renew all at once.
	rest := left - time.Duration(float64(h.lease)*renewWith) - time.Duration(s.random*float64(h.lease)/renewJitter)
	if h.lease < h.Duration {
		rest = max(rest, left/4) // Of a grant, less may be left.
	}
	h.renewAt = s.now.Add(max(rest, 0)) // Less is left only where the API server takes long.
}

// renewed takes in that the attempt a was committed, which made the holder what it is, with that result for the call that it is of.
func (s *Session) renewed(holder *protocol.Holder, a *attempt, result *Result) {
	if a == nil || !a.open {
		return
	}
	a.open = false
	var o *op // whose attempt it is
	if a.op != 0 && len(s.hold.ops) > 0 && a.op == s.hold.ops[0].serial {
		o = &s.hold.ops[0]
	}
	if !s.coversForOthers(holder, a.sent, true) { // Others could take the hold for expired too early: one more is due.
		if o != nil {
			o.written = true
			o.Pause(s.now, s.hold.Deadline, s.random)
		}
		return
	}
	s.extend(a.sent, min(holder.Duration, s.hold.Duration), o != nil && o.asked)
	if o != nil {
		s.endOp(result)
	}
}

// extend moves the deadline after a renewal that was sent at sent, for that lease.
func (s *Session) extend(sent time.Time, lease time.Duration, asked bool) {
	h := &s.hold
	if asked {
		h.end = sent.Add(h.Duration)
	}
	if deadline := sent.Add(lease); deadline.After(h.Deadline) {
		h.Deadline, h.lease = deadline, lease
		if lease >= h.Duration {
			h.once = false
		}
		s.emit(Effect{Kind: Extend, Caller: h.Caller, Deadline: deadline})
	}
	s.schedule()
}

// writes reports whether a save or a renewal is due.
func (s *Session) writes() bool {
	h := &s.hold
	if len(h.ops) > 0 {
		return h.ops[0].left || s.due(h.ops[0].next)
	}
	return !h.renewAt.IsZero() && s.due(h.renewAt)
}

// maintain does the next thing that is due for a hold.
func (s *Session) maintain() (again bool) {
	h := &s.hold
	h.suspect = h.suspect && !s.view.fresh(h.suspected)
	if h.suspect && !s.writes() {
		s.send(s.read(suspecting, 0))
		return false
	}
	if len(h.ops) == 0 {
		if h.renewAt.IsZero() || !s.due(h.renewAt) {
			return false
		}
		h.renewAt = time.Time{}
		h.ops = []op{{since: s.now, asked: h.always || !s.view.record.Shared}}
		h.ops[0].Usual, h.ops[0].last = s.usual, h.background.last
	}
	o := &h.ops[0]
	if o.left { // What was under way has been answered.
		h.ops = h.ops[1:]
		return true
	}
	if !s.due(o.next) {
		return false
	}
	left := h.Deadline.Sub(s.now)
	o.end = h.Deadline
	if !o.begun {
		o.begun = true
		if o.optional = !s.server.Fresh(s.now); o.optional { // For the stamp.
			s.send(s.read(renewing, 0))
			return false
		}
	}
	if !s.looked(&o.effort, renewing, 0) {
		return false
	}
	switch st, final := s.wasStale(&o.effort); {
	case final:
		s.endOp(&Result{Kind: Failed, Err: st.refusal, OutcomeUnknown: s.maybeWritten(o), Last: o.last})
		return true
	case !s.due(o.next):
		return false
	}
	return s.renew(o, left)
}

// renew sends a renewal, which may take its share of what is left of the lease.
func (s *Session) renew(o *op, left time.Duration) (again bool) {
	r, claim := s.view.record, s.claim(&s.tenure)
	if !o.asked && r.Shared {
		claim.Duration = min(claim.Duration, max(s.hold.end.Sub(s.now), minLease))
	}
	stamp := s.stamp(s.tenure.attempts)
	next, err := protocol.Renew(r, claim, s.hold.Token, o.change, stamp)
	if err != nil {
		s.endOp(&Result{Kind: Failed, Err: err})
		return true
	}
	if o.serial == 0 {
		o.serial = s.lastID + 1
	}
	s.sendAttempt(&s.tenure, &Request{Kind: Amend, From: r, To: next, Timeout: o.Timeout(left), job: renewing},
		attempt{stamp: next.Holder.RenewTime, takes: true, op: o.serial, amends: true, base: holderOf(r)})
	return false
}

// renewalAnswered takes in the answer to a request for a hold.
func (s *Session) renewalAnswered(req *Request, a Answered) {
	if s.state != Holding || len(s.hold.ops) == 0 { // It is over. Its ending knows what was sent.
		s.answered(&effort{}, req, a)
		return
	}
	o := &s.hold.ops[0]
	switch v := s.answered(&o.effort, req, a); {
	case o.optional:
		o.optional = false
		o.Tries = Tries{Usual: s.usual}
	case v == done && req.Kind == Amend: // A watch may have shown a later version, in which the hold has ended.
		if r := a.Record; r.UID == s.hold.UID && r.HeldBy(s.hold.LockID, s.hold.Token) {
			s.renewed(r.Holder, s.tenure.of(req.ID), &Result{Kind: OK})
		}
	case v == again && a.Outcome == protocol.Stale:
		if own := s.tenure.of(req.ID); own != nil {
			own.stale = true
		}
	case v == altered:
		s.renewalAltered(a)
	case v == refused:
		s.endOp(&Result{Kind: Failed, Err: a.Err, OutcomeUnknown: s.maybeWritten(o), Last: o.last})
	}
}

// renewalAltered ends a call whose write is not what is stored. The hold goes on if it is there still.
func (s *Session) renewalAltered(a Answered) {
	r := s.view.record
	if r.UID != s.hold.UID || !r.HeldBy(s.hold.LockID, s.hold.Token) {
		o := s.hold.ops[0]
		s.hold.ops = s.hold.ops[1:]
		s.lose(nil)
		if o.id != 0 {
			s.done(o.id, &Result{Kind: Lost, Err: a.Err, Altered: true})
		}
		return
	}
	s.endOp(&Result{Kind: Failed, Err: a.Err, Altered: true})
}
