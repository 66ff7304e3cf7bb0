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
	"runtime"
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
