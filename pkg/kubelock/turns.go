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

package kubelock

import (
	"context"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/lru"
)

const (
	// soon is how soon after its release a caller comes back that goes around a loop.
	soon = 50 * time.Millisecond
	// sure is how often in a row that must have been so for the next time to be expected.
	// Once is enough where so many others wait that nobody waits for who does not come: the
	// place in the queue is taken back before its turn.
	sure, many = 2, 16
	// maxHabits is of how many keys the habits are known at most.
	maxHabits = 1024
)

// turns queues the callers of one client that want the same key: first come, first
// served. Only the one whose turn it is talks to the API server, and it keeps its
// turn until its hold has ended. So at most one hold of a client on a key is alive,
// and at most one entry of a client that still counts is in a lock's queue.
//
// A turn is passed on together with the client's contest for the lock, if that has
// begun: who comes next then has the client's place in the queue. Where callers have
// come back soon after each release, the contest is kept for the one that is expected.
type turns struct {
	now func() time.Time

	mu     sync.Mutex // protects the fields below and what they hold
	lines  map[string]*line
	habits *lru.Cache // *habit by key
	closed bool
}

// line is the queue for one key. It is there while somebody has the turn, or is expected.
type line struct {
	waiting []*ticket
	kept    *kept // nil while somebody has the turn
}

// kept is a contest for a caller that is expected.
type kept struct {
	contest *contest
	timer   *time.Timer // runs out when the caller has not come soon
	// taken is called when the caller has come, and unwanted when it has not.
	taken, unwanted func()
}

// habit is how callers have come back to a key.
type habit struct {
	left  time.Time // the turn
	quick int       // how often they came soon after that, in a row
}

// ticket is a caller that waits for its turn.
type ticket struct {
	duration time.Duration
	turn     chan *contest // has room for the one value that it ever gets
}

func newTurns(now func() time.Time) *turns {
	return &turns{now: now, lines: map[string]*line{}, habits: lru.New(maxHabits)}
}

// enter waits for the caller's turn, and returns the contest that comes with it, or
// nil. ahead is how many callers came first. If ctx ends before, its error is
// returned and there is nothing to leave. duration is that of the lease which the
// caller wants.
func (t *turns) enter(ctx context.Context, name string, duration time.Duration) (a *contest, ahead int, err error) {
	t.mu.Lock()
	l := t.lines[name]
	if l == nil || l.kept != nil {
		t.cameLocked(name)
		a = t.takeLocked(name)
		t.mu.Unlock()
		return a, 0, nil
	}
	self := &ticket{duration: duration, turn: make(chan *contest, 1)}
	ahead = len(l.waiting) + 1
	l.waiting = append(l.waiting, self)
	t.mu.Unlock()

	select {
	case a := <-self.turn:
		return a, ahead, nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(l.waiting, self); i >= 0 {
		l.waiting = slices.Delete(l.waiting, i, i+1)
		return nil, ahead, ctx.Err()
	}
	// The turn came at the same time, and somebody has to leave it.
	return <-self.turn, ahead, nil
}

// tryEnter takes the turn if nobody has it, and the contest that comes with it, or nil.
func (t *turns) tryEnter(name string) (a *contest, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.lines[name]; l != nil && l.kept == nil {
		return nil, false
	}
	t.habits.Remove(name) // Such a caller does not queue.
	return t.takeLocked(name), true
}

// takeLocked takes the turn, which nobody has, and the contest that was kept.
func (t *turns) takeLocked(name string) *contest {
	l := t.lines[name]
	if l == nil {
		t.lines[name] = &line{}
		return nil
	}
	k := l.kept
	l.kept = nil
	k.timer.Stop()
	k.taken()
	return k.contest
}

// cameLocked notes that a caller takes the turn.
func (t *turns) cameLocked(name string) {
	v, ok := t.habits.Get(name)
	if !ok {
		return
	}
	if h := v.(*habit); t.now().Sub(h.left) <= soon {
		h.quick++
	} else {
		h.quick = 0
	}
}

// expects reports whether a caller is likely to come soon after the turn is left, for a lock
// that so many others wait for.
func (t *turns) expects(name string, waiters int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.habits.Get(name)
	if !ok {
		return false
	}
	quick := v.(*habit).quick
	return quick >= sure || quick > 0 && waiters >= many
}

// keep keeps a for a caller that is expected to take the turn, and calls one of the two
// functions later. It returns false if somebody waits for the turn already.
func (t *turns) keep(name string, a *contest, taken, unwanted func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[name]
	if t.closed || len(l.waiting) > 0 {
		return false
	}
	t.leftLocked(name)
	k := &kept{contest: a, taken: taken, unwanted: unwanted}
	k.timer = time.AfterFunc(soon, func() {
		t.mu.Lock()
		l := t.lines[name]
		late := l == nil || l.kept != k
		if !late {
			delete(t.lines, name)
			t.habits.Remove(name)
		}
		t.mu.Unlock()
		if !late {
			unwanted()
		}
	})
	l.kept = k
	return true
}

// leftLocked notes that the turn is left, and nobody waits for it.
func (t *turns) leftLocked(name string) {
	if v, ok := t.habits.Get(name); ok {
		v.(*habit).left = t.now()
		return
	}
	t.habits.Add(name, &habit{left: t.now()})
}

// close keeps nothing any more.
func (t *turns) close() {
	t.mu.Lock()
	t.closed = true
	var all []*kept
	for name, l := range t.lines {
		if l.kept != nil {
			l.kept.timer.Stop()
			all = append(all, l.kept)
			delete(t.lines, name)
		}
	}
	t.mu.Unlock()
	for _, k := range all {
		k.unwanted()
	}
}

// successor tells the lease that the next caller wants. ok is false if there is
// none.
func (t *turns) successor(name string) (duration time.Duration, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := t.lines[name]; l != nil && len(l.waiting) > 0 {
		return l.waiting[0].duration, true
	}
	return 0, false
}

// leave gives the turn to the next caller, and a with it. It returns false if there
// is none.
func (t *turns) leave(name string, a *contest) (passed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.lines[name]
	if len(l.waiting) == 0 {
		t.leftLocked(name)
		delete(t.lines, name)
		return false
	}
	next := l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	next.turn <- a
	return true
}
