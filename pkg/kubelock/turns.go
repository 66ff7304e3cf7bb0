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
)

// turns queues the callers of one client that want the same key: first come, first
// served. Only the one whose turn it is talks to the API server, and it keeps its
// turn until its hold has ended. So at most one hold of a client on a key is alive,
// and at most one entry of a client that still counts is in a lock's queue.
//
// A turn is passed on together with the client's contest for the lock, if that has
// begun: who comes next then has the client's place in the queue.
type turns struct {
	mu    sync.Mutex // protects lines and what they hold
	lines map[string]*line
}

// line is the queue for one key. It is there while somebody has the turn.
type line struct {
	waiting []*ticket
}

// ticket is a caller that waits for its turn.
type ticket struct {
	duration time.Duration
	turn     chan *contest // has room for the one value that it ever gets
}

func newTurns() *turns { return &turns{lines: map[string]*line{}} }

// enter waits for the caller's turn, and returns the contest that comes with it, or
// nil. ahead is how many callers came first. If ctx ends before, its error is
// returned and there is nothing to leave. duration is that of the lease which the
// caller wants.
func (t *turns) enter(ctx context.Context, name string, duration time.Duration) (a *contest, ahead int, err error) {
	t.mu.Lock()
	l := t.lines[name]
	if l == nil {
		t.lines[name] = &line{}
		t.mu.Unlock()
		return nil, 0, nil
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

// tryEnter takes the turn if nobody has it.
func (t *turns) tryEnter(name string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines[name] != nil {
		return false
	}
	t.lines[name] = &line{}
	return true
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
		delete(t.lines, name)
		return false
	}
	next := l.waiting[0]
	l.waiting = slices.Delete(l.waiting, 0, 1)
	next.turn <- a
	return true
}
