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
