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
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

const (
	// A hold that is renewed in the background is renewed when so much of its lease
	// is left. Each attempt may take a third of what is left then, so that there are
	// at least three of them.
	renewWith       = 2.0 / 3
	attemptsPerHold = 3
)

// exclusively runs f while no other write of the hold is under way. f goes on when
// ctx ends, but starts no further request then; the caller does not wait for it any
// more, and learns that the outcome is unknown if a request was sent.
func (h *hold) exclusively(ctx context.Context, f func(ctx context.Context, sent *atomic.Bool) error) error {
	select {
	case h.writing <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("kubelock: %q: %w", h.key.name, causeOf(ctx))
	}
	var sent atomic.Bool
	done := make(chan error, 1)
	ok := h.client.start(func() {
		defer func() { <-h.writing }()
		done <- f(ctx, &sent)
	})
	if !ok {
		<-h.writing
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done: // Both were ready.
		return err
	default:
	}
	if sent.Load() {
		return fmt.Errorf("%w: %q: %w", ErrUnknownOutcome, h.key.name, causeOf(ctx))
	}
	return fmt.Errorf("kubelock: %q: %w", h.key.name, causeOf(ctx))
}

// update renews the hold and, if change says so, writes the state. Its outcomes are
// those of Held.Renew and Held.Save.
func (h *hold) update(ctx context.Context, change protocol.Change) error {
	if err := h.usable(releasing); err != nil {
		return err
	}
	ctx, cancel, err := h.client.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	ctx, cancel2 := context.WithCancelCause(ctx)
	defer context.AfterFunc(h.ctx, func() { cancel2(context.Cause(h.ctx)) })()
	defer cancel2(nil)
	start := h.client.now()
	err = h.exclusively(ctx, func(ctx context.Context, sent *atomic.Bool) error {
		return h.tryUpdate(ctx, change, sent)
	})
	h.client.metrics.renew.Observe(h.client.now().Sub(start).Seconds())
	return err
}

func (h *hold) tryUpdate(ctx context.Context, change protocol.Change, started *atomic.Bool) error {
	c := h.client
	var attempts []attempt
	backoff := newBackoff()
	// over says how the update ends when the hold does: what of it was committed is
	// unknown if an attempt is.
	over := func() error {
		if change.Write && len(attempts) > 0 {
			return fmt.Errorf("%w: %q: %w", ErrLost, h.key.name, ErrUnknownOutcome)
		}
		return fmt.Errorf("%w: %q", ErrLost, h.key.name)
	}
	stopped := func(err error) error {
		if len(attempts) > 0 {
			return fmt.Errorf("%w: %q: %w", ErrUnknownOutcome, h.key.name, err)
		}
		return fmt.Errorf("kubelock: %q: %w", h.key.name, err)
	}
	for {
		left := h.remaining()
		if left <= 0 {
			return over()
		}
		if ctx.Err() != nil {
			return stopped(causeOf(ctx))
		}
		sent := c.now() // Before the stamp: others may count from that.
		next, err := protocol.Renew(h.record, h.lockID, h.token, h.duration, change, c.stamp())
		if err != nil {
			return fmt.Errorf("kubelock: %q: %w", h.key.name, err)
		}
		attempts = append(attempts, attempt{stamp: next.Holder.RenewTime, sent: sent})
		started.Store(true)
		ans := c.write(max(left/attemptsPerHold, minDuration), next)

		switch store.OutcomeOf(ans.err) {
		case store.Committed:
			h.record = ans.record
			if !h.extend(sent) {
				return over()
			}
			return nil
		case store.Rejected:
			return c.explain("update", h.key, ans.err)
		case store.Busy:
			attempts = attempts[:len(attempts)-1]
			if pause(ctx, backoff, ans.err) != nil {
				return stopped(ans.err)
			}
			continue
		case store.Unknown:
			c.log.V(1).Info("Got no answer to a renewal, will read back", "key", h.key.name, "err", ans.err)
			if pause(ctx, backoff, ans.err) != nil {
				return stopped(ans.err)
			}
		case store.Stale: // The object has changed, or a copy of this very write was committed.
		}

		current, err := h.readBack(ctx)
		if err != nil {
			if h.remaining() <= 0 {
				return over()
			}
			return stopped(err)
		}
		if !current.HeldBy(h.lockID) {
			h.lose()
			return over()
		}
		h.record = current
		for _, t := range attempts {
			if t.stamp.Equal(current.Holder.RenewTime) {
				if !h.extend(t.sent) {
					return over()
				}
				return nil
			}
		}
	}
}

// readBack reads the lock's object, and tries again until ctx or the hold ends.
func (h *hold) readBack(ctx context.Context) (protocol.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, max(h.remaining(), minDuration))
	defer cancel()
	return h.client.readUntil(ctx, h.key)
}

// usable says why a hold that has reached phase end cannot be used any more.
func (h *hold) usable(end phase) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.phase >= end {
		return fmt.Errorf("kubelock: %q: this hold was released, acquire the lock again", h.key.name)
	}
	return nil
}

// renewInBackground keeps the hold until it is released or lost, or the client is
// closed.
func (h *hold) renewInBackground() {
	c := h.client
	h.client.start(func() { // If the client is closed, the lease ends by itself.
		for failed := false; ; {
			left := h.until().Sub(c.now())
			wait := left - time.Duration(float64(h.duration)*renewWith)
			// Many holds shall not renew all at once.
			wait -= time.Duration(rand.Int64N(int64(h.duration/20) + 1))
			if failed {
				wait = max(left/20, minDuration)
			}
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-h.ctx.Done():
				timer.Stop()
				return
			case <-c.ctx.Done():
				timer.Stop()
				return
			}
			err := h.update(h.ctx, protocol.Change{})
			switch {
			case err == nil:
				failed = false
			case errors.Is(err, ErrLost), h.ctx.Err() != nil, c.ctx.Err() != nil:
				return
			default:
				failed = true
				c.log.Error(err, "Could not renew a lock, will retry until its lease ends", "key", h.key.name, "lockID", h.lockID)
			}
		}
	})
}
