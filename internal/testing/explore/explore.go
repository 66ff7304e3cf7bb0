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
	"math/rand/v2"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Limits says when an exploration stops.
type Limits struct {
	States int // 0 means no limit
	Depth  int // 0 means no limit
	Time   time.Duration
	// FairEvery says that one in so many states is played to its end. 0 means each state.
	FairEvery int
}

// Found is the result of an exploration.
type Found struct {
	States, Steps int
	Depth         int
	Complete      bool
	Took          time.Duration // processor time
	Fair          int           // the largest number of ticks from any state until all calls had ended
	FairFrom      []action
	Memory        string
	// Bad is the violated invariant, or empty. Path leads to the state. Then is set if the violation shows
	// only when the path goes on without further faults.
	Bad  string
	Path []action
	Then bool
}

// node is a state, described by the state before it and the action between them.
type node struct {
	before uint32
	action action
}

// explorer goes through the states of a scope in breadth-first order. It stores only the path to each
// state, and makes the state again when it needs it. That is cheap, because successive states have most of
// their paths in common.
type explorer struct {
	sc      *Scope
	limits  Limits
	seen    map[hash]struct{}
	nodes   []node
	stack   []*world // the states on the way to the last one
	onStack []uint32
	hasher  hasher
	fair    map[hash]uint16 // the number of ticks until all calls have ended
	found   Found
}

// Explore goes through the states of sc.
func Explore(sc *Scope, limits Limits) Found {
	x := &explorer{sc: sc, limits: limits, seen: map[hash]struct{}{}, fair: map[hash]uint16{}}
	begun, used := time.Now(), used()
	x.explore(begun)
	x.found.Took, x.found.States, x.found.Memory = usedUntilNow(used), len(x.nodes), memory()
	return x.found
}

func (x *explorer) explore(begun time.Time) {
	root := newWorld(x.sc)
	x.nodes = append(x.nodes, node{})
	x.stack, x.onStack = []*world{root}, []uint32{0}
	x.seen[root.hash(&x.hasher)] = struct{}{}
	if !x.check(root, 0) {
		return
	}
	levelEnd := 1
	var actions []action
	for id := 0; id < len(x.nodes); id++ {
		if id == levelEnd {
			x.found.Depth++
			levelEnd = len(x.nodes)
			if x.limits.Depth > 0 && x.found.Depth >= x.limits.Depth {
				return
			}
		}
		if x.limits.States > 0 && len(x.nodes) >= x.limits.States ||
			x.limits.Time > 0 && id&0xff == 0 && time.Since(begun) > x.limits.Time {
			return
		}
		w := x.world(uint32(id))
		actions = w.actions(actions[:0])
		first := w.local(actions)
		if first >= 0 {
			next := w.do(actions[first])
			if before, after := w.cl[w.clientOf(actions[first])], next.cl[w.clientOf(actions[first])]; before.own == after.own && before.lock == after.lock {
				actions = actions[first : first+1]
			}
		}
		for _, a := range actions {
			next := w.do(a)
			x.found.Steps++
			h := next.hash(&x.hasher)
			if _, known := x.seen[h]; known {
				continue
			}
			x.seen[h] = struct{}{}
			x.nodes = append(x.nodes, node{uint32(id), a})
			if !x.check(next, len(x.nodes)-1) {
				return
			}
		}
	}
	x.found.Complete = true
}

// world makes the state of a node again.
func (x *explorer) world(id uint32) *world {
	var way []uint32
	for at := id; at != 0; at = x.nodes[at].before {
		way = append(way, at)
	}
	depth := 0
	for depth < len(way) && depth+1 < len(x.onStack) && x.onStack[depth+1] == way[len(way)-1-depth] {
		depth++
	}
	x.stack, x.onStack = x.stack[:depth+1], x.onStack[:depth+1]
	for ; depth < len(way); depth++ {
		next := way[len(way)-1-depth]
		x.stack = append(x.stack, x.stack[depth].again(x.nodes[next].action))
		x.onStack = append(x.onStack, next)
	}
	return x.stack[len(x.stack)-1]
}

