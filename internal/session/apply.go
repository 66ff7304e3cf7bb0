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

	"github.com/kubelock/kubelock/internal/protocol"
)

// How a caller changes the state without a hold that it would know of. Where the lock is free and no
// client queues for it, one write begins a hold and ends it. Otherwise the caller takes the lock or queues as any other,
// and the write by which its claim hands the lock over stores what it makes of the state. So it does where there is no
// object: a creation is conditioned on nothing else, and may arrive when the object that hindered it was deleted. In both,
// what a caller has made of one version is only ever written in place of that version, or by the holder of the lock.

var errOthersIn = errors.New("others have had the lock since, and whether this change came before cannot be told")

// applyFree changes the state of a free lock, for which no client queues. Its object exists.
func (s *Session) applyFree(c *caller) (again bool) {
	r, stamp := s.view.record, s.stamp(s.tenure.attempts)
	next, err := protocol.Apply(r, s.claim(&s.tenure), c.change, stamp)
	if err != nil {
		s.fail(0, &Failure{Err: err})
		return true
	}
	// No proxy sends a patch twice: to write the whole object is idempotent, by RFC 9110, 9.2.2, and this is not.
	again = s.sendClaim(&Request{Kind: Amend, To: next, applies: true}, stamp)
	a := &s.tenure.attempts[len(s.tenure.attempts)-1]
	a.takes, a.ends, a.applies, a.token = false, true, true, next.LastRelease.Token
	a.before = protocol.Record{UID: r.UID, LastRelease: r.LastRelease, Value: r.Value}
	s.tenure.foldApplied()
	return again
}

// resolveApply ends the turn of the first caller if the lock shows that its change is stored, or that it may have
// been. What cannot have been stored, and cannot be any more, is forgotten: the caller tries again. So it does if
// its change was stored, perhaps, and the object was deleted with it. No other caller has written under its lock ID: see beginTurn.
func (s *Session) resolveApply(c *caller) (ended bool) {
	r, last := s.view.record, s.view.record.LastRelease
	own := last != nil && last.LockID == s.tenure.lockID && last.Identity == s.cfg.Identity && last.Reason == protocol.Released
	if own && slices.ContainsFunc(s.tenure.attempts, func(a attempt) bool { return a.applies }) {
		result := &Result{Kind: OK}
		if r.Holder == nil {
			result = storedIn(r, c.change)
		}
		s.applied(result)
		return true
	}
	unknown := false
	s.tenure.attempts = slices.DeleteFunc(s.tenure.attempts, func(a attempt) bool {
		if !a.applies || a.open && a.base == r.ResourceVersion { // It may be on its way.
			return false
		}
		open, same := a.open && !a.stale, a.before.UID == r.UID
		unknown = unknown || open && same && !r.RulesOut(s.tenure.lockID, a.token, a.before)
		s.acquisition.deleted = s.acquisition.deleted || open && !same
		return true
	})
	if unknown {
		s.fail(0, &Failure{OutcomeUnknown: true, Err: errOthersIn})
	}
	return unknown
}

// appliedFree takes in that the write was committed which has left the lock like r.
func (s *Session) appliedFree(r protocol.Record) {
	s.view.afterRelease = s.view.record.SameVersion(r)
	s.applied(&Result{Kind: OK})
}

// applied ends the turn of the first caller, whose change is stored.
func (s *Session) applied(result *Result) {
	c := s.callers[0]
	s.callers = slices.Delete(s.callers, 0, 1)
	s.emit(Effect{Kind: Applied, Caller: c.id, Result: result})
	s.tenure, s.acquisition = tenure{}, acquisition{}
	if len(s.callers) > 0 {
		s.nextTurn()
		return
	}
	s.idleOrLeave(false)
}

// applyHeld releases the lock, which the caller's claim holds, with its change. How much is left of the lease does
// not matter: nothing believes in the hold, and the write is done only if no other client has ended it.
func (s *Session) applyHeld(c *caller, token int64) {
	r := s.view.record
	s.heldFrom(r.Holder)
	s.ended = ended{c.id, s.tenure.lockID, r.UID, token, s.tenure.duration}
	s.endings = append(s.endings, &Ending{
		caller: c.id, applies: true, uid: r.UID, token: token, tenure: s.tenure, change: c.change, deadline: s.now.Add(s.tenure.duration),
		before: r.LastRelease, blocksNext: true, deleted: s.acquisition.deleted, effort: effort{Tries: Tries{Usual: s.usual}},
	})
	s.callers = slices.Delete(s.callers, 0, 1)
	s.tenure, s.next, s.acquisition = tenure{}, tenure{}, acquisition{}
	s.state = Releasing
}

// afterDeletion is r for a caller whose change an earlier write may have stored, in an object that was deleted since.
func (r *Result) afterDeletion() *Result {
	if r.Kind == OK {
		return r
	}
	after := *r
	after.OutcomeUnknown = true
	if r.Kind == Lost {
		after.Kind, after.Terminating = Deleted, nil
	}
	return &after
}

// retract lets a caller make another change than it has answered, if that was not sent.
func (s *Session) retract(id, op int) {
	first := s.state == Contending && len(s.callers) > 0 && s.callers[0].id == id
	if !first || s.tenure.applied() || s.acquisition.deleted {
		s.done(op, &Result{Kind: Failed, OutcomeUnknown: true})
		return
	}
	s.callers[0].checks = false
	s.done(op, &Result{Kind: OK})
}
