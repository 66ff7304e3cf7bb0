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
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// epoch is the time at which each world begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

var errRefused = errors.New("refused")

// msg is a request or an answer on its way. A msg does not change.
type msg struct {
	client  int
	req     *session.Request
	answer  bool
	outcome protocol.Outcome
	record  protocol.Record
	doubted bool // whether a denial is one that clients doubt
	slow    bool // whether time may pass before it arrives
	copied  bool // whether it is a copy, for whose answer no client waits

	toks []tok
}

// belief is a hold as the caller of a client sees it.
type belief struct {
	on            bool
	caller        int
	lockID        string
	token         int64
	deadline      time.Time
	longest       time.Time // the latest deadline that any renewal sent so far may give it
	value         string    // the state as the caller knows it
	saves, renews int
	kept          bool
	// broken is set if a user has edited the lock since. Then no promise holds.
	broken bool
}

// call is a save, a renewal or a release that has not ended.
type call struct {
	id, caller int
	kind       callKind
	tag, value string
	// until is the deadline of a hold that is being released. No state may be written after it.
	until time.Time
}

type callKind uint8

const (
	saving callKind = iota
	renewing
	releasingCall
)

// minimal is a hold after which no other may begin until then, if it is released.
type minimal struct {
	lockID string
	until  time.Time
}

// again is a release of unknown outcome, which the caller may call again.
type again struct {
	caller int
	ending *session.Ending
	tag    string
}

// sight is a change that a watch has not shown yet.
type sight struct {
	kind   session.EventKind // Shown, Missed, Vanished
	record protocol.Record
	lock   bool // whether the watch of the lock itself shows it
}

// client is a client with its session, its watches and its callers.
type client struct {
	s                         *session.Session
	dead, paused, cut, lagged bool
	closed                    bool
	time                      knows

	came    int   // how many of the scope's calls have begun
	waiting []int // callers that wait for the lock
	lost    []int // callers that have lost their hold and have not released it yet
	lostID  string
	hold    belief
	calls   []call
	again   []again
	lastOp  int

	own, lock bool             // the watches that are open
	ownLast   *protocol.Record // what the own watch has last shown of a hold; nil: that there is none
	sights    []sight
	strays    bool // whether a copy or a late request of this client was executed, or a user has added an entry
	refused   bool // whether a request of this client was refused permanently
	minimal   []minimal

	number uint64 // of events
	toks   []tok
}

// world is one state. Values behind its pointers never change.
type world struct {
	sc     *Scope
	cfgs   []*session.Config
	ticks  int
	server server
	past   []server // versions that a restored server may go back to, the newest last
	cl     []*client
	net    []*msg
	faults int
	seen   protocol.Observation // the observation of the reaper
	token  int64                // the greatest token of any hold
	acked  []string             // tags that were reported as written
	denied []string             // tags that were reported as not written
	wiped  string               // the states that were deleted with the lock
	// freeFrom is from when a hold may begin, as the last holder has wanted it.
	freeFrom time.Time
	// disturbed is set once a user or a restored backup has changed the object.
	disturbed bool
	// wentBack is set once the server goes on with an older version.
	wentBack bool
	bad      string // the violated invariant

	objToks []tok
	known   bool // it has been checked before
	log     func(format string, args ...any)
}

func newWorld(sc *Scope) *world {
	w := &world{sc: sc, faults: sc.Faults, server: server{rv: 100, obj: gone(), finalizer: sc.Finalizer}}
	for i := range sc.Calls {
		name := string(rune('a' + i))
		cfg := &session.Config{Object: object, Key: lockKey, Client: name, Identity: name, MaxClockSkew: -1}
		c := &client{s: session.New(cfg), time: knows{node: time.Duration(7*i) * time.Second}}
		if sc.Time != NoTime {
			cfg.MaxClockSkew = 0
		}
		c.time.wrong = sc.Time == Misled
		if sc.Time == Told {
			c.time.hinted, c.time.told = true, true
		}
		w.cfgs, w.cl = append(w.cfgs, cfg), append(w.cl, c)
	}
	if sc.Created {
		w.server.uids = 1
		w.server.put(protocol.Record{Name: object, Key: lockKey, UID: "u1", CreateTime: epoch})
	}
	w.observe()
	for _, line := range sc.From {
		next, ok := w.play(line)
		if !ok {
			panic("this cannot happen: " + line + "; this can: " + w.possible())
		}
		w = next
	}
	return w
}

// possible returns the lines of all possible actions.
func (w *world) possible() string {
	actions := w.actions(nil)
	lines := make([]string, 0, len(actions))
	for _, a := range actions {
		lines = append(lines, w.actionText(a))
	}
	return strings.Join(lines, ", ")
}

// play executes the action of a line in a transcript. ok is false if the action is not possible.
func (w *world) play(line string) (next *world, ok bool) {
	for _, a := range w.actions(nil) {
		if w.actionText(a) == line {
			return w.do(a), true
		}
	}
	return w, false
}

// copy returns a copy that may be changed, except for the elements of its slices.
func (w *world) copy() *world {
	c := *w
	c.cl, c.net = slices.Clone(w.cl), slices.Clone(w.net)
	return &c
}

// edit replaces client i by a copy that may be changed, and returns it.
func (w *world) edit(i int) *client {
	c := *w.cl[i]
	c.s = c.s.Clone()
	c.waiting, c.lost, c.calls = slices.Clone(c.waiting), slices.Clone(c.lost), slices.Clone(c.calls)
	c.minimal = slices.Clone(c.minimal)
	c.again, c.sights = slices.Clone(c.again), slices.Clone(c.sights)
	c.toks = nil
	w.cl[i] = &c
	return &c
}

