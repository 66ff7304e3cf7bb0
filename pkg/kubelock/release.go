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
	"reflect"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/retry"
	"github.com/kubelock/kubelock/internal/store"
)

// releaseAttempt is a write of a release that was sent. Together with the lock ID and
// the token, the stamp tells it from every other.
type releaseAttempt struct {
	stamp   time.Time
	base    string // the version that it changes
	late    bool   // it was sent without state: after the deadline, or in an object that was being deleted
	refused bool   // the answer was that it was not done
	stale   bool   // the answer was that the object is not as it was
	without error  // why it was sent without the state; nil: it was not
}

// release ends the hold and, if change says so, writes the state with it. Its
// outcomes are those of Held.Release.
//
// The hold's context ends before anything is sent, so that no work that depends on
// the lock goes on when somebody else may have it. A release after the deadline
// writes no state, but frees the lock if it is still this hold's.
func (h *hold) release(ctx context.Context, change protocol.Change) error {
	c := h.client
	from, known, err := h.close()
	if known || err != nil {
		return err
	}
	done := make(chan error, 1)
	ok := c.finish(false, func() {
		h.writing <- struct{}{} // The write that is under way ends soon: close has ended its context.
		err := h.settle(change, from)
		if from == held {
			h.done()
			c.leave(h.key, h.successor)
			h.successor = nil // Whoever has the turn has it now.
		}
		<-h.writing
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

// close ends the hold for its owner, and returns the phase that it was in. known is
// set, with the result, if an earlier release is known to have ended with that and
// nobody was told.
func (h *hold) close() (from phase, known bool, err error) {
	if h.client.ctx.Err() != nil {
		return released, false, ErrClosed
	}
	h.remaining() // Loses the hold if its time is over.
	h.mu.Lock()
	defer h.mu.Unlock()
	switch from = h.phase; {
	case from == released && !h.told:
		h.told = true
		return from, true, h.result
	case from == released:
		return from, false, h.overLocked()
	case from == held:
		h.phase = releasing
		h.timer.Stop()
		h.cancel(context.Canceled)
		h.client.metrics.hold.Observe(h.client.now().Sub(h.begun).Seconds())
	}
	return from, false, nil
}

// settle releases, if that has not been done, and notes what is known of it then. It
// needs h.writing.
func (h *hold) settle(change protocol.Change, from phase) error {
	h.mu.Lock()
	over, result := h.phase == released, h.result
	h.mu.Unlock()
	if over { // By an earlier call, which this one has waited for.
		return result
	}
	if len(h.releases) == 0 {
		h.change = change // What the first call asks for is what may have been written.
	}
	err, resolved := h.tryRelease(from)
	if resolved {
		h.mu.Lock()
		h.phase, h.result = released, err
		h.mu.Unlock()
	} else {
		h.doubtSuccessor()
	}
	return err
}

// tryRelease writes the release, and tries again until it is known what became of
// it. It does not end with the caller's context: that one stopped waiting shall not
// keep the lock from others. What is refused with the state is tried without. resolved is
// whether there is nothing left to do. It needs h.writing.
func (h *hold) tryRelease(from phase) (err error, resolved bool) { //nolint:gocyclo,revive // The error is the result; resolved belongs to it.
	c := h.client
	deadline := h.until()
	ctx, cancel := context.WithTimeout(c.writes, max(deadline.Sub(c.now()), requestTimeout))
	defer cancel()

	tries := c.attemptsOfHolder()
	h.refresh()
	current, known := h.record, len(h.releases) == 0
	if r, ok := c.readToStamp(ctx, h.key, deadline.Sub(c.now())/readsPerHold); ok && known {
		current = r
	}
	var without error // why the state is left out
	for {
		if known && !h.isHeldIn(current) {
			err, resolved := h.outcome(current)
			if resolved && err == nil {
				c.foundHandedOn(h.key, h.claim.LockID, current)
			}
			return err, resolved
		}
		var ans answer
		outcome := store.Unknown
		if known {
			if ans, err = h.sendRelease(ctx, tries, current, deadline, from, without); err != nil {
				return err, false
			}
			outcome = tries.Wrote(ans.err)
			switch outcome {
			case store.Committed:
				h.left(ans.record)
				return h.outcome(ans.record)
			case store.Altered:
				return h.altered(ans)
			case store.Busy:
				h.lastRelease().refused = true
			case store.Unknown:
				c.log.V(1).Info("Could not release a lock, will retry", "key", h.key.name, "err", ans.err)
			case store.Stale:
				h.lastRelease().stale = true
			case store.Rejected, store.Denied:
			}
			if (outcome == store.Busy || outcome == store.Unknown) && tries.Pause(ctx) != nil {
				return h.unresolved(ans.err), false
			}
		}
		if outcome != store.Rejected {
			seen := current
			if outcome == store.Stale && tries.Raced(ctx) != nil {
				return h.unresolved(ans.err), false
			}
			if current, err = c.readBy(ctx, c.attemptsOfHolder(), h.key, requestTimeout); err != nil {
				return h.unresolved(tries.Because(err)), false
			}
			known = true
			if outcome != store.Stale { // The object has changed, or a copy of this very write was committed, or something refuses it.
				continue
			}
			if outcome, err = h.stale(ctx, tries, current, seen); err != nil {
				return h.unresolved(tries.Because(err)), false
			}
		}
		if outcome == store.Rejected {
			h.lastRelease().refused = true
			refusal := c.explain("update", h.key, ans.err)
			if !h.storesState(ans.err) || without != nil {
				return h.unresolved(joined(refusal, without)), false
			}
			without = refusal
		}
	}
}

// stale goes on after an attempt at seen that was refused because the lock has changed, or in the
// words for that; current is what was read since. It returns Rejected if there is no use in
// sending it again.
func (h *hold) stale(ctx context.Context, tries *retry.Attempts, current, seen protocol.Record) (store.Outcome, error) {
	if !current.SameVersion(seen) {
		return store.Stale, nil
	}
	h.lastRelease().refused = true
	if outcome := tries.Unchanged(); outcome == store.Rejected {
		return outcome, nil
	}
	return store.Busy, tries.Pause(ctx)
}

// storesState reports whether the last attempt to release would have stored a state, and so may
// have been refused for that. A program without access would be refused without it, too.
func (h *hold) storesState(refusal error) bool {
	last := h.lastRelease()
	return h.change.Write && !last.late && last.without == nil && store.OutcomeOf(refusal) != store.Denied
}

func (h *hold) lastRelease() *releaseAttempt { return &h.releases[len(h.releases)-1] }

// altered is how the release ends when what it has written is not what is stored. There is nothing
// left to do, unless the hold is there still.
func (h *hold) altered(ans answer) (err error, resolved bool) { //nolint:revive // As above.
	err = h.client.explain("update", h.key, ans.err)
	if h.isHeldIn(ans.record) {
		return h.unresolved(err), false
	}
	h.left(ans.record)
	return err, true
}

// sendRelease sends one attempt to release what current shows.
func (h *hold) sendRelease(ctx context.Context, tries *retry.Attempts, current protocol.Record, deadline time.Time, from phase, without error) (answer, error) {
	c := h.client
	sent, stamp := c.now(), h.nextStamp()
	late := from == lost || !deadline.After(sent) || current.Terminating
	next, err := protocol.Release(current, h.claim, h.token, h.change.Unless(late || without != nil),
		h.succession(current, from == held, sent, stamp), stamp)
	if err != nil {
		return answer{}, fmt.Errorf("kubelock: %q: %w", h.key.name, err)
	}
	h.releases = append(h.releases, releaseAttempt{stamp: stamp.Time, late: late, base: current.ResourceVersion, without: without})
	end, _ := ctx.Deadline() // It has one.
	return c.write(tries.Timeout(time.Until(end)), func(ctx context.Context) (protocol.Record, error) {
		return c.amend(ctx, h.key, current, next)
	}), nil
}

// succession is what the release gives to this client's next caller, if there is
// one: the lock, or a place in the queue. A caller that is only expected to come is given
// a place behind others, and never the lock. The release is sent at sent.
func (h *hold) succession(current protocol.Record, hasTurn bool, sent time.Time, stamp protocol.Stamp) *protocol.Claim {
	if !hasTurn || current.Terminating {
		return nil
	}
	contended := current.Contended(h.claim.Client)
	if h.successor == nil {
		duration, waits := h.client.turns.successor(h.key.name)
		if !waits {
			full := len(current.Waiters) >= protocol.MaxWaiters // Somebody may wait for room.
			if full || !contended || !h.client.turns.expects(h.key.name, len(current.Waiters)) {
				return nil
			}
			duration = h.claim.Duration
		}
		h.successor = newContest(h.client, h.key)
		h.successor.claim.Duration, h.successor.expected = duration, !waits
	}
	if h.successor.expected && !contended {
		return nil
	}
	h.successor.bequeath(sent, stamp)
	return &h.successor.claim
}

// doubtSuccessor tells the successor of a release that is not resolved: the lock may be
// given to it still.
func (h *hold) doubtSuccessor() {
	n := len(h.releases)
	if h.successor == nil || n == 0 {
		return
	}
	if last := h.releases[n-1]; !last.refused {
		h.successor.inDoubt, h.successor.base = true, last.base
	}
}

// left takes in the record that the release left.
func (h *hold) left(r protocol.Record) {
	if h.successor != nil {
		h.successor.see(r)
		return
	}
	h.client.remember(h.key, r)
}

// outcome says what became of the release, now that r does not show the hold any
// more.
func (h *hold) outcome(r protocol.Record) (err error, resolved bool) { //nolint:revive // As above.
	sameObject := r.UID == h.record.UID
	// Of another object it tells nothing: a late copy of the request that began this
	// hold may have begun another in that.
	if last := r.LastRelease; sameObject && last != nil && last.LockID == h.claim.LockID && (last.Token == h.token || last.Token == 0) {
		for _, t := range h.releases {
			if !last.Reason.ByHolder() || !last.Time.Equal(t.stamp) {
				continue
			}
			switch {
			case t.late && r.Terminating:
				return fmt.Errorf("%w: %q: %w, nothing was written", ErrLost, h.key.name, terminating(r)), true
			case t.late:
				return h.endedBefore(), true
			}
			return t.without, true
		}
		return h.endedBefore(), true
	}
	if sameObject && reflect.DeepEqual(r.LastRelease, h.record.LastRelease) {
		return h.endedBefore(), true // Somebody took it away: the last release is still the one before.
	}
	// Others have had the lock meanwhile, or the object is gone. An answer that says
	// that an attempt was not done does not speak for its copies: the network may have
	// delivered it twice.
	deleted, sent := !sameObject, false
	for _, t := range h.releases {
		sent = sent || !t.late
		deleted = deleted && (t.late || t.stale)
	}
	switch {
	case !sent:
		return h.endedBefore(), true
	case deleted: // No answer says that it was done. They do not speak for their copies, either.
		return fmt.Errorf("%w: %q: its object was deleted, and its state with it: %w", ErrLost, h.key.name, ErrUnknownOutcome), true
	}
	return fmt.Errorf("%w: releasing %q: others have had the lock since, and whether this release let them have it cannot be told",
		ErrUnknownOutcome, h.key.name), true
}

// endedBefore is the error of a release that came too late.
func (h *hold) endedBefore() error {
	return fmt.Errorf("%w: %q: its lease ended before the release, nothing was written", ErrLost, h.key.name)
}

// unresolved is the error of a release that err kept from being done or learned of.
func (h *hold) unresolved(err error) error {
	if h.client.ctx.Err() != nil {
		err = ErrClosed
	}
	for _, t := range h.releases {
		if !t.refused {
			return fmt.Errorf("%w: releasing %q: %w", ErrUnknownOutcome, h.key.name, err)
		}
	}
	return fmt.Errorf("kubelock: releasing %q: %w", h.key.name, err)
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
