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

import (
	"slices"

	"github.com/kubelock/kubelock/internal/session"
)

// verb is the kind of an action.
type verb uint8

const (
	arrive       verb = iota
	giveUp            // caller j
	save              //
	renew             //
	release           //
	releaseLost       // the first hold that was lost
	releaseAgain      // the first release of unknown outcome
	abandon           // the first call
	shut              // client i is closed
	deliver           // message i
	show              // the next change on a watch of client i
	wake              // client i, whose timer fired while it was paused
	resume            // client i
	heal              // the watches of client i
	finalize          // the finalizer is removed
	reap              //
	tick              // time passes
	// Faults:
	lostBefore
	lostAfter
	slow
	twice
	crash
	pause
	cut
	lag
	deny
	reject
	busy
	freeByHand
	emptyByHand
	deleteByHand
	restore
	unwatch
)

const firstFault = lostBefore

// action is one possible next step.
type action struct {
	verb verb
	i, j uint8
}

// actions appends all possible next steps.
func (w *world) actions(to []action) []action {
	add := func(v verb, i int) { to = append(to, action{verb: v, i: uint8(i)}) }
	for i, c := range w.cl {
		if c.dead {
			continue
		}
		if c.paused {
			add(resume, i)
			continue
		}
		calls := w.sc.Calls[i]
		if c.came < len(calls) && !c.closed && (w.sc.Local || len(c.waiting) == 0 && !c.hold.on && len(c.calls) == 0) {
			add(arrive, i)
		}
		for j, caller := range c.waiting {
			if calls[caller-1].MayGiveUp {
				to = append(to, action{giveUp, uint8(i), uint8(j)})
			}
		}
		if w.believes(c) {
			quiet := !slices.ContainsFunc(c.calls, func(o call) bool { return o.caller == c.hold.caller })
			if quiet && c.hold.saves < calls[c.hold.caller-1].Saves {
				add(save, i)
			}
			if quiet && c.hold.renews < calls[c.hold.caller-1].Renews {
				add(renew, i)
			}
			add(release, i)
		}
		if len(c.lost) > 0 {
			add(releaseLost, i)
		}
		if len(c.again) > 0 {
			add(releaseAgain, i)
		}
		if len(c.calls) > 0 && calls[c.calls[0].caller-1].MayAbandon {
			add(abandon, i)
		}
		if w.sc.Close && i == 0 && !c.closed {
			add(shut, i)
		}
		if len(c.sights) > 0 && !c.lagged {
			add(show, i)
		}
		if c.lagged || c.cut {
			add(heal, i)
		}
		if at, ok := c.s.Wake(); ok && !at.After(w.now()) {
			add(wake, i)
		}
	}
	for i, m := range w.net {
		if m.answer && w.cl[m.client].paused || m.copied && w.repeats(m) {
			continue
		}
		add(deliver, i)
	}
	if w.server.obj.Terminating {
		add(finalize, 0)
	}
	if w.sc.Reaper && w.reaps() {
		add(reap, 0)
	}
	if w.still() && w.timeMatters() {
		add(tick, 0)
	}
	if w.faults > 0 {
		to = w.faultActions(to)
	}
	return to
}