func (w *world) now() time.Time { return epoch.Add(time.Duration(w.ticks) * w.sc.Tick) }

func (w *world) violatedf(format string, args ...any) {
	if w.bad == "" {
		w.bad = fmt.Sprintf(format, args...)
		w.logf("*** %s", w.bad)
	}
}

func (w *world) logf(format string, args ...any) {
	if w.log != nil {
		w.log(format, args...)
	}
}

// believes reports whether the caller of c believes that it holds the lock.
func (w *world) believes(c *client) bool { return c.hold.on && w.now().Before(c.hold.deadline) }

// observe updates the observation of the reaper, which sees each change at once.
func (w *world) observe() {
	w.objToks = nil
	w.seen = w.seen.Observe(w.server.obj, w.now())
}

// commit changes the server by f, and passes the change to the watches.
func (w *world) commit(f func(s *server)) {
	before := w.server
	f(&w.server)
	if w.server.rv == before.rv && w.server.obj.SameVersion(before.obj) {
		return
	}
	if w.sc.Kinds.has(Restore) {
		w.past = append(slices.Clone(w.past[max(0, len(w.past)-1):]), before)
	}
	if w.log != nil {
		w.logf("    lock: %s", lockText(w.server.obj, w.now()))
	}
	w.observe()
	w.show(before.obj)
}

// show passes the current object to the watches.
func (w *world) show(before protocol.Record) {
	r := w.server.obj
	for i, c := range w.cl {
		if c.dead || c.cut || !c.own && !c.lock {
			continue
		}
		c = w.edit(i)
		if c.own {
			w.showOwn(c)
		}
		switch {
		case !c.lock:
		case r.Exists() && (r.UID == before.UID || !before.Exists()):
			c.sights = append(c.sights, sight{session.Shown, r, true})
		default:
			c.sights = append(c.sights, sight{kind: session.Missed, lock: true})
			if r.Exists() {
				c.sights = append(c.sights, sight{session.Shown, r, true})
			}
		}
	}
}

// showOwn passes the current object to the watch of c's own locks.
func (w *world) showOwn(c *client) {
	r := w.server.obj
	held := r.Holder != nil && r.Holder.Client == w.name(c)
	switch {
	case held && (c.ownLast == nil || !c.ownLast.SameVersion(r)):
		c.ownLast = &r
		c.sights = append(c.sights, sight{session.Shown, r, false})
	case !held && c.ownLast != nil:
		c.sights = append(c.sights, sight{session.Vanished, *c.ownLast, false})
		c.ownLast = nil
	}
}

func (w *world) name(c *client) string {
	return w.cfgs[slices.Index(w.cl, c)].Client
}

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

// disturb records that a user or a restored backup changes the object. Promises to the current holders end
// with that.
func (w *world) disturb() {
	w.disturbed, w.freeFrom = true, time.Time{}
	for i, c := range w.cl {
		if c.hold.on && !w.server.obj.HeldBy(c.hold.lockID, c.hold.token) {
			w.edit(i).hold.broken = true
		}
	}
	w.acked = nil
}

// check checks the invariants that must hold in each state.
func (w *world) check() {
	var believer *client
	for _, c := range w.cl {
		if !w.believes(c) || c.hold.broken {
			continue
		}
		if believer != nil {
			w.violatedf("two clients believe that they have the lock: %s and %s", w.name(believer), w.name(c))
		}
		believer = c
	}
	value := text(w.server.obj.Value)
	for _, tag := range w.acked {
		if !strings.Contains(value, tag) {
			w.violatedf("the state is %q, without %q, which was reported as written", value, tag)
		}
	}
	for _, tag := range w.denied {
		if strings.Contains(value, tag) {
			w.violatedf("the state is %q, with %q, which was reported as not written", value, tag)
		}
	}
	for i, calls := range w.sc.Calls {
		for j, call := range calls {
			if tag := w.tagOf(i, j+1); call.Applies && strings.Count(value, tag) > 1 {
				w.violatedf("the state is %q, with %q more than once", value, tag)
			}
		}
	}
	for i, c := range w.cl {
		if c.dead || c.strays || c.refused || len(c.lost) > 0 || len(c.again) > 0 || !c.s.Quiet() || w.underWay(i) {
			continue
		}
		r := w.server.obj
		// Other clients end a hold whose lease is over.
		if h := r.Holder; h != nil && h.Client == w.cfgs[i].Client && !w.overdue() && !w.wasLost() {
			w.violatedf("%s is quiet, and the lock is held by it", w.cfgs[i].Client)
		}
		if queued(r, w.cfgs[i].Client) {
			w.violatedf("%s is quiet, and queues", w.cfgs[i].Client)
		}
	}
}

// overdue reports whether the lock has been unchanged for longer than its lease.
func (w *world) overdue() bool {
	h := w.server.obj.Holder
	return h != nil && !w.now().Before(w.seen.Since.Add(h.Duration))
}

// wasLost reports whether the hold in the object has already ended for its holder.
func (w *world) wasLost() bool {
	h := w.server.obj.Holder
	return h != nil && slices.ContainsFunc(w.cl, func(c *client) bool { return c.lostID == h.LockID })
}

// underWay reports whether any request of client i may still arrive at the server.
func (w *world) underWay(i int) bool {
	return slices.ContainsFunc(w.net, func(m *msg) bool { return m.client == i && !m.answer })
}

func queued(r protocol.Record, client string) bool {
	return r.Place(func(lockID string) bool { return protocol.Waiter{LockID: lockID}.Client() == client }) < len(r.Waiters)
}

func text(value *string) string {
	if value == nil {
		return ""
	}
	return *value
}

func sameText(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
