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

package engine

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
	"github.com/kubelock/kubelock/internal/store"
)

// Hold is one period of ownership by one caller: the part of a Held that does not
// know the type of the state.
type Hold struct {
	driver *driver
	client *Client
	key    Key
	caller int
	lockID string
	token  int64
	begun  time.Time
	// ctx ends when the hold is released or lost. It is kept because it is the hold's
	// own life, which callers derive the contexts of their work from.
	ctx    context.Context
	cancel context.CancelCauseFunc
	alone  under // what contexts carry that belong to no other hold; constant
	as     *series
	// given and place are how the hold began, and span and name what a trace has of it, if there is one.
	given bool
	place int
	span  *heldSpan
	name  string

	mu       sync.Mutex // protects the fields below
	phase    phase
	result   error // of the release, once it is known
	told     bool  // a caller knows it
	deadline time.Time
	ending   *session.Ending // of a release of which it is not known what became of it
}

// phase is how far a hold has come, for its owner. It only grows.
type phase int

const (
	held      phase = iota // and the deadline is ahead
	lost                   // the deadline has passed, or another client took the lock away
	releasing              // its owner has given it up; a release that failed may be tried again
	released               // it is known what became of the release
)

func newHold(d *driver, e *session.Effect, as *series) *Hold {
	h := &Hold{
		driver: d, client: d.client, key: d.key, caller: e.Caller,
		lockID: e.Hold.LockID, token: e.Hold.Token, begun: e.Hold.Begun, deadline: e.Hold.Deadline,
		as: as, given: e.Granted, place: int(d.place.Swap(0)),
	}
	h.alone.hold = h
	h.ctx, h.cancel = context.WithCancelCause(WithHold(context.Background(), h))
	return h
}

// Key is the key of the lock.
func (h *Hold) Key() Key { return h.key }

// LockID is unique to this hold.
func (h *Hold) LockID() string { return h.lockID }

// Token is the fencing token.
func (h *Hold) Token() int64 { return h.token }

// Context ends when the hold is released or lost.
func (h *Hold) Context() context.Context { return h.ctx }

// Limit is how much state fits.
func (h *Hold) Limit() store.Limit { return h.client.Limit() }

// extend moves the deadline.
func (h *Hold) extend(deadline time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deadline = deadline
}

// lose ends the hold, which its owner has not ended.
func (h *Hold) lose() {
	h.mu.Lock()
	if h.phase != held {
		h.mu.Unlock()
		return
	}
	h.phase = lost
	h.mu.Unlock()
	c := h.client
	h.cancel(ErrLost)
	h.as.lost.Inc()
	h.as.hold.Observe(c.now().Sub(h.begun).Seconds())
	c.Log.Info("Lost a lock", "key", h.key.name, "lockID", h.lockID, "token", h.token)
}

// remaining is how long the hold lasts still; it is not positive when it has ended.
// A hold whose deadline has passed is lost, whether its timer had a chance to say
// so or not.
func (h *Hold) remaining() time.Duration {
	h.mu.Lock()
	phase, left := h.phase, h.deadline.Sub(h.client.now())
	h.mu.Unlock()
	switch {
	case phase != held:
		return 0
	case left <= 0:
		h.driver.post(session.Event{Kind: session.Tick})
		return 0
	}
	return left
}

// Deadline is until when the hold lasts, as far as renewals have been confirmed.
func (h *Hold) Deadline() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deadline
}

// Update renews the hold and, if change says so, writes the state. Its outcomes are
// those of Held.Renew and Held.Save.
func (h *Hold) Update(ctx context.Context, change protocol.Change) error {
	if err := h.usable(); err != nil {
		return err
	}
	ctx, cancel, err := h.client.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	op, done := h.client.number(), make(chan *session.Result, 1)
	e := session.Event{Kind: session.Update, Caller: h.caller, Op: op, Change: change}
	if !h.client.drivers.ask(h.key, e, func(r *session.Result) { done <- r }) {
		return ErrClosed
	}
	var r *session.Result
	select {
	case r = <-done:
	case <-ctx.Done():
		h.driver.post(session.Event{Kind: session.Abandon, Op: op})
		r = <-done
	}
	h.as.renew.Observe(r.Took.Seconds())
	return updateError(ctx, h.client, h.key, r)
}

// KeepAlive renews the hold in the background until it ends.
func (h *Hold) KeepAlive() {
	h.driver.post(session.Event{Kind: session.KeepAlive, Caller: h.caller})
}

// usable says why a hold that was released cannot be used any more.
func (h *Hold) usable() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.phase >= releasing {
		return overError(h.key)
	}
	return nil
}

// Release ends the hold and, if change says so, writes the state with it. Its
// outcomes are those of Held.Release.
//
// The hold's context ends before anything is sent, so that no work that depends on
// the lock goes on when another client may have it. A release after the deadline
// writes no state, but frees the lock if it is still this hold's.
func (h *Hold) Release(ctx context.Context, change protocol.Change) (err error) {
	if ctx == nil {
		return ErrNoContext
	}
	ending, known, err := h.close()
	if span := h.startRelease(ctx); span != nil {
		defer func() { endRelease(span, err) }()
	}
	if known || err != nil {
		return err
	}
	done := make(chan error, 1)
	e := session.Event{Kind: session.Release, Caller: h.caller, Op: h.client.number(), Change: change, Ending: ending}
	ok := h.client.drivers.ask(h.key, e, func(r *session.Result) {
		err := releaseError(h.client, h.key, r)
		h.mu.Lock()
		if h.ending = r.Ending; h.ending == nil {
			h.phase, h.result = released, err
		}
		h.mu.Unlock()
		done <- err
	})
	if !ok {
		return ErrClosed
	}
	select {
	case err := <-done:
		h.mu.Lock()
		defer h.mu.Unlock()
		h.told = h.phase == released
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: releasing %q goes on in the background: %w", ErrUnknownOutcome, h.key.name, causeOf(ctx))
	}
}

// close ends the hold for its owner. known is set, with the result, if an earlier release is known to
// have ended with that and no call has returned it yet. ending is what an earlier release has left.
func (h *Hold) close() (ending *session.Ending, known bool, err error) {
	c := h.client
	if c.ctx.Err() != nil {
		return nil, false, ErrClosed
	}
	h.remaining() // Loses the hold if its time is over.
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.phase == released && !h.told:
		h.told = true
		return nil, true, h.result
	case h.phase == released:
		return nil, false, overError(h.key)
	case h.phase == held:
		h.phase = releasing
		h.cancel(context.Canceled)
		h.as.hold.Observe(c.now().Sub(h.begun).Seconds())
	}
	return h.ending, false, nil
}
