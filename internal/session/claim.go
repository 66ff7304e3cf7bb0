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

// How the first caller takes a lock that is available, and begins the hold of its claim.

// acceptable asks the caller whether it can use the state, before it has the lock. It returns
// true if it can.
func (s *Session) acceptable(c *caller) (ok, again bool) {
	value := s.view.record.Value
	switch {
	case c.want.Remove:
		return true, false
	case c.checking:
		return false, false
	case !c.checks || !sameText(c.value, value) || c.want.Apply && c.of != holderOf(s.view.record):
		c.checking, c.checks, c.value, c.of = true, false, value, holderOf(s.view.record)
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
	if r := s.view.record; c.want.Apply && r.Exists() && r.Holder == nil && len(r.Waiters) == 0 {
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
