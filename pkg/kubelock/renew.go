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
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/retry"
	"github.com/kubelock/kubelock/internal/store"
)

// renewWith is how much of its lease is left when a hold is renewed that is renewed in the
// background. There are at least three attempts in that time: see retry.Attempts.Timeout.
const renewWith = 2.0 / 3

// readsPerHold is into how many parts the rest of a lease is divided of which a read may take one.
const readsPerHold = 3

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
	return h.renew(ctx, change, true)
}

// renew is update for a renewal that the hold's owner has asked for, or that keeps the hold
// until the end of what it has asked for.
func (h *hold) renew(ctx context.Context, change protocol.Change, asked bool) error {
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
		return h.tryUpdate(ctx, change, sent, asked)
	})
	h.client.metrics.renew.Observe(h.client.now().Sub(start).Seconds())
	return err
}

func (h *hold) tryUpdate(ctx context.Context, change protocol.Change, started *atomic.Bool, asked bool) error { //nolint:gocyclo // One loop over what an answer can be.
	u := &update{hold: h, change: change, asked: asked, tries: h.client.attemptsOfHolder()}
	u.refresh() // Only now: what is read later is newer, whatever a watch shows.
	if r, ok := h.client.readToStamp(ctx, h.key, h.remaining()/readsPerHold); ok && h.isHeldIn(r) {
		h.record = r
	}
	lease, cancel := context.WithTimeout(ctx, h.remaining())
	defer cancel()
	for {
		if h.remaining() <= 0 {
			return u.over()
		}
		if ctx.Err() != nil {
			return u.stopped(causeOf(ctx))
		}
		started.Store(true)
		ans, sent, err := u.send()
		if err != nil {
			return err
		}
		outcome := u.tries.Wrote(ans.err)
		switch outcome {
		case store.Committed:
			if done, err := u.committed(ans.record, sent); done {
				return err
			}
		case store.Altered:
			return u.altered(ans, sent)
		case store.Rejected, store.Denied:
			return u.rejected(ans.err)
		case store.Busy:
			u.notDone()
		case store.Unknown, store.Stale: // A read tells what became of it.
		}
		if outcome != store.Stale {
			if ans.err != nil {
				h.client.log.V(1).Info("Could not renew a lock, will retry", "key", h.key.name, "err", ans.err)
			}
			_ = u.tries.Pause(lease) // What has ended meanwhile shows above.
		}
		if outcome == store.Busy || outcome == store.Committed {
			continue
		}
		if outcome == store.Stale {
			_ = u.tries.Raced(lease)
		}
		if done, err := u.readBack(ctx); done || err != nil {
			return err
		}
		if outcome == store.Stale {
			if err := u.stale(lease, ans.err); err != nil {
				return err
			}
		}
	}
}

// update is one renewal of a hold, through all its attempts. It needs hold.writing.
type update struct {
	*hold
	change   protocol.Change
	asked    bool // for by the hold's owner
	tries    *retry.Attempts
	from     protocol.Record // what the last attempt changes
	lease    time.Duration   // that the last attempt asks for
	attempts []attempt       // those that may have been committed
}

// send sends one attempt, which may take its share of what is left of the lease.
func (u *update) send() (ans answer, sent time.Time, err error) {
	c := u.client
	left := u.remaining()
	sent = c.now() // Before the stamp: others may count from that.
	from := u.record
	u.from = from
	if from.Terminating {
		u.lose()
		return answer{}, sent, u.over()
	}
	claim := u.claim
	claim.Duration = u.wanted(sent, from.Shared)
	u.lease = claim.Duration
	next, err := protocol.Renew(from, claim, u.token, u.change, c.stamp())
	if err != nil {
		return answer{}, sent, fmt.Errorf("kubelock: %q: %w", u.key.name, err)
	}
	u.attempts = append(u.attempts, attempt{stamp: next.Holder.RenewTime, sent: sent})
	ans = c.write(u.tries.Timeout(left), func(ctx context.Context) (protocol.Record, error) {
		return c.store.Amend(ctx, from, next)
	})
	return ans, sent, nil
}

// notDone notes that the last attempt was not committed.
func (u *update) notDone() { u.attempts = u.attempts[:len(u.attempts)-1] }

// rejected is how the update ends when the last attempt was refused for good.
func (u *update) rejected(refusal error) error {
	u.notDone()
	err := u.client.explain("patch", u.key, refusal)
	if len(u.attempts) > 0 {
		return u.stopped(err)
	}
	return err
}

// stale goes on after an attempt that was refused because the lock has changed, or in the words
// for that. The lock has been read, and the hold is there.
func (u *update) stale(lease context.Context, refusal error) error {
	if !u.record.SameVersion(u.from) {
		return nil
	}
	if u.tries.Unchanged() == store.Rejected {
		return u.rejected(refusal)
	}
	u.notDone()
	_ = u.tries.Pause(lease)
	return nil
}

// altered is how the update ends when what it has written is not what is stored. The hold goes on
// if it is there still, and is renewed if it shows that.
func (u *update) altered(ans answer, sent time.Time) error {
	err := u.client.explain("patch", u.key, ans.err)
	if !u.isHeldIn(ans.record) {
		u.lose()
		return fmt.Errorf("%w: %q: %w", ErrLost, u.key.name, err)
	}
	stamp := u.attempts[len(u.attempts)-1].stamp
	if h := ans.record.Holder; h.RenewTime.Equal(stamp) && h.Duration == u.lease {
		if done, over := u.committed(ans.record, sent); done && over != nil {
			return over
		}
	}
	u.record = ans.record
	return err
}

