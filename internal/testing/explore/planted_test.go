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

package explore

// fairOf has the largest number of ticks from any state of a scope until all calls have ended. A scope
// that is not listed has no such bound.
var fairOf = map[string]int{
	"2x1x0": 2, "2x1x1, cut": 2, "2x1x1, crash": 3, "2x1x1, delete by hand": 2, "2x1x1, long, free by hand": 3,
	"3x1x1, two queue, crash": 6,
}

// mutants are faults that the explorer must find.
var mutants = []mutant{
	{"an unknown outcome of an applied change taken for success", "internal/session/contend.go",
		`case v == done && req.applies:`, `case (v == done || a.Outcome == protocol.Unknown) && req.applies:`, "2x1x1, apply, lost before"},
	{"an applied change that is not found again", "internal/session/apply.go",
		`own := last != nil && last.LockID == s.tenure.lockID && last.Identity == s.cfg.Identity && last.Reason == protocol.Released`, `own := false
	if last != nil && last.LockID == s.tenure.lockID {
		s.tenure.attempts = nil
	}`, "2x1x1, apply, lost after"},
	{"a change that others may hide taken for undone", "internal/session/apply.go",
		`open && same && !r.RulesOut(`, `last == nil && !r.RulesOut(`, "2x1x1, both apply, lost after"},
	{"a change that is deleted and taken for undone", "internal/session/apply.go",
		`deleted: s.acquisition.deleted`, `deleted: false`, "2x1x3, apply, after a deletion"},
	{"a creation that stores an applied change", "internal/session/claim.go",
		`	if r := s.view.record; c.want.Apply && r.Exists()`, `	if r := s.view.record; c.want.Apply && !r.Exists() {
		stamp := s.stamp(s.tenure.attempts)
		next, _ := protocol.Take(r, s.claim(&s.tenure), 0, stamp)
		next.Value, next.Holder = c.change.Value, nil
		next.LastRelease = &protocol.LastRelease{LockID: s.tenure.lockID, Identity: s.cfg.Identity, Time: stamp.Time, Reason: protocol.Released}
		next.Name, next.Key = s.cfg.Object, s.cfg.Key
		again := s.sendClaim(&Request{Kind: Write, To: next, applies: true}, stamp)
		a := &s.tenure.attempts[len(s.tenure.attempts)-1]
		a.takes, a.ends, a.applies, a.before = false, true, true, protocol.Record{UID: r.UID}
		return again
	}
	if r := s.view.record; c.want.Apply && r.Exists()`, "2x1x2, apply, late creation"},
	{"a change of another caller taken for one's own", "internal/session/contend.go",
		`!s.tenure.withdrawn && !s.tenure.applied() {`, `!s.tenure.withdrawn {`, "2x1x1, apply, local, give up, lost after"},
	{"a deadline that counts from the answer", "internal/session/tenure.go",
		`if a.takes && a.stamp.Equal(h.RenewTime) {
			return a.sent, true`, `if a.takes && a.stamp.Equal(h.RenewTime) {
			return s.now, true`, "2x1x1, slow"},
	{"a deadline from the last attempt, whichever was committed", "internal/session/tenure.go",
		`return a.sent, true`, `return s.tenure.attempts[len(s.tenure.attempts)-1].sent, true`, "2x1x2, coarse, slow, pause"},
	{"a grant that counts from when it is seen", "internal/session/tenure.go",
		`return s.grantedFrom(h), false`, `return s.now, false`, "2x1x1, reaper, pause"},
	{"a grant that counts from a read which has shown it", "internal/session/contend.go",
		`if !s.heldByClaim() {
			s.seenWithout`, `{
			s.seenWithout`, "2x2x1, reaper, lag"},
	{"a renewal that counts from its answer", "internal/session/renew.go",
		`s.extend(a.sent,`, `s.extend(s.now,`, "2x1x1, renew, slow"},
	{"an unknown outcome of a release taken for success", "internal/session/release.go",
		`	v := s.answered(&e.effort, req, a)
`, `	v := s.answered(&e.effort, req, a)
	if a.Outcome == protocol.Unknown && req.Kind != Read {
		s.finish(e, &Result{Kind: OK})
		return
	}
`, "2x1x1, lost before"},
	{"an unknown outcome of a save taken for failure", "internal/session/renew.go",
		`	case o.optional:
		o.optional = false`, `	case a.Outcome == protocol.Unknown && req.Kind != Read:
		s.endOp(&Result{Kind: Failed})
	case o.optional:
		o.optional = false`, "2x1x1, save, lost after"},
	{"an unknown outcome of a save taken for success", "internal/session/renew.go",
		`	case o.optional:
		o.optional = false`, `	case a.Outcome == protocol.Unknown && req.Kind != Read:
		s.endOp(&Result{Kind: OK})
	case o.optional:
		o.optional = false`, "2x1x1, save, lost before"},
	{"a late release that writes the state", "internal/session/release.go",
		`e.change.Unless(late || e.leftOut != nil)`, `e.change.Unless(e.leftOut != nil)`, "2x1x1, slow"},
	{"no safety re-read", "internal/session/queue.go",
		`return s.readAt(earlier(earlier(at, s.rereadAfterLease()), s.rereadBeforeTurn(ahead)))`, `return s.readAt(earlier(at, s.rereadBeforeTurn(place)))`, "2x1x1, long, free by hand"},
	{"a lock ID used for a second hold", "internal/session/contend.go",
		`used := last != nil &&`, `used := false && last != nil &&`, "2x1x1, twice"},
	{"a hold told by its lock ID alone", "internal/protocol/record.go",
		`h.LockID == lockID && (h.Token == token || h.Token == 0 || token == 0)`, `h.LockID == lockID`, "2x2x2, after a copied entry"},
	{"what was missed not looked for", "internal/session/step.go",
		`	case Missed:
		if s.state == Contending {
			s.acquisition.after = s.lastID
		}
`, `	case Missed:
`, "2x1x1, delete by hand"},
	{"the answer to an earlier request taken for a look", "internal/session/view.go",
		`return v.looked > after`, `return v.looked >= after`, "2x1x1, cut"},
	{"a watch that began anew beside a request under way", "internal/session/step.go",
		`			s.acquisition.after = s.lastID
		}
	case Vanished:`, `			s.acquisition.after = s.view.looked
		}
	case Vanished:`, "2x1x1, delete by hand"},
	{"a stray entry kept", "internal/session/leave.go",
		`len(r.Waiters) > 0 && s.strayEntry() < len(r.Waiters))`, `false)`, "2x2x2, after a copied entry"},
	{"a place in the queue not given back", "internal/session/leave.go",
		`	if s.tenure.written() {
		return true
	}
`, ``, "2x1x1, give up, lost after"},
	{"what may be on its way not waited for", "internal/session/leave.go",
		`case s.now.Before(l.until) && !s.closed:`, `case false:`, "2x1x1, long, give up, slow"},
	{"a lease that lasts longer for its holder than for others", "internal/session/claim.go",
		`if left > needed && s.coversForOthers(h, sent, exact) {`, `if left > needed {`, "2x1x0, wrong hints"},
	{"a hold that does not end with its lease", "internal/session/step.go",
		`if s.state == Holding && !s.now.Before(s.hold.Deadline) {
		s.lose(nil)
	}
`, ``, "2x1x0"},
	{"two callers of a client at once", "internal/session/callers.go",
		`case Contending, Holding, Releasing:`, `case Contending, Releasing:`, "2x1x0, local"},
	{"a release that others ended taken for its own", "internal/session/outcome.go",
		`case !last.Reason.ByHolder() || a == nil && !e.mayHaveWritten():
			return &Result{Kind: Lost}`, `case !last.Reason.ByHolder() || a == nil && !e.mayHaveWritten():
			return &Result{Kind: OK}`, "2x1x1, reaper, pause"},
	{"a release after which others had the lock taken for done", "internal/session/outcome.go",
		`	}
	return &Result{Kind: OthersIn, OutcomeUnknown: true}`, `	}
	return &Result{Kind: OK}`, "2x1x1, slow"},
	{"attempts with the same stamp", "internal/session/tenure.go",
		`for slices.ContainsFunc(attempts, func(a attempt) bool { return a.stamp.Equal(stamp.Time) }) {`, `for false {`, "2x1x1, reject"},
	{"a release that does not let the lock rest", "internal/session/release.go",
		`rests := rest > 0 && !late`, `rests := false`, "2x1x0, min hold"},
	{"a rest that is over too early", "internal/session/release.go",
		`protocol.Rest(r, claim, e.token, change, rest, stamp)`, `protocol.Rest(r, claim, e.token, change, rest/2, stamp)`, "2x1x0, min hold"},
	{"two requests at once", "internal/session/step.go",
		`if s.request != nil { // One at a time.`, `if false {`, "2x1x0"},
	{"versions of a restored server not believed", "internal/session/view.go",
		`if !req.Sent.Before(s.view.at) || !s.view.outdated(r) {`, `if !s.view.outdated(r) {`, "2x1x1, restore"},
	{"a wait that ends with the lock still asked for", "internal/session/callers.go",
		`	if s.present() || s.leave.until.After(s.now) {
		s.beginLeave()
		return
	}
`, `	if s.leave.until.After(s.now) {
		s.beginLeave()
		return
	}
	if s.state != Holding {
		s.leave.hopeless = version(s.view.record)
	}
`, "2x1x0, give up|2x1x0, local|2x1x0"},

	{"a token from a counter", "internal/protocol/token.go",
		`return last + 1, nil`, `return r.Transitions + 1, nil`, "2x1x0"},
	{"a hand-over that loses a waiter", "internal/protocol/transitions.go",
		`r = hold(r, head.grant(next, grace, at))
		if successor`, `r = hold(r, head.grant(next, grace, at))
		r.Waiters = r.Waiters[min(1, len(r.Waiters)):]
		if successor`, "3x1x0"},
	{"a hold that was renewed taken for unchanged", "internal/protocol/expiry.go",
		`seen.lockID, seen.renewTime, seen.duration = h.LockID, h.RenewTime, h.Duration`, `seen.lockID, seen.duration = h.LockID, h.Duration`, "2x1x0, renew"},
	{"a hold that is taken over before its lease is over", "internal/protocol/expiry.go",
		`wait = start - j.Now.Sub(seen.Since)
	if by, ok := j.until(end`, `wait = start/2 - j.Now.Sub(seen.Since)
	if by, ok := j.until(end`, "2x1x0"},
	{"a holder's write that does not test the renewal time", "internal/testing/explore/server.go",
		` && h.RenewTime.Equal(from.Holder.RenewTime)`, ``, "2x1x1, two saves, twice"},
	{"a release beside a waiter that has come", "internal/testing/explore/server.go",
		`if from.Holder == nil || overtakes(from, to, left) {`, `if false {`, "2x1x0"},
	{"a write of whatever version", "internal/testing/explore/server.go",
		`	if !s.obj.SameVersion(to) {
		return protocol.Stale, protocol.Record{}
	}
`, ``, "2x1x0"},
}
