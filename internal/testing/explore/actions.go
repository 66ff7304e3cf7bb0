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

// Scope bounds an exploration: it has the clients' calls, the faults and the initial state.
type Scope struct {
	Name string
	// Calls has the calls of each client, in the order in which the client makes them.
	Calls [][]Call
	// Local is set if a call may begin before the call before it has ended.
	Local bool
	// Faults is the largest number of faults. Their kinds are in Kinds.
	Faults int
	Kinds  Fault
	Reaper bool
	Time   TimeMode
	// Created is set if the object exists at the beginning.
	Created   bool
	Finalizer bool // whether the object has a finalizer
	Close     bool // whether the first client may be closed
	// Lingers is set if the watch of a client's own locks is never closed: another lock may need it.
	Lingers bool
	// From is the path to the state from which the scope is explored, as lines of a transcript.
	From  []string
	Tick  time.Duration
	Lease time.Duration
	// Fair is the largest number of ticks until all calls have ended, without further faults.
	Fair int
	most int // states that are explored
}

// Call describes what one caller does.
type Call struct {
	Try, Remove, KeepAlive, MayGiveUp bool
	Applies                           bool // a change, and nothing else
	MayAbandon                        bool // a save or a release that takes long
	Saves, Renews                     int  // at most
	MinHold                           int  // in ticks
}

// Fault is a set of kinds of faults.
type Fault uint32

// The kinds of faults.
const (
	LostBefore   Fault = 1 << iota // a request is lost, and its client learns at once that no answer comes
	LostAfter                      // the answer to a request is lost
	Slow                           // a message takes any time; a request may arrive after its timeout, too
	Twice                          // a write arrives a second time, at any time
	Crash                          // a client crashes
	Pause                          // a client is paused for any time
	Cut                            // a watch misses all changes for any time
	Lag                            // a watch shows changes late, by any time
	Deny                           // a request is denied, although the client has had access
	Reject                         // a request is refused permanently
	Busy                           // a request is refused, and may be repeated
	FreeByHand                     // a user removes the holder
	EmptyByHand                    // a user empties the queue
	DeleteByHand                   // a user deletes the object
	Restore                        // the server goes on with an older version of the object
	Unwatch                        // no watch can be opened

	Network = LostBefore | LostAfter | Slow | Twice
	Refusal = Deny | Reject | Busy
	ByHand  = FreeByHand | EmptyByHand | DeleteByHand
)

func (f Fault) has(kind Fault) bool { return f&kind != 0 }

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

// deliver delivers a message.
func (w *world) deliver(i int) {
	m := w.net[i]
	if m.answer {
		w.net = slices.Delete(w.net, i, i+1)
		w.answer(m, answered(m))
		return
	}
	outcome, record := w.exec(m)
	if m.copied {
		w.net = slices.Delete(w.net, i, i+1)
		return
	}
	a := *m
	a.answer, a.outcome, a.record, a.toks = true, outcome, record, nil
	w.net[i] = &a
}

// exec makes the server execute a request.
func (w *world) exec(m *msg) (outcome protocol.Outcome, record protocol.Record) {
	before := w.server.obj
	w.commit(func(s *server) { outcome, record = s.do(m.req, w.now()) })
	if outcome != protocol.Committed {
		w.logf("    server: %s", outcomes[outcome])
	}
	if before.SameVersion(w.server.obj) {
		return outcome, record
	}
	w.wipe(before)
	w.keepsQueue(before)
	w.rests(before)
	// The client does not know of a request that arrives after its timeout, or after the client has looked
	// for its effect. It does not wait for an entry that may still arrive.
	c := w.cl[m.client]
	looked := m.req.Kind == session.Enqueue && c.s.State() != session.Contending && c.s.State() != session.Holding ||
		c.s.State() == session.Idle && w.writes(m.client)
	if m.copied && (looked || c.s.Quiet() || !w.now().Before(m.req.Sent.Add(w.sc.Lease))) {
		w.edit(m.client).strays = true
	}
	if w.server.obj.Terminating && !before.Terminating || !w.server.obj.Exists() {
		for i, c := range w.cl {
			if w.believes(c) && !c.hold.broken {
				w.violatedf("%s deletes the lock that %s holds", w.cfgs[m.client].Client, w.cfgs[i].Client)
			}
		}
	}
	return outcome, record
}