func (w *world) faultActions(to []action) []action {
	kinds := w.sc.Kinds
	add := func(kind Fault, v verb, i int) {
		if kinds.has(kind) {
			to = append(to, action{verb: v, i: uint8(i)})
		}
	}
	for i, m := range w.net {
		if m.copied {
			continue
		}
		read := m.req.Kind == session.Read || m.req.Kind == session.Ask
		if !m.slow {
			add(Slow, slow, i)
		}
		if m.answer {
			if !m.slow && !w.cl[m.client].paused {
				add(LostAfter, lostAfter, i)
			}
			continue
		}
		if !read {
			add(Twice, twice, i)
		}
		if w.cl[m.client].paused {
			continue
		}
		if !m.slow {
			add(LostBefore, lostBefore, i)
		}
		add(Deny, deny, i)
		add(Reject, reject, i)
		add(Busy, busy, i)
	}
	for i, c := range w.cl {
		if c.dead || c.paused {
			continue
		}
		if c.s.State() != session.Idle {
			add(Crash, crash, i)
			add(Pause, pause, i)
		}
		if (c.own || c.lock) && !c.cut && !c.lagged {
			add(Cut, cut, i)
			add(Lag, lag, i)
		}
		if c.s.Watch() != session.WatchNone {
			add(Unwatch, unwatch, i)
		}
	}
	r := w.server.obj
	if r.Holder != nil {
		add(FreeByHand, freeByHand, 0)
	}
	if len(r.Waiters) > 0 {
		add(EmptyByHand, emptyByHand, 0)
	}
	if r.Exists() && !r.Terminating {
		add(DeleteByHand, deleteByHand, 0)
	}
	for i := range w.past {
		add(Restore, restore, i)
	}
	return to
}

// repeats reports whether m is a copy of a request that is not idempotent, and would arrive before its
// original. That does not happen: a proxy that gets no answer does not repeat such a request.
func (w *world) repeats(m *msg) bool {
	return m.req.Applies() && slices.ContainsFunc(w.net, func(o *msg) bool { return !o.copied && !o.answer && o.req == m.req })
}

// still reports whether all messages have been delivered that no fault has delayed.
func (w *world) still() bool {
	for _, c := range w.cl {
		if c.dead || c.paused {
			continue
		}
		if len(c.sights) > 0 && !c.lagged {
			return false
		}
		if at, ok := c.s.Wake(); ok && !at.After(w.now()) {
			return false
		}
	}
	for _, m := range w.net {
		if !m.slow && !m.copied && (!m.answer || !w.cl[m.client].paused) {
			return false
		}
	}
	return !w.sc.Reaper || !w.reaps()
}

// timeMatters reports whether any part of the world waits for time to pass.
func (w *world) timeMatters() bool {
	for _, c := range w.cl {
		if c.dead {
			continue
		}
		if _, ok := c.s.Wake(); ok || c.paused || w.believes(c) {
			return true
		}
	}
	return w.sc.Reaper && (w.server.obj.Holder != nil || len(w.server.obj.Waiters) > 0) ||
		slices.ContainsFunc(w.net, func(m *msg) bool { return m.slow && !m.copied })
}

// local returns the index of an action that only changes one client, if that client can do nothing else
// and no fault can affect the action any more. It returns -1 if there is none.
//
// The order of such an action and the actions of other clients does not matter. So it is enough to
// explore the case in which it happens at once. That is also the strictest case for the checks: a belief
// that begins, or a call that ends, promises more the earlier it happens.
func (w *world) local(actions []action) int {
	if w.faults > 0 && w.sc.Kinds&^(ByHand|LostBefore|Twice|Refusal) != 0 {
		return -1
	}
	var count [8]int
	for _, a := range actions {
		if i := w.clientOf(a); i >= 0 {
			count[i]++
		}
	}
	for at, a := range actions {
		i := w.clientOf(a)
		if i < 0 || count[i] > 1 || a.verb != show && a.verb != deliver || a.verb == deliver && w.net[a.i].slow {
			continue
		}
		c := w.cl[i]
		underWay := slices.ContainsFunc(w.net, func(m *msg) bool { return m.client == i && !m.copied })
		if a.verb == show && !underWay || a.verb == deliver && !c.own && !c.lock {
			return at
		}
	}
	return -1
}

// clientOf returns the only client that an action changes, or -1 if it changes more than one client.
func (w *world) clientOf(a action) int {
	switch a.verb {
	case arrive, giveUp, save, renew, release, releaseLost, releaseAgain, abandon, shut, show, wake, resume, heal:
		return int(a.i)
	case deliver:
		if m := w.net[a.i]; m.answer {
			return m.client
		}
	default:
	}
	return -1
}
