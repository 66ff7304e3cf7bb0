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
	"fmt"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// release ends the hold and, if change says so, writes the state with it. Its
// outcomes are those of Held.Release.
//
// The hold's context ends before anything is sent, so that no work that depends on
// the lock goes on when somebody else may have it. A release after the deadline
// writes no state, but frees the lock if it is still this hold's.
func (h *hold) release(ctx context.Context, change protocol.Change) error {
	c := h.client
	if c.ctx.Err() != nil {
		return ErrClosed
	}
	from, err := h.close()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	ok := c.start(func() {
		h.writing <- struct{}{} // The write that is under way ends soon: close has ended its context.
		err, resolved := h.tryRelease(change, from == lost)
		if resolved {
			h.mu.Lock()
			h.phase = released
			h.mu.Unlock()
		}
		<-h.writing
		if from == held {
			h.done()
			c.leave(h.key, h.successor)
		}
		done <- err
	})
	if !ok {
		return ErrClosed
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: releasing %q goes on in the background: %w", ErrUnknownOutcome, h.key.name, causeOf(ctx))
	}
}

// close ends the hold for its owner, and returns the phase that it was in.
func (h *hold) close() (from phase, err error) {
	if err := h.usable(released); err != nil {
		return released, err
	}
	h.remaining() // Loses the hold if its time is over.
	h.mu.Lock()
	defer h.mu.Unlock()
	from = h.phase
	if from == held {
		h.phase = releasing
		h.timer.Stop()
		h.cancel(context.Canceled)
		h.client.metrics.hold.Observe(h.client.now().Sub(h.begun).Seconds())
	}
	return from, nil
}

// tryRelease writes the release, and tries again until it is known what became of
// it. It does not end with the caller's context: that one stopped waiting shall not
// keep the lock from others. resolved is whether there is nothing left to do. It
// needs h.writing.
func (h *hold) tryRelease(change protocol.Change, wasLost bool) (err error, resolved bool) { //nolint:revive // The error is the result; resolved belongs to it.
	c := h.client
	deadline := h.until()
	ctx, cancel := context.WithTimeout(c.ctx, max(deadline.Sub(c.now()), requestTimeout))
	defer cancel()

	backoff := newBackoff()
	h.refresh()
	current, known := h.record, len(h.releases) == 0
	for {
		if known && !h.isHeldIn(current) {
			return h.outcome(current, wasLost)
		}
		if known {
			left := deadline.Sub(c.now())
			late := wasLost || left <= 0
			from, sent, stamp := current, c.now(), h.nextStamp()
			next, err := protocol.Release(from, h.claim, h.token, change.Unless(late), h.succession(!wasLost, sent, stamp), stamp)
			if err != nil {
				return fmt.Errorf("kubelock: %q: %w", h.key.name, err), false
			}
			ans := c.write(max(min(h.claim.Duration, left)/attemptsPerHold, time.Second), func(ctx context.Context) (protocol.Record, error) {
				return c.store.Amend(ctx, from, next)
			})
			outcome := store.OutcomeOf(ans.err)
			if outcome != store.Busy && outcome != store.Rejected {
				h.releases = append(h.releases, releaseAttempt{stamp: next.LastRelease.Time, late: late, answered: outcome != store.Unknown})
			}
			switch outcome {
			case store.Committed:
				h.left(ans.record)
				return h.outcome(ans.record, wasLost)
			case store.Rejected:
				return c.explain("patch", h.key, ans.err), false
			case store.Busy, store.Unknown:
				c.log.V(1).Info("Could not release a lock, will retry", "key", h.key.name, "err", ans.err)
				if pause(ctx, backoff, ans.err) != nil {
					return h.unresolved(ans.err), false
				}
			case store.Stale: // The object has changed, or a copy of this very write was committed.
			}
		}
		if current, err = c.readUntil(ctx, h.key, requestTimeout); err != nil {
			return h.unresolved(err), false
		}
		known = true
	}
}

// succession is what the release gives to this client's next caller, if there is
// one: the lock, or a place in the queue. The release is sent at sent.
func (h *hold) succession(hasTurn bool, sent time.Time, stamp protocol.Stamp) *protocol.Claim {
	if !hasTurn {
		return nil
	}
	if h.successor == nil {
		duration, ok := h.client.turns.successor(h.key.object)
		if !ok {
			return nil
		}
		h.successor = newContest(h.client, h.key)
		h.successor.claim.Duration = duration
	}
	h.successor.bequeath(sent, stamp)
	return &h.successor.claim
}

// left takes in the record that the release left.
func (h *hold) left(r protocol.Record) {
	if h.successor != nil {
		h.successor.see(r)
		return
	}
	h.client.remember(r)
}

// outcome says what became of the release, now that r does not show the hold any
// more.
func (h *hold) outcome(r protocol.Record, wasLost bool) (err error, resolved bool) { //nolint:revive // As above.
	lostErr := fmt.Errorf("%w: %q: its lease ended before the release, nothing was written", ErrLost, h.key.name)
	if last := r.LastRelease; last != nil && last.LockID == h.claim.LockID && (last.Token == h.token || last.Token == 0) {
		for _, t := range h.releases {
			if last.Reason != protocol.Expired && last.Time.Equal(t.stamp) {
				if t.late {
					return lostErr, true
				}
				return nil, true
			}
		}
		return lostErr, true
	}
	// Others have had the lock meanwhile, or the object is gone.
	inDoubt := false
	for _, t := range h.releases {
		inDoubt = inDoubt || !t.late && !t.answered
	}
	switch {
	case wasLost || !inDoubt:
		return lostErr, true
	case r.UID == h.record.UID && h.client.now().Before(h.until()):
		// Before the deadline only this hold's own release can have let others in.
		return nil, true
	}
	return fmt.Errorf("%w: releasing %q: no answer came in time, and others have had the lock since", ErrUnknownOutcome, h.key.name), true
}

// unresolved is the error of a release that err kept from being done or learned of.
func (h *hold) unresolved(err error) error {
	if h.client.ctx.Err() != nil {
		err = ErrClosed
	}
	if len(h.releases) == 0 {
		return fmt.Errorf("kubelock: releasing %q: %w", h.key.name, err)
	}
	return fmt.Errorf("%w: releasing %q: %w", ErrUnknownOutcome, h.key.name, err)
}

// releaseAttempt is a write of a release that may have been committed. Together
// with the lock ID, the stamp tells it from every other.
type releaseAttempt struct {
	stamp    time.Time
	late     bool // it was sent after the deadline, and so without state
	answered bool // it was answered, though perhaps not for its only copy
}

// nextStamp is the time to write, later than that of every release before it.
func (h *hold) nextStamp() protocol.Stamp {
	stamp := h.client.stamp()
	if n := len(h.releases); n > 0 {
		if earliest := h.releases[n-1].stamp.Add(time.Microsecond); stamp.Time.Before(earliest) {
			stamp.Time = earliest
		}
	}
	return stamp
}
