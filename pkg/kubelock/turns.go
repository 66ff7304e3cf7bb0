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
	"sync"

	"golang.org/x/sync/semaphore"
)

// turns queues the callers of one client that want the same key: first come, first
// served. Only the one whose turn it is talks to the API server, and it keeps its
// turn until its hold has ended. So at most one hold of a client on a key is alive.
type turns struct {
	mu    sync.Mutex // protects lines and their callers
	lines map[string]*line
}

// line is the queue for one key.
type line struct {
	turn    *semaphore.Weighted
	callers int // in line or having the turn
}

func newTurns() *turns { return &turns{lines: map[string]*line{}} }

// enter waits for the caller's turn. ahead is how many callers came first. If ctx
// ends before, its error is returned and there is nothing to leave.
func (t *turns) enter(ctx context.Context, name string) (ahead int, err error) {
	l, ahead := t.join(name)
	if err := l.turn.Acquire(ctx, 1); err != nil {
		t.quit(name, l)
		return ahead, err
	}
	return ahead, nil
}

// tryEnter takes the turn if nobody has it or waits for it.
func (t *turns) tryEnter(name string) bool {
	l, _ := t.join(name)
	if !l.turn.TryAcquire(1) {
		t.quit(name, l)
		return false
	}
	return true
}

// leave gives the turn to the next caller.
func (t *turns) leave(name string) {
	t.mu.Lock()
	l := t.lines[name]
	t.mu.Unlock()
	l.turn.Release(1)
	t.quit(name, l)
}

func (t *turns) join(name string) (l *line, ahead int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l = t.lines[name]
	if l == nil {
		l = &line{turn: semaphore.NewWeighted(1)}
		t.lines[name] = l
	}
	ahead = l.callers
	l.callers++
	return l, ahead
}

func (t *turns) quit(name string, l *line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	l.callers--
	if l.callers == 0 {
		delete(t.lines, name)
	}
}