// writes reports whether a client waits for the answer to a write. Without a caller, it does not look afterwards.
func (w *world) writes(client int) bool {
	return slices.ContainsFunc(w.net, func(m *msg) bool { return m.client == client && !m.copied && m.req.Kind == session.Amend })
}

// keepsQueue checks that a release removes no entries from the queue except those of the holder's own
// client and that of the next holder.
func (w *world) keepsQueue(before protocol.Record) {
	r := w.server.obj
	if w.disturbed || before.Holder == nil || r.LastRelease == nil || r.LastRelease == before.LastRelease || !r.LastRelease.Reason.ByHolder() {
		return
	}
	for _, entry := range before.Waiters {
		waiter, ok := protocol.ParseWaiter(entry)
		next := r.Holder != nil && r.Holder.LockID == waiter.LockID
		if ok && !next && waiter.Client() != before.Holder.Client && !slices.Contains(r.Waiters, entry) {
			w.violatedf("the release of %s takes the entry %s from the queue", before.Holder.LockID, waiter.LockID)
		}
	}
}

// rests notes until when no hold may begin, if the object is as the release of a hold with a minimal time has
// left it. Such a release writes its state, unless the hold had ended for its client.
func (w *world) rests(before protocol.Record) {
	r := w.server.obj
	for _, c := range w.cl {
		for _, m := range c.minimal {
			if before.HeldBy(m.lockID, 0) && !r.HeldBy(m.lockID, 0) && !sameText(before.Value, r.Value) {
				w.freeFrom = later(w.freeFrom, m.until)
			}
		}
	}
	if w.removes() && !r.Exists() || w.disturbed {
		w.freeFrom = time.Time{}
	}
}

// wipe records that the state was deleted with the lock at the request of a caller.
func (w *world) wipe(before protocol.Record) {
	if before.Value != nil && w.server.obj.Value == nil && (w.removes() || w.disturbed) {
		w.wiped += *before.Value
		w.acked = nil
	}
}

// removes reports whether any call of the scope deletes the lock.
func (w *world) removes() bool {
	return slices.ContainsFunc(w.sc.Calls, func(calls []Call) bool {
		return slices.ContainsFunc(calls, func(c Call) bool { return c.Remove })
	})
}

