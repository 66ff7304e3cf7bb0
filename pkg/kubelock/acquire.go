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
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// tryTimeout bounds a call that does not wait for the lock, but has to learn what
// became of its write.
const tryTimeout = 15 * time.Second

var (
	errNoAnswer = errors.New("no answer from the API server")
	errTooLate  = errors.New("the lease ended before the API server's answer came: use a longer duration")
)

// acquire gets the lock for one caller, or says why not. If try is set it does not
// wait for the lock to become available. accept sees the state before the caller
// gets the lock, and can refuse it.
func (c *Client) acquire(ctx context.Context, k key, o options, try bool, accept func(value *string) error) (h *hold, err error) {
	w := want{asked: c.now(), duration: o.duration, try: try, accept: accept}
	defer func() { c.metrics.observeAcquire(c.now().Sub(w.asked), err) }()

	if ctx.Err() != nil {
		return nil, ended(ctx, &notAcquiredError{key: k.name})
	}
	if try {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, tryTimeout, errNoAnswer)
		defer cancel()
	}
	return c.compete(ctx, k, w)
}

// compete waits for the caller's turn and then for the lock. Without a hold the turn
// has gone to the next caller.
func (c *Client) compete(ctx context.Context, k key, w want) (h *hold, err error) {
	var a *contest
	if w.try {
		var ok bool
		if a, ok = c.turns.tryEnter(k.name); !ok {
			return nil, &notAcquiredError{key: k.name, holder: c.identity}
		}
	} else {
		var ahead int
		if a, ahead, err = c.turns.enter(ctx, k.name, w.duration); err != nil {
			return nil, ended(ctx, &notAcquiredError{key: k.name, holder: c.identity, waited: c.now().Sub(w.asked), ahead: ahead})
		}
	}
	if a == nil {
		a = newContest(c, k)
	}
	a.want, a.claim.Duration, a.expected, a.recalled, a.joining = w, w.duration, false, a.known, joining{}
	a.tries = c.attempts()
	defer func() { // Also if the caller's decoding of the state panics.
		if h != nil {
			return
		}
		if a.remove && a.inDoubt || a.spoilt {
			// The write that ends the claim may be committed still, or its hold is not as it should be:
			// no hold may begin with it.
			a.abandon()
			a = nil
		}
		c.leave(k, a)
	}()
	return a.run(ctx)
}

// leave passes the turn on, and the contest with it, if the next caller can use that.
// Otherwise what the contest has in the lock's object is taken back, in the
// background.
func (c *Client) leave(k key, a *contest) {
	if a != nil && a.expected && c.keep(k, a) {
		return
	}
	if !c.turns.leave(k.name, a) && a != nil {
		a.abandon()
	}
}

// keep keeps a contest for a caller that is expected.
func (c *Client) keep(k key, a *contest) bool {
	c.calls.Add(1) // Close waits until nothing of it is left. Whoever calls this is a call, too.
	kept := c.turns.keep(k.name, a, c.calls.Done, func() {
		a.abandon()
		c.calls.Done()
	})
	if !kept {
		c.calls.Done()
	}
	return kept
}

// ended completes e for a call whose context has ended, or whose client was closed.
func ended(ctx context.Context, e *notAcquiredError) error {
	cause := causeOf(ctx)
	if errors.Is(cause, ErrClosed) {
		return cause
	}
	e.causes = append(e.causes, cause)
	return e
}

// failed says why the caller does not get the lock: because of err, which may be
// nil if ctx has ended. Where a write was sent that may take the lock, it says that
// instead of "not acquired".
func (a *contest) failed(ctx context.Context, err error) error {
	if a.inDoubt {
		switch {
		case err == nil:
			err = causeOf(ctx)
		case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
			err = fmt.Errorf("%w: %w", causeOf(ctx), err)
		}
		err = a.tries.Because(err)
		doing := "acquiring"
		if a.remove {
			doing = "deleting"
		}
		return fmt.Errorf("%w: %s %q: %w", ErrUnknownOutcome, doing, a.key.name, err)
	}
	if a.removing != "" && a.record.Terminating && ctx.Err() != nil {
		return fmt.Errorf("%w: deleting %q: %w: %w", ErrUnknownOutcome, a.key.name, terminating(a.record), causeOf(ctx))
	}
	if ctx.Err() == nil || a.try && err != nil && !errors.Is(causeOf(ctx), ErrClosed) {
		return err
	}
	e := &notAcquiredError{key: a.key.name, waited: a.client.now().Sub(a.asked)}
	if h := a.record.Holder; h != nil {
		e.holder = h.Identity
	}
	if place := a.place(); place < len(a.record.Waiters) {
		e.place, e.queued = place+1, len(a.record.Waiters)
	}
	if a.record.Terminating {
		e.causes = append(e.causes, terminating(a.record))
	}
	last := a.tries.Last()
	switch {
	case err != nil && !errors.Is(err, ctx.Err()):
		e.causes = append(e.causes, a.tries.Because(err))
	case last != nil:
		e.causes = append(e.causes, fmt.Errorf("the last answer was: %w", last))
	}
	return ended(ctx, e)
}

// refused is how a call ends that does not wait for the lock.
func (a *contest) refused(causes ...error) error {
	e := &notAcquiredError{key: a.key.name, causes: causes}
	if h := a.record.Holder; h != nil && h.LockID != a.claim.LockID {
		e.holder = h.Identity
	} else if head, ok := protocol.ParseWaiter(firstOf(a.record.Waiters)); ok {
		e.waiter = head.Identity
	}
	return e
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
