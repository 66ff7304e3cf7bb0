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
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// transitions counts the transitions of sessions from one state to another.
var transitions = map[[2]session.State]int{}

// step passes an event to the session of client i, and executes the effects.
func (w *world) step(i int, c *client, e session.Event) {
	queue := []session.Event{e}
	for len(queue) > 0 {
		e, queue = queue[0], queue[1:]
		c.number++
		e.Now, e.Server, e.Number = w.now(), c.time, c.number
		before := c.s.State()
		effects := c.s.Step(e)
		if after := c.s.State(); after != before {
			transitions[[2]session.State{before, after}]++
		}
		for _, f := range effects {
			if f.Kind == session.Check {
				checked := session.Event{Kind: session.Checked, Caller: f.Caller}
				if w.sc.Calls[i][f.Caller-1].Applies {
					made := text(f.Value) + w.tagOf(i, f.Caller)
					checked.Change = protocol.Change{Write: true, Value: &made}
				}
				queue = append(queue, checked)
			}
			w.effect(i, c, f)
		}
		if c.hold.kept {
			c.hold.kept = false
			queue = append(queue, session.Event{Kind: session.KeepAlive, Caller: c.hold.caller})
		}
	}
	w.updateWatches(c)
	if wake, ok := c.s.Wake(); ok && !wake.After(w.now()) {
		w.violatedf("%s wants to be woken up at once, again and again", w.cfgs[i].Client)
	}
	if w.known {
		return
	}
	still := c.s.Clone()
	for _, f := range still.Step(session.Event{Kind: session.Tick, Now: w.now(), Server: c.time, Number: c.number + 1}) {
		w.violatedf("%s does more when the same moment comes again: %s", w.cfgs[i].Client, effectText(f, w.now()))
	}
}

// updateWatches opens and closes the watches of c as its session requests. The watch of c's own locks
// stays open until the session is quiet. A watch that is opened begins with a list.
func (w *world) updateWatches(c *client) {
	want, r := c.s.Watch(), w.server.obj
	if c.lock && want != session.WatchLock {
		c.lock = false
		c.sights = slices.DeleteFunc(c.sights, func(s sight) bool { return s.lock })
	}
	if !c.lock && want == session.WatchLock {
		c.lock = true
		switch {
		case c.cut:
		case r.Exists():
			c.sights = append(c.sights, sight{session.Shown, r, true})
		default: // The object may have been deleted just before.
			c.sights = append(c.sights, sight{kind: session.Missed, lock: true})
		}
	}
	switch {
	case !c.own && want == session.WatchOwn:
		c.own, c.ownLast = true, nil
		if !c.cut {
			w.showOwn(c)
			if c.ownLast == nil && !r.Exists() {
				c.sights = append(c.sights, sight{kind: session.Missed})
			}
		}
	case c.own && c.s.Quiet() && !w.sc.Lingers:
		c.own, c.ownLast = false, nil
		c.sights = slices.DeleteFunc(c.sights, func(s sight) bool { return !s.lock })
	}
	if !c.own && !c.lock {
		c.cut, c.lagged = false, false
	}
}

// effect executes an effect of a session.
func (w *world) effect(i int, c *client, f session.Effect) {
	if w.log != nil {
		w.logf("    %s: %s", w.cfgs[i].Client, effectText(f, w.now()))
	}
	switch f.Kind {
	case session.Send:
		w.send(i, c, f.Request)
	case session.Cancel:
		w.net = slices.DeleteFunc(w.net, func(m *msg) bool { return m.client == i && !m.copied && m.req == f.Request })
	case session.Check, session.Believe:
	case session.Grant:
		w.granted(i, c, f)
	case session.Extend:
		if !c.hold.on || c.hold.caller != f.Caller {
			w.violatedf("%s extends a hold that no caller has", w.cfgs[i].Client)
		}
		c.hold.deadline = f.Deadline
	case session.Lose:
		if !c.hold.on || c.hold.caller != f.Caller {
			w.violatedf("%s loses a hold that no caller has", w.cfgs[i].Client)
		}
		c.lost, c.lostID = append(c.lost, f.Caller), c.hold.lockID
		c.hold = belief{}
	case session.Fail:
		w.ended(i, c, f.Caller, "fails")
		if w.sc.Calls[i][f.Caller-1].Applies && !f.Failure.OutcomeUnknown {
			w.notWritten(w.tagOf(i, f.Caller))
		}
	case session.Applied:
		w.applied(i, c, f)
	case session.Done:
		w.done(i, c, f)
	}
}

// ended removes a caller from those that wait.
func (w *world) ended(i int, c *client, caller int, how string) {
	at := slices.Index(c.waiting, caller)
	if at < 0 {
		w.violatedf("caller %d of %s %s, and does not wait", caller, w.cfgs[i].Client, how)
		return
	}
	c.waiting = slices.Delete(c.waiting, at, at+1)
}

func (w *world) send(i int, c *client, req *session.Request) {
	for _, m := range w.net {
		if m.client == i && !m.copied {
			w.violatedf("%s has two requests under way", w.cfgs[i].Client)
		}
	}
	w.net = append(w.net, &msg{client: i, req: req})
	if req.Kind != session.Amend {
		return
	}
	if h := req.To.Holder; c.hold.on && h != nil && h.LockID == c.hold.lockID {
		c.hold.longest = later(c.hold.longest, w.now().Add(w.sc.Lease))
	}
	if req.To.Value != nil && !sameText(req.From.Value, req.To.Value) {
		w.writesState(i, c, *req.To.Value)
	}
}