// committed takes in the record that the attempt sent at sent gave. done is false if
// others could take the hold for expired too early, so that one more attempt is due.
func (u *update) committed(r protocol.Record, sent time.Time) (done bool, err error) {
	u.record = r
	if !u.client.covers(r.Holder, sent, true) {
		return false, nil
	}
	if !u.extend(sent, min(r.Holder.Duration, u.claim.Duration), u.asked) {
		return true, u.over()
	}
	return true, nil
}

// readBack learns from the object whether an attempt was committed, or the hold is
// over. done is false if neither is so, and the next attempt can build on what was
// read.
func (u *update) readBack(ctx context.Context) (done bool, err error) {
	readCtx, cancel := context.WithTimeout(ctx, max(u.remaining(), minDuration))
	defer cancel()
	r, err := u.client.readUntil(readCtx, u.key, max(u.remaining()/readsPerHold, minDuration))
	switch {
	case err != nil && u.remaining() <= 0:
		return true, u.over()
	case err != nil:
		return true, u.stopped(err)
	case !u.isHeldIn(r), r.Terminating:
		u.record.Terminating, u.record.Finalizers = r.Terminating, r.Finalizers
		u.lose()
		return true, u.over()
	}
	u.record = r
	for _, t := range u.attempts {
		if t.stamp.Equal(r.Holder.RenewTime) {
			return u.committed(r, t.sent)
		}
	}
	return false, nil
}

// over is how the update ends when the hold does. Whether the state was written is
// unknown then if an attempt was sent.
func (u *update) over() error {
	usable := u.usable(releasing)
	switch {
	case u.change.Write && len(u.attempts) > 0 && usable != nil:
		return u.stopped(usable) // Its own owner has released it meanwhile.
	case u.change.Write && len(u.attempts) > 0:
		return u.tries.Because(fmt.Errorf("%w: %q: %w", ErrLost, u.key.name, ErrUnknownOutcome))
	case usable != nil:
		return usable
	case u.record.Terminating:
		return fmt.Errorf("%w: %q: %w", ErrLost, u.key.name, terminating(u.record))
	}
	return u.tries.Because(fmt.Errorf("%w: %q", ErrLost, u.key.name))
}

// stopped is how the update ends when err keeps it from being done or learned of.
func (u *update) stopped(err error) error {
	err = u.tries.Because(err)
	if len(u.attempts) > 0 {
		return fmt.Errorf("%w: %q: %w", ErrUnknownOutcome, u.key.name, err)
	}
	return fmt.Errorf("kubelock: %q: %w", u.key.name, err)
}

// usable says why a hold that has reached phase end cannot be used any more.
func (h *hold) usable(end phase) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.phase >= end {
		return h.overLocked()
	}
	return nil
}

func (h *hold) overLocked() error {
	return fmt.Errorf("kubelock: %q: this hold was released, acquire the lock again", h.key.name)
}

// renewInBackground keeps the hold until it is released or lost, or the client is
// closed.
func (h *hold) renewInBackground() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.renewal != nil { // It was to be renewed once.
		h.renewal.Stop()
	}
	h.renewInBackgroundLocked(true)
}

// renewInBackgroundLocked renews the hold when a part of its lease is over: from then
// on, or once. It needs h.mu.
func (h *hold) renewInBackgroundLocked(forever bool) {
	rest := h.untilRenewal(h.deadline.Sub(h.client.now()), h.lease)
	h.renewal = time.AfterFunc(rest, func() {
		h.client.start(func() { h.keepRenewing(forever) }) // If the client is closed, the lease ends by itself.
	})
}

// untilRenewal is how long a hold is left alone of whose lease so much is left.
func (h *hold) untilRenewal(left, lease time.Duration) time.Duration {
	// Many holds shall not renew all at once.
	rest := left - time.Duration(float64(lease)*renewWith) - wait.Jitter(lease/40, 1)
	if lease < h.claim.Duration {
		return max(rest, left/4) // Of what was given, less may be left.
	}
	return max(rest, 0) // Less is left only where the API server takes long.
}

func (h *hold) keepRenewing(forever bool) {
	c := h.client
	for {
		shared, done := h.shared()
		if forever || !shared || !done {
			if h.renewBy(forever || !shared) != nil {
				return
			}
		}
		if !forever && !shared {
			return
		}
		h.mu.Lock()
		left := h.deadline.Sub(c.now())
		rest := h.untilRenewal(left, h.lease)
		h.mu.Unlock()
		if shared && done { // Its owner may ask for more.
			rest = max(left/4, minDuration)
		}
		timer := time.NewTimer(rest)
		select {
		case <-timer.C:
		case <-h.ctx.Done():
			timer.Stop()
			return
		case <-c.ctx.Done():
			timer.Stop()
			return
		}
	}
}

// renewBy renews the hold before its deadline. Its error means that it will not be renewed any
// more.
func (h *hold) renewBy(asked bool) error {
	c, tries := h.client, h.client.attemptsOfHolder()
	lease, cancel := context.WithTimeout(h.ctx, h.until().Sub(c.now()))
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	for {
		err := h.renew(h.ctx, protocol.Change{}, asked)
		if err == nil || errors.Is(err, ErrLost) || h.ctx.Err() != nil || c.ctx.Err() != nil {
			return err
		}
		c.log.Error(err, "Could not renew a lock, will retry until its lease ends", "key", h.key.name, "lockID", h.claim.LockID)
		if tries.Pause(lease) != nil {
			return err
		}
	}
}
