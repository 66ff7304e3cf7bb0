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
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// hold is one period of ownership by one caller: the part of a Held that does not
// know the type of the state.
type hold struct {
	client *Client
	key    key
	claim  protocol.Claim // the hold as it is renewed
	token  int64
	begun  time.Time
	// ctx ends when the hold is released or lost. It is kept because it is the hold's
	// own life, which callers derive the contexts of their work from.
	ctx    context.Context
	cancel context.CancelCauseFunc
	alone  under // what contexts carry that belong to no other hold; constant

	// writing has one element while a write is under way, whoever asked for it. It
	// protects record, releases and successor.
	writing chan struct{}
	record  protocol.Record // the newest version known that this hold holds
	// releases are the attempts to release that may have been committed, change what
	// they do to the state.
	releases []releaseAttempt
	change   protocol.Change
	// successor is the contest of this client's next caller, if the release may have
	// given it the lock or a place in the queue.
	successor *contest

	mu       sync.Mutex // protects the fields below
	phase    phase
	result   error // of the release, once it is known
	told     bool  // somebody knows it
	deadline time.Time
	lease    time.Duration // from the last renewal to the deadline
	// end is until when the hold lasts that its owner has asked for. Where electors use the
	// object, too, it is kept until then by renewals in the background.
	end     time.Time
	timer   *time.Timer // runs out at deadline
	renewal *time.Timer // begins to renew in the background; nil if there is no need to
}

// phase is how far a hold has come. It only grows.
type phase int

const (
	held      phase = iota // and the deadline is ahead
	lost                   // the deadline has passed, or somebody took the lock away
	releasing              // its owner has given it up; a release that failed may be tried again
	released               // it is known what became of the release
)

// newHold makes a hold of a record that shows the claim. The caller of open starts
// its life.
func newHold(c *Client, claim protocol.Claim, k key, r protocol.Record, deadline time.Time) (*hold, error) {
	h := &hold{
		client:   c,
		key:      k,
		claim:    claim,
		token:    r.Holder.Token,
		lease:    min(r.Holder.Duration, claim.Duration),
		begun:    c.now(),
		writing:  make(chan struct{}, 1),
		record:   r,
		deadline: deadline,
	}
	h.end = deadline.Add(claim.Duration - h.lease)
	if h.token == 0 {
		var err error
		if h.token, err = protocol.CreatedToken(r); err != nil {
			return nil, err
		}
	}
	c.checkLabel(r)
	h.alone.hold = h
	h.ctx, h.cancel = context.WithCancelCause(withHold(context.Background(), h))
	return h, nil
}

// open begins the hold, unless its deadline has passed already. From then on the
// hold has its client's turn for the key, until it ends.
func (h *hold) open() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	left := h.deadline.Sub(h.client.now())
	if left <= 0 {
		return false
	}
	h.client.own.opened(h)
	h.timer = time.AfterFunc(left, h.expire)
	if h.lease < h.claim.Duration { // It was given, and is not sure to be needed for longer.
		h.renewInBackgroundLocked(false)
	}
	return true
}

// expire loses the hold if its deadline has passed.
func (h *hold) expire() {
	h.mu.Lock()
	if h.phase != held {
		h.mu.Unlock()
		return
	}
	if left := h.deadline.Sub(h.client.now()); left > 0 { // A renewal has moved it.
		h.timer.Reset(left)
		h.mu.Unlock()
		return
	}
	h.phase = lost
	h.mu.Unlock()
	h.ended()
}

// lose ends the hold because it was taken away.
func (h *hold) lose() {
	h.mu.Lock()
	if h.phase != held {
		h.mu.Unlock()
		return
	}
	h.phase = lost
	h.timer.Stop()
	h.mu.Unlock()
	h.ended()
}

// ended does what follows the loss of a hold.
func (h *hold) ended() {
	c := h.client
	h.cancel(ErrLost)
	h.done()
	c.leave(h.key, nil)
	c.metrics.lost.Inc()
	c.metrics.hold.Observe(c.now().Sub(h.begun).Seconds())
	c.log.Info("Lost a lock", "key", h.key.name, "lockID", h.claim.LockID, "token", h.token)
}

// done says that nobody here answers for the hold any more, and stops renewing it.
func (h *hold) done() {
	h.mu.Lock()
	if h.renewal != nil {
		h.renewal.Stop()
	}
	h.mu.Unlock()
	h.client.own.end(h.claim.LockID, h.token)
}

// isHeldIn reports whether r shows this hold.
func (h *hold) isHeldIn(r protocol.Record) bool {
	return r.UID == h.record.UID && r.HeldBy(h.claim.LockID, h.token)
}

// refresh takes in what the client's watch has shown of the hold: who has queued
// behind it. It needs h.writing.
func (h *hold) refresh() {
	if r, ok := h.client.watches.newest(h.key); ok && h.isHeldIn(r) && protocol.Newer(r, h.record) {
		h.record = r
	}
}

// remaining is how long the hold lasts still; it is not positive when it has ended.
// A hold whose deadline has passed is lost, whether its timer had a chance to say
// so or not.
func (h *hold) remaining() time.Duration {
	h.mu.Lock()
	phase, left := h.phase, h.deadline.Sub(h.client.now())
	h.mu.Unlock()
	switch {
	case phase != held:
		return 0
	case left <= 0:
		h.expire()
		return 0
	}
	return left
}

// extend moves the deadline after a renewal that was sent at sent, for that lease. It
// returns false if that comes too late. A release that waits for the renewal has that much
// longer, too.
func (h *hold) extend(sent time.Time, lease time.Duration, asked bool) bool {
	h.remaining() // Loses the hold if its time is over.
	h.mu.Lock()
	now := h.client.now()
	alive := h.phase == held || h.phase == releasing && h.deadline.After(now)
	if alive && asked {
		h.end = sent.Add(h.claim.Duration)
	}
	if deadline := sent.Add(lease); alive && deadline.After(h.deadline) {
		h.deadline, h.lease = deadline, lease
		if h.phase == held {
			h.timer.Reset(deadline.Sub(now))
		}
	}
	h.mu.Unlock()
	return h.remaining() > 0
}

// until returns the deadline.
func (h *hold) until() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deadline
}