// heal resumes the watches of c. A watch that has missed a change resumes with a list.
func (w *world) heal(c *client) {
	if c.lagged {
		c.lagged = false
		return
	}
	c.cut = false
	c.sights = append(c.sights, sight{kind: session.Missed, lock: c.lock})
	if c.own {
		w.showOwn(c)
	}
	if c.lock && w.server.obj.Exists() {
		c.sights = append(c.sights, sight{session.Shown, w.server.obj, true})
	}
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

// fault executes a fault.
func (w *world) fault(a action) {
	i := int(a.i)
	switch a.verb {
	case lostBefore, lostAfter:
		m := w.net[i]
		w.net = slices.Delete(w.net, i, i+1)
		w.answer(m, unanswered(false))
	case slow, twice:
		m := *w.net[i]
		m.toks = nil
		if a.verb == slow {
			m.slow = true
			w.net[i] = &m
		} else {
			m.copied = true
			w.net = append(w.net, &m)
		}
	case deny, reject, busy:
		m := *w.net[i]
		m.answer, m.toks = true, nil
		m.outcome = map[verb]protocol.Outcome{deny: protocol.Denied, reject: protocol.Rejected, busy: protocol.Busy}[a.verb]
		m.doubted = a.verb == deny
		w.net[i] = &m
		if a.verb == reject {
			w.edit(m.client).refused = true
		}
	case crash:
		c := w.edit(i)
		*c = client{s: session.New(w.cfgs[i]), dead: true, strays: true}
		var net []*msg
		for _, m := range w.net {
			switch {
			case m.client != i || m.copied:
				net = append(net, m)
			case !m.answer && m.req.Kind != session.Read && m.req.Kind != session.Ask:
				g := *m
				g.copied, g.toks = true, nil
				net = append(net, &g)
			}
		}
		w.net = net
	case pause:
		w.edit(i).paused = true
	case cut:
		c := w.edit(i)
		c.cut, c.sights = true, nil
	case lag:
		w.edit(i).lagged = true
	case freeByHand, emptyByHand, deleteByHand:
		w.byHand(a.verb)
	case unwatch:
		w.step(i, w.edit(i), session.Event{Kind: session.WatchLost, Err: errRefused})
	case restore:
		old := w.past[i]
		old.uids, old.rv = w.server.uids, w.server.rv // A new object never gets an earlier UID, and no version comes twice.
		w.past = nil
		w.commit(func(s *server) { *s = old })
		w.restored()
	default:
		panic("no such action")
	}
}

func (w *world) byHand(v verb) {
	acked, before := w.acked, w.server.obj
	w.commit(func(s *server) {
		r := s.obj
		switch v {
		case freeByHand:
			r.Holder = nil
			s.put(r)
		case emptyByHand:
			r.Waiters = []string{}
			s.put(r)
		default:
			s.remove()
		}
	})
	if v == emptyByHand { // An empty queue breaks no promise.
		return
	}
	w.disturb()
	w.wipe(before)
	if v == freeByHand {
		w.acked = acked
	}
}

// restored adapts the checks after a backup was restored. Tokens continue from an earlier
// time, so the promises about them end. The watches are opened again, too.
func (w *world) restored() {
	w.disturb()
	w.wentBack, w.token = true, 0
	w.denied = nil
	for i, c := range w.cl {
		if c.dead {
			continue
		}
		c = w.edit(i)
		c.strays, c.hold.broken = true, true // The restore may have undone a renewal.
		if c.own || c.lock {
			c.sights = []sight{{kind: session.Missed, lock: c.lock}}
			if c.own {
				w.showOwn(c)
			}
			if c.lock && w.server.obj.Exists() {
				c.sights = append(c.sights, sight{session.Shown, w.server.obj, true})
			}
		}
	}
}

// judge returns the judge of the reaper.
func (w *world) judge() protocol.Judge {
	j := protocol.Judge{Now: w.now(), MaxClockSkew: w.cfgs[0].MaxClockSkew}
	if w.sc.Time != NoTime {
		j.ServerTime = w.now()
	}
	return j
}

// reaps reports whether an action of the reaper is due.
func (w *world) reaps() bool {
	r := w.server.obj
	if !r.Exists() || r.Terminating {
		return false
	}
	if r.Holder != nil {
		expired, _ := w.judge().Expired(r, w.seen)
		return expired
	}
	grantable, _ := w.judge().Grantable(r, w.seen)
	return grantable && len(r.Waiters) > 0
}

func (w *world) reap() {
	w.commit(func(s *server) {
		r, stamp := s.obj, protocol.Stamp{Time: w.now().Add(precision), Source: protocol.Server}
		if w.sc.Time == NoTime {
			stamp = protocol.Stamp{Time: w.now().Add(-time.Hour), Source: protocol.Node}
		}
		var err error
		if r.Holder != nil {
			r, err = protocol.Expire(r, nil, stamp)
		} else {
			r, err = protocol.Grant(r, stamp)
		}
		if err != nil {
			w.violatedf("the reaper: %v", err)
		}
		s.put(r)
	})
}
