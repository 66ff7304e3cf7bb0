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

package main

import (
	"context"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// holding is a hold with its entry in the journal.
type holding struct {
	*kubelock.Held[history.State]
	program *program
	entry   history.Entry // of its acquisition
	done    chan struct{}
}

func (p *program) called(op, kind, key, hold string) history.Entry {
	return history.Entry{Process: p.name, ID: p.id(), Op: op, Kind: kind, Key: key, Hold: hold}
}

func (p *program) call(e history.Entry) {
	e.At, e.Is = history.Now(), history.Call
	p.journal.Note(e)
}

func (p *program) returned(e history.Entry) {
	e.At, e.Is = history.Now(), history.Return
	p.journal.Note(e)
}

// alive records that the hold of a Do has lasted until now, if its context has not ended. It looks
// at the context a second time a moment later: a process that was stopped wakes up with all its
// timers due, and this code may run before the timer that ends the context.
func (p *program) alive(hold string, work context.Context, began int64) { //nolint:revive // The context is what is looked at.
	now := history.Now()
	if now-began > int64(p.lease/2) {
		select {
		case <-work.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
	if work.Err() == nil {
		p.journal.Note(history.Entry{At: now, Is: history.Alive, Process: p.name, Hold: hold, Deadline: now})
	}
}

// acquire acquires a lock and records the outcome. It returns nil if there is no hold.
func (p *program) acquire(ctx context.Context, c *kubelock.Client, kind, key string, patience time.Duration, try bool, opts ...kubelock.Option) *holding {
	return p.acquireAs(ctx, c, p.called(history.Acquire, kind, key, ""), patience, try, opts...)
}

func (p *program) acquireAs(ctx context.Context, c *kubelock.Client, e history.Entry, patience time.Duration, try bool, opts ...kubelock.Option) *holding {
	e.Timeout = int64(patience)
	p.call(e)
	lock := kubelock.NewLock[history.State](c, e.Key)
	acquire := lock.Acquire
	if try {
		acquire = lock.TryAcquire
	}
	held, err := acquire(ctx, opts...)
	e.Outcome, e.Err = outcomeOf(err)
	if err != nil {
		p.returned(e)
		if e.Outcome == history.Failed { // A caller that was refused pauses before its next call.
			p.pause(ctx)
		}
		return nil
	}
	e.LockID, e.Token, e.Client = held.ID(), held.Token(), history.ClientOf(held.ID())
	e.Read, e.Deadline = held.Value().Write, history.In(held.Deadline())
	p.returned(e)
	h := &holding{held, p, e, make(chan struct{})}
	go h.watch()
	return h
}

// slack is how late a program may learn that its lease is over.
const slack = time.Second

// watch records a context that outlives the deadline. It looks at the context a second time a moment
// later: a process that was stopped wakes up with all its timers due.
func (h *holding) watch() {
	for {
		deadline := h.Deadline()
		select {
		case <-h.done:
			return
		case <-h.Context().Done():
			return
		case <-time.After(time.Until(deadline) + slack):
		}
		if h.Deadline().After(deadline) {
			continue
		}
		select {
		case <-h.Context().Done():
		case <-h.done:
		case <-time.After(slack):
			if !h.Deadline().After(deadline) {
				e := h.entry
				e.At, e.Is, e.Deadline = history.Now(), history.Late, history.In(deadline)
				h.program.journal.Note(e)
			}
		}
		return
	}
}

// save writes a new state and keeps the hold.
func (h *holding) save() { h.saveWithin(10 * time.Second) }

func (h *holding) saveWithin(patience time.Duration) {
	p := h.program
	e := p.called(history.Save, h.entry.Kind, h.entry.Key, h.entry.ID)
	e.Write = p.id()
	before := h.Value()
	h.Update(before.Next(e.Write))
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.call(e)
	if e.Outcome, e.Err = outcomeOf(h.Save(ctx)); e.Outcome == history.Failed {
		h.Update(before) // The save was refused, for instance by an API server that has not loaded its roles yet. The next write builds on the state before it.
	}
	e.Deadline = history.In(h.Deadline())
	p.returned(e)
}

// release releases the lock, with a new state if writes is set.
func (h *holding) release(writes bool) { h.releaseWithin(15*time.Second, writes) }

func (h *holding) releaseWithin(patience time.Duration, writes bool) {
	p := h.program
	e := p.called(history.Release, h.entry.Kind, h.entry.Key, h.entry.ID)
	if writes {
		e.Write = p.id()
		h.Update(h.Value().Next(e.Write))
	}
	now := history.Now()
	deadline := history.In(h.Deadline())
	p.journal.Note(history.Entry{At: now, Is: history.Alive, Process: p.name, Hold: h.entry.ID, Deadline: deadline})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p.call(e)
	err := h.Release(ctx)
	close(h.done)
	e.Outcome, e.Err = outcomeOf(err)
	p.returned(e)
}
