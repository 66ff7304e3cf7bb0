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
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// again returns the state after a, without checking it: it has been checked before.
func (w *world) again(a action) *world {
	w = w.copy()
	w.known = true
	w.act(a)
	return w
}

// do returns the state after a, and checks it.
func (w *world) do(a action) *world {
	w = w.copy()
	w.known = false
	w.act(a)
	w.check()
	return w
}

func (w *world) act(a action) {
	i := int(a.i)
	if a.verb >= firstFault {
		w.faults--
	}
	if w.log != nil {
		w.logf("%s", w.actionText(a))
	}
	switch a.verb {
	case arrive:
		c := w.edit(i)
		call := w.sc.Calls[i][c.came]
		c.came++
		c.waiting = append(c.waiting, c.came)
		w.step(i, c, session.Event{Kind: session.Arrive, Caller: c.came, Want: session.Want{
			Duration: w.sc.Lease, MinHold: time.Duration(call.MinHold) * w.sc.Tick, Try: call.Try, Remove: call.Remove, Apply: call.Applies,
		}})
	case giveUp:
		c := w.edit(i)
		w.step(i, c, session.Event{Kind: session.GiveUp, Caller: c.waiting[a.j]})
	case save, renew:
		c := w.edit(i)
		w.update(i, c, a.verb == save)
	case release:
		c := w.edit(i)
		w.release(i, c, c.hold.caller, c.hold.value, c.hold.longest, nil)
	case releaseLost:
		c := w.edit(i)
		caller := c.lost[0]
		c.lost = c.lost[1:]
		w.release(i, c, caller, "late,", w.now(), nil)
	case releaseAgain:
		c := w.edit(i)
		g := c.again[0]
		c.again = c.again[1:]
		w.denied = slices.DeleteFunc(slices.Clone(w.denied), func(tag string) bool { return tag == g.tag }) // The copy may still be written.
		w.release(i, c, g.caller, "", w.now(), &g)
	case abandon:
		c := w.edit(i)
		w.step(i, c, session.Event{Kind: session.Abandon, Op: c.calls[0].id})
	case shut:
		c := w.edit(i)
		c.closed = true
		for _, caller := range slices.Clone(c.waiting) {
			w.step(i, c, session.Event{Kind: session.GiveUp, Caller: caller})
		}
		w.step(i, c, session.Event{Kind: session.Close})
	case deliver:
		w.deliver(i)
	case show:
		c := w.edit(i)
		s := c.sights[0]
		c.sights = c.sights[1:]
		w.step(i, c, session.Event{Kind: s.kind, Record: s.record})
	case wake:
		w.step(i, w.edit(i), session.Event{Kind: session.Tick})
	case resume:
		c := w.edit(i)
		c.paused = false
		// A client that is ending an unused hold stops when its lease is over: other clients end the hold then.
		c.strays = c.strays || c.s.State() == session.Leaving
	case heal:
		w.heal(w.edit(i))
	case finalize:
		before := w.server.obj
		w.commit((*server).finalize)
		w.wipe(before)
		w.rests(before)
		if w.disturbed {
			w.disturb()
		}
	case reap:
		w.reap()
	case tick:
		w.tick()
	default:
		w.fault(a)
	}
}

func (w *world) update(i int, c *client, saves bool) {
	c.lastOp++
	o := call{id: c.lastOp, caller: c.hold.caller, kind: renewing}
	e := session.Event{Kind: session.Update, Caller: c.hold.caller, Op: o.id}
	if saves {
		c.hold.saves++
		o.kind, o.tag = saving, fmt.Sprintf("%s%d,", upper(w.cfgs[i].Client), o.id)
		o.value = c.hold.value + o.tag
		e.Change = protocol.Change{Write: true, Value: &o.value}
	} else {
		c.hold.renews++
	}
	c.calls = append(c.calls, o)
	w.step(i, c, e)
}

func upper(client string) string { return string(client[0] - 'a' + 'A') }

func (w *world) release(i int, c *client, caller int, value string, until time.Time, g *again) {
	c.lastOp++
	o := call{id: c.lastOp, caller: caller, kind: releasingCall, tag: fmt.Sprintf("%s%d,", w.cfgs[i].Client, c.lastOp), until: until}
	e := session.Event{Kind: session.Release, Caller: caller, Op: o.id}
	o.value = value + o.tag
	if g != nil {
		o.tag, e.Ending = g.tag, g.ending
	} else {
		e.Change = protocol.Change{Write: true, Value: &o.value}
	}
	if c.hold.caller == caller {
		c.hold = belief{}
	}
	c.calls = append(c.calls, o)
	w.step(i, c, e)
}

// tick lets time pass.
func (w *world) tick() {
	w.ticks++
	for _, m := range slices.Clone(w.net) {
		if m.copied || w.cl[m.client].paused || w.now().Before(m.req.Sent.Add(m.req.Timeout)) {
			continue
		}
		i := slices.Index(w.net, m)
		if m.answer || m.req.Kind == session.Read || m.req.Kind == session.Ask {
			w.net = slices.Delete(w.net, i, i+1)
		} else {
			g := *m
			g.copied, g.toks = true, nil
			w.net[i] = &g
		}
		w.answer(m, unanswered(true))
	}
	for i, c := range w.cl {
		if slices.ContainsFunc(c.minimal, w.passed) {
			c = w.edit(i)
			c.minimal = slices.DeleteFunc(c.minimal, w.passed)
		}
		if at, ok := c.s.Wake(); ok && !c.dead && !c.paused && !at.After(w.now()) {
			w.step(i, w.edit(i), session.Event{Kind: session.Tick})
		}
	}
}

// passed reports whether what m keeps others from is over.
func (w *world) passed(m minimal) bool { return !w.now().Before(m.until) }