// path returns the actions that lead to a node.
func (x *explorer) path(id int) []action {
	var path []action
	for at := uint32(id); at != 0; at = x.nodes[at].before {
		path = append([]action{x.nodes[at].action}, path...)
	}
	return path
}

// check checks a state, and plays it to its end without further faults. It returns false if it finds a
// violation.
func (x *explorer) check(w *world, id int) bool {
	if w.bad != "" {
		x.found.Depth++
		x.found.Bad, x.found.Path = w.bad, x.path(id)
		return false
	}
	if x.limits.FairEvery > 1 && id%x.limits.FairEvery != 0 {
		return true
	}
	ticks, bad := x.playFair(w)
	if bad != "" {
		x.found.Depth++
		x.found.Bad, x.found.Path, x.found.Then = bad, x.path(id), true
		return false
	}
	if ticks > x.found.Fair {
		x.found.Fair, x.found.FairFrom = ticks, x.path(id)
	}
	return true
}

// mostAtOnce is the largest number of steps at one time. With more, a session repeats itself without end.
const mostAtOnce = 400

// playFair plays a state to its end without further faults. It returns how many ticks that took, and the
// violated invariant, if there is one.
func (x *explorer) playFair(w *world) (ticks int, bad string) {
	type point struct {
		h     hash
		ticks int
	}
	var points []point
	rest := 0
	w = w.calm()
	for atOnce := 0; ; atOnce++ {
		h := w.hash(&x.hasher)
		if known, ok := x.fair[h]; ok {
			rest = int(known)
			break
		}
		points = append(points, point{h, ticks})
		a, ok := w.fairAction()
		if !ok {
			w.checkEnd()
			if w.bad != "" {
				return ticks, w.bad
			}
			break
		}
		if a.verb == tick {
			ticks++
			atOnce = 0
		}
		w = w.do(a)
		switch {
		case w.bad != "":
			return ticks, w.bad
		case atOnce > mostAtOnce:
			return ticks, "more and more is done in one moment"
		case ticks > x.mostTicks():
			return ticks, fmt.Sprintf("it is not over after %d ticks without a further fault", ticks)
		}
	}
	if ticks+rest > x.mostTicks() {
		return ticks + rest, fmt.Sprintf("it is not over after %d ticks without a further fault", x.mostTicks())
	}
	for _, p := range points {
		x.fair[p.h] = uint16(ticks + rest - p.ticks)
	}
	return ticks + rest, ""
}

func (x *explorer) mostTicks() int {
	if x.sc.Fair > 0 {
		return x.sc.Fair
	}
	return 400
}

// calm returns w without further faults. Copies of requests that have not arrived yet never do.
func (w *world) calm() *world {
	w = w.copy()
	w.faults = 0
	var net []*msg
	for _, m := range w.net {
		if !m.copied {
			net = append(net, m)
		}
	}
	w.net = net
	return w
}

// order is the order of actions when no fault happens.
var order = map[verb]int{
	resume: 1, heal: 2, deliver: 3, show: 4, wake: 5, finalize: 6, reap: 7, releaseLost: 8, releaseAgain: 9, arrive: 10, release: 11, tick: 12,
}

// fairAction returns the next action when no fault happens. ok is false if there is none.
func (w *world) fairAction() (best action, ok bool) {
	for _, a := range w.actions(nil) {
		if o := order[a.verb]; o > 0 && (!ok || o < order[best.verb]) {
			best, ok = a, true
		}
	}
	return best, ok
}

// checkEnd checks a final state, which has no further actions.
func (w *world) checkEnd() {
	left := false // whether a client may have left a hold or an entry that no other client removes
	for i, c := range w.cl {
		switch {
		case c.dead:
			left = true
			continue
		case c.came < len(w.sc.Calls[i]) && !c.closed, len(c.waiting) > 0:
			w.violatedf("it is over, and a caller of %s has not got the lock", w.cfgs[i].Client)
		case len(c.calls) > 0, c.hold.on:
			w.violatedf("it is over, and a call of %s has not ended", w.cfgs[i].Client)
		case !c.s.Quiet():
			w.violatedf("it is over, and %s is not quiet: %v", w.cfgs[i].Client, c.s.State())
		}
		left = left || c.strays && (!w.sc.Lingers || w.disturbed) || c.refused || c.closed
	}
	if left && !w.sc.Reaper {
		return
	}
	if r := w.server.obj; r.Holder != nil && !r.Resting() && !w.overdue() && !w.wasLost() || len(r.Waiters) > 0 && (!w.sc.Lingers || w.sc.Reaper) { // No watch shows an entry.
		w.violatedf("it is over, and the lock is not free, or its queue not empty")
	}
}

