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
	"reflect"
	"slices"

	"github.com/kubelock/kubelock/internal/protocol"
)

// What became of a release, and how it ends.

// outcome is what became of a release, by what is known of the lock; nil if that is not known yet.
func (s *Session) outcome(e *Ending) *Result {
	if !s.view.fresh(e.after) || s.request != nil && s.request.job == releasing {
		return nil
	}
	return s.outcomeIn(e, s.view.record)
}

// outcomeIn is what became of a release, as the version r of the lock shows it; nil if it shows the hold.
func (s *Session) outcomeIn(e *Ending, r protocol.Record) *Result { //nolint:gocyclo // One case for each way in which a hold ends.
	same := r.UID == e.uid
	lost := &Result{Kind: Lost}
	if same && r.HeldBy(e.tenure.lockID, e.token) {
		return nil
	}
	if r.Terminating && same {
		lost.Terminating = &r
	}
	if last := r.LastRelease; same && last != nil && last.LockID == e.tenure.lockID && (last.Token == e.token || last.Token == 0) {
		a := e.tenure.endedAt(last.Time)
		switch {
		case !last.Reason.ByHolder() || a == nil && !e.mayHaveWritten():
			return &Result{Kind: Lost}
		case a == nil: // Another process has released it, or something has changed the time on its way.
			return &Result{Kind: OthersIn, OutcomeUnknown: true}
		case a.late:
			return lost
		case a.leftOut != nil:
			return &Result{Kind: Failed, Err: a.leftOut}
		case r.Holder == nil || r.Resting():
			return storedIn(r, e.change)
		}
		return &Result{Kind: OK}
	}
	if last := r.LastRelease; same && last.Rested() == e.tenure.lockID && last.Identity == s.cfg.Identity {
		return e.rested()
	}
	if same && reflect.DeepEqual(r.LastRelease, e.before) {
		return &Result{Kind: Lost} // Another client took it away: the last release is still the one before.
	}
	// Others have had the lock meanwhile, or the object is gone. An answer that says
	// that an attempt was not done does not speak for its copies: the network may have
	// delivered it twice.
	deleted, sent := !same, false
	for _, a := range e.tenure.attempts {
		if a.ends {
			sent = sent || !a.late
			deleted = deleted && (a.late || a.stale)
		}
	}
	switch {
	case !sent:
		return &Result{Kind: Lost}
	case deleted: // No answer says that it was done. They do not speak for their copies, either.
		return &Result{Kind: Deleted, OutcomeUnknown: true}
	}
	return &Result{Kind: OthersIn, OutcomeUnknown: true}
}

// mayHaveWritten reports whether a release with its state may have been committed.
func (e *Ending) mayHaveWritten() bool {
	return slices.ContainsFunc(e.tenure.attempts, func(a attempt) bool { return a.ends && a.open && !a.stale && !a.late })
}

var errStoredOtherwise = errors.New("the API server has stored another state than was written; look for an admission webhook or policy that changes it")

// storedIn is what became of a write that is known to have been committed, by how r shows the lock, in which no client can have
// changed the state since.
func storedIn(r protocol.Record, change protocol.Change) *Result {
	if change.Write && !sameText(r.Value, change.Value) {
		return &Result{Kind: Failed, Err: errStoredOtherwise, Altered: true}
	}
	return &Result{Kind: OK}
}

// rested is what became of a release after which the lock has rested. The record does not tell any more which
// attempt that was.
func (e *Ending) rested() *Result {
	var result *Result
	for _, a := range e.tenure.attempts {
		of := &Result{Kind: OK}
		switch {
		case !a.ends || !a.rests:
			continue
		case a.leftOut != nil:
			of = &Result{Kind: Failed, Err: a.leftOut}
		}
		if result != nil && result.Kind != of.Kind {
			return &Result{OutcomeUnknown: true, Kind: OthersIn}
		}
		result = of
	}
	if result == nil { // Whatever has written that, it was not this release.
		result = &Result{Kind: Lost}
	}
	return result
}

// finish ends a release.
func (s *Session) finish(e *Ending, r *Result) {
	i := slices.Index(s.endings, e)
	s.endings = slices.Delete(s.endings, i, i+1)
	if r.Kind == OK {
		s.planHandOverCheckOf(e.tenure.lockID)
	}
	for _, op := range e.ops {
		s.done(op, r)
	}
	if e.applies {
		if e.deleted {
			r = r.afterDeletion()
		}
		s.emit(Effect{Kind: Applied, Caller: e.caller, Result: r})
	}
	if !e.blocksNext {
		return
	}
	s.tenure, s.next = s.next, tenure{}
	s.acquisition = acquisition{}
	switch {
	case len(s.callers) > 0:
		s.nextTurn()
	case s.tenure.expected && !s.closed:
		s.expect()
	default:
		s.idleOrLeave(s.tenure.outcomeUnknown())
	}
}

// unresolved ends a release of which it is not known what became of it, because of err.
func (s *Session) unresolved(e *Ending, err error) {
	if e.lost { // That it is held still makes no difference to its caller.
		s.finish(e, &Result{Kind: Lost})
		return
	}
	s.finish(e, &Result{Kind: Failed, Err: err, OutcomeUnknown: e.outcomeUnknown(), Last: e.last, Ending: e})
}