// writesState checks that no state is written after the hold has ended.
func (w *world) writesState(i int, c *client, value string) {
	for _, call := range c.calls {
		if call.value == value && call.kind == releasingCall && !w.now().Before(call.until) {
			w.violatedf("%s writes state in a release after its hold has ended", w.cfgs[i].Client)
		}
	}
}

func (w *world) granted(i int, c *client, f session.Effect) {
	h, r := f.Hold, w.server.obj
	w.ended(i, c, f.Caller, "is granted the lock")
	if c.hold.on {
		w.violatedf("%s grants the lock while another caller of it has it", w.cfgs[i].Client)
	}
	c.hold = belief{on: true, caller: f.Caller, lockID: h.LockID, token: h.Token, deadline: h.Deadline, longest: h.Deadline, value: text(f.Value)}
	shown := r.UID == h.UID && r.HeldBy(h.LockID, h.Token) && r.Holder.RenewTime.Equal(f.Record.Holder.RenewTime)
	c.hold.broken = w.disturbed && !shown
	if c.hold.broken {
		return
	}
	if last := r.LastRelease; shown && last != nil && last.LockID == h.LockID {
		w.violatedf("%s has a second hold of the lock ID %s", w.cfgs[i].Client, h.LockID)
	}
	if h.Token <= w.token {
		w.violatedf("the token %d of %s is not greater than %d, which a hold has had", h.Token, w.cfgs[i].Client, w.token)
	}
	w.token = max(w.token, h.Token)
	if shown && !sameText(r.Value, f.Value) && w.now().Before(h.Deadline) {
		w.violatedf("%s is granted the lock with the state %q, and it has %q", w.cfgs[i].Client, text(f.Value), text(r.Value))
	}
	if w.now().Before(w.freeFrom) {
		w.violatedf("%s is granted the lock at %s, and it shall rest until %s", w.cfgs[i].Client, at(w.now()), at(w.freeFrom))
	}
	if ticks := w.sc.Calls[i][f.Caller-1].MinHold; ticks > 0 {
		c.minimal = append(c.minimal, minimal{h.LockID, w.now().Add(time.Duration(ticks) * w.sc.Tick)})
	}
	if w.sc.Calls[i][f.Caller-1].KeepAlive {
		c.hold.kept = true // The session learns it by an event of its own.
	}
}

func (w *world) done(i int, c *client, f session.Effect) {
	if f.Op == 0 { // The effect belongs to a renewal in the background.
		return
	}
	at := slices.IndexFunc(c.calls, func(o call) bool { return o.id == f.Op })
	if at < 0 {
		w.violatedf("call %d of %s ends twice", f.Op, w.cfgs[i].Client)
		return
	}
	o, result := c.calls[at], f.Result
	c.calls = slices.Delete(c.calls, at, at+1)
	switch {
	case o.kind == renewing || o.tag == "":
	case result.Kind == session.OK:
		w.written(o.tag)
		if o.kind == saving && c.hold.caller == o.caller {
			c.hold.value = o.value
		}
	case !result.OutcomeUnknown && !result.Altered:
		w.notWritten(o.tag)
	}
	if o.kind == releasingCall && result.Ending != nil && !c.paused {
		c.again = append(c.again, again{o.caller, result.Ending, o.tag})
	}
}

// tagOf returns the text that a caller adds to the state by Apply.
func (w *world) tagOf(i, caller int) string { return fmt.Sprintf("%s%dx,", w.cfgs[i].Client, caller) }

// written records that a caller learns that its tag was written.
func (w *world) written(tag string) {
	if !strings.Contains(w.wiped, tag) && (!w.disturbed || strings.Contains(text(w.server.obj.Value), tag)) {
		w.acked = append(slices.Clone(w.acked), tag)
	}
}

// notWritten records that a caller learns that its tag was not written.
func (w *world) notWritten(tag string) {
	if strings.Contains(w.wiped, tag) {
		w.violatedf("%q was reported as not written, and was in a state that was deleted", tag)
	}
	w.denied = append(slices.Clone(w.denied), tag)
}

// applied records that a caller learns the outcome of its change.
func (w *world) applied(i int, c *client, f session.Effect) {
	w.ended(i, c, f.Caller, "has applied its change")
	switch tag := w.tagOf(i, f.Caller); {
	case f.Result.Kind == session.OK:
		w.written(tag)
	case !f.Result.OutcomeUnknown && !f.Result.Altered:
		w.notWritten(tag)
	}
}

// answer passes the answer to a request to its client.
func (w *world) answer(m *msg, a session.Answered) {
	c := w.edit(m.client)
	a.Request = m.req.ID
	if (w.sc.Time == Hinted || w.sc.Time == Misled) && a.Outcome != protocol.Unknown {
		c.time.hinted = true
		if a.Outcome == protocol.Committed && m.req.Kind != session.Read && m.req.Kind != session.Dequeue && m.req.Kind != session.Delete {
			c.time.told = true
		}
	}
	w.step(m.client, c, session.Event{Kind: session.Answer, Answered: a})
}

func answered(m *msg) session.Answered {
	a := session.Answered{Record: m.record}
	a.Outcome, a.Doubted, a.HolderDoubts = m.outcome, m.doubted, m.doubted
	if a.Outcome != protocol.Committed {
		a.Reply.Err, a.Err = errRefused, errRefused
	}
	return a
}

// unanswered returns the answer that a session gets for a request without an answer.
func unanswered(timedOut bool) session.Answered {
	var a session.Answered
	a.Outcome, a.TimedOut = protocol.Unknown, timedOut
	return a
}