// Transcript describes what happens on the path to a violation.
func Transcript(sc *Scope, f Found) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# scope: %s\n# %s\n", sc.Name, f.Bad)
	w := newWorld(sc)
	w.log = func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, a := range f.Path {
		w = w.do(a)
	}
	if !f.Then {
		return b.String()
	}
	fmt.Fprintf(&b, "# then, without further faults:\n")
	w = w.calm()
	end := w.ticks + f.Fair + 8
	if sc.Fair > 0 {
		end = w.ticks + sc.Fair + 8
	}
	for steps := 0; steps < 300 && w.ticks < end && w.bad == ""; steps++ {
		a, ok := w.fairAction()
		if !ok {
			w.checkEnd()
			break
		}
		w = w.do(a)
	}
	return b.String()
}

// Replay plays the actions of a transcript, and then goes on without further faults. It returns the
// violated invariant, if there is one, and the first line whose action is not possible, if there is one.
func Replay(sc *Scope, transcript string) (bad, impossible string) {
	x := &explorer{sc: sc, fair: map[hash]uint16{}}
	w := newWorld(sc)
	for line := range strings.Lines(transcript) {
		line = strings.TrimRight(line, "\n")
		if strings.HasPrefix(line, "# then") {
			break
		}
		if line == "" || line[0] == ' ' || line[0] == '#' || line[0] == '*' {
			continue
		}
		next, ok := w.play(line)
		if w = next; !ok {
			return "", line
		}
		if w.bad != "" {
			return w.bad, ""
		}
	}
	_, bad = x.playFair(w)
	return bad, ""
}

// Walk takes that many random steps. At a final state it starts again from the beginning.
func Walk(sc *Scope, seed uint64, steps int, until time.Duration) Found {
	begun := time.Now()
	rnd := rand.New(rand.NewPCG(seed, 0))
	x := &explorer{sc: sc, fair: map[hash]uint16{}}
	f := &x.found
	var actions []action
	for f.Steps < steps && (until == 0 || time.Since(begun) < until) {
		w := newWorld(sc)
		var path []action
		for {
			actions = w.actions(actions[:0])
			if len(actions) == 0 {
				break
			}
			a := pick(rnd, actions)
			path = append(path, a)
			w = w.do(a)
			f.Steps++
			if w.bad != "" {
				f.Bad, f.Path = w.bad, path
				f.Took = time.Since(begun)
				return *f
			}
			if rnd.IntN(64) == 0 {
				if _, f.Bad = x.playFair(w); f.Bad != "" {
					f.Path, f.Then, f.Took = path, true, time.Since(begun)
					return *f
				}
			}
			if len(path) > 400 {
				break
			}
		}
		f.States++
		if len(x.fair) > 1<<20 {
			clear(x.fair)
		}
	}
	f.Took = time.Since(begun)
	return *f
}

// used returns the processor time that the process has used.
func used() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func usedUntilNow(before time.Duration) time.Duration { return used() - before }

// memory returns how much memory the process uses, as text.
func memory() string {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return fmt.Sprintf("%d MB", m.HeapInuse>>20)
}

// pick chooses a random action. If there are faults among the actions, it chooses one of them half of the
// time.
func pick(rnd *rand.Rand, actions []action) action {
	first := len(actions)
	for first > 0 && actions[first-1].verb >= firstFault {
		first--
	}
	if first == len(actions) || first > 0 && rnd.IntN(12) > 0 {
		return actions[rnd.IntN(first)]
	}
	return actions[first+rnd.IntN(len(actions)-first)]
}
