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
	"errors"
	"fmt"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/retry"
	"github.com/kubelock/kubelock/internal/session"
)

// What a session's results are for callers.

// acquireError says why a caller does not get the lock.
func (c *Client) acquireError(ctx context.Context, k Key, want session.Want, began notAcquiredError, f *session.Failure) error { //nolint:gocyclo // One case for each way to fail.
	e := &began
	e.key = k.name
	cause := error(nil)
	if ctx.Err() != nil {
		cause = causeOf(ctx)
	}
	r := f.Record
	switch {
	case f.Refused && f.Behind:
		e.waited, e.holder = 0, c.Identity
		return e
	case f.Refused:
		return refusedError(e, f)
	case f.Behind && f.Ahead > 0 || f.GaveUp && f.LockID == "":
		e.holder, e.ahead = c.Identity, f.Ahead
		return ended(cause, e)
	case f.OutcomeUnknown:
		err := f.Err
		switch {
		case err == nil && cause == nil:
			err = errNoAnswer
		case err == nil:
			err = cause
		case cause != nil && !errors.Is(err, ctx.Err()):
			err = fmt.Errorf("%w: %w", cause, err)
		}
		doing := "acquiring"
		switch {
		case want.Remove:
			doing = "deleting"
		case want.Apply:
			doing = "applying a change to"
		}
		return fmt.Errorf("%w: %s %q: %w", ErrUnknownOutcome, doing, k.name, retry.Because(err, f.Last))
	case f.Removing && r.Terminating && cause != nil:
		return fmt.Errorf("%w: deleting %q: %w: %w", ErrUnknownOutcome, k.name, terminating(r), cause)
	case !f.GaveUp:
		return f.Err
	}
	e.heldBy(r)
	if f.Place > 0 {
		e.place, e.queued = f.Place, len(r.Waiters)
	}
	if r.Terminating {
		e.causes = append(e.causes, terminating(r))
	}
	if f.Last != nil {
		e.causes = append(e.causes, fmt.Errorf("the last answer was: %w", f.Last))
	}
	return ended(cause, e)
}

// refusedError is how a call ends that does not wait for the lock.
func refusedError(e *notAcquiredError, f *session.Failure) error {
	r := f.Record
	e.waited = 0
	if f.TooLate {
		e.causes = append(e.causes, errTooLate)
	}
	if r.Terminating {
		e.causes = append(e.causes, terminating(r))
	}
	if h := r.Holder; h != nil && h.LockID != f.LockID {
		e.heldBy(r)
	} else if len(r.Waiters) > 0 {
		if head, ok := protocol.ParseWaiter(r.Waiters[0]); ok {
			e.waiter = head.Identity
		}
	}
	return e
}

// ended completes e for a call whose context has ended with cause, or whose client was closed.
func ended(cause error, e *notAcquiredError) error {
	if errors.Is(cause, ErrClosed) {
		return cause
	}
	e.causes = append(e.causes, cause)
	return e
}

// overError is that of a hold which its owner has ended.
func overError(k Key) error {
	return fmt.Errorf("kubelock: %q: this hold was released, acquire the lock again", k.name)
}

// updateError is how a save or a renewal has ended. ctx is the caller's.
func updateError(ctx context.Context, c *Client, k Key, r *session.Result) error {
	stopped := func(err error) error {
		if r.OutcomeUnknown {
			return fmt.Errorf("%w: %q: %w", ErrUnknownOutcome, k.name, retry.Because(err, r.Last))
		}
		return err
	}
	switch r.Kind {
	case session.OK:
		return nil
	case session.NotHeld:
		return stopped(overError(k))
	case session.Lost, session.OthersIn, session.Deleted:
		switch {
		case r.Altered:
			return fmt.Errorf("%w: %q: %w", ErrLost, k.name, r.Err)
		case r.OutcomeUnknown:
			return retry.Because(fmt.Errorf("%w: %q: %w", ErrLost, k.name, ErrUnknownOutcome), r.Last)
		case r.Terminating != nil:
			return fmt.Errorf("%w: %q: %w", ErrLost, k.name, terminating(*r.Terminating))
		}
		return retry.Because(fmt.Errorf("%w: %q", ErrLost, k.name), r.Last)
	case session.Failed:
	}
	switch {
	case r.Err == nil && ctx.Err() != nil && r.OutcomeUnknown: // The caller has stopped waiting.
		return stopped(causeOf(ctx))
	case r.Err == nil && ctx.Err() != nil:
		return fmt.Errorf("kubelock: %q: %w", k.name, causeOf(ctx))
	case errors.Is(r.Err, ErrClosed) && c.ctx.Err() != nil:
		return stopped(ErrClosed)
	}
	return stopped(r.Err)
}

// releaseError is how a release has ended.
func releaseError(c *Client, k Key, r *session.Result) error {
	switch {
	case r.Kind == session.OK:
		return nil
	case r.Kind == session.Lost && r.Terminating != nil:
		return fmt.Errorf("%w: %q: %w, nothing was written", ErrLost, k.name, terminating(*r.Terminating))
	case r.Kind == session.Lost:
		return fmt.Errorf("%w: %q: its lease ended before the release, nothing was written", ErrLost, k.name)
	case r.Kind == session.NotHeld:
		return overError(k)
	case r.Kind == session.Deleted:
		return fmt.Errorf("%w: %q: its object was deleted, and its state with it: %w", ErrLost, k.name, ErrUnknownOutcome)
	case r.Kind == session.OthersIn:
		return fmt.Errorf("%w: releasing %q: others have had the lock since, and whether this release let them have it cannot be told",
			ErrUnknownOutcome, k.name)
	case r.Ending == nil && r.OutcomeUnknown && r.Err != nil: // A change that an earlier write may have stored.
		return fmt.Errorf("%w: %q: %w", ErrUnknownOutcome, k.name, r.Err)
	case r.Ending == nil: // Without the state, or with it as it is stored.
		return r.Err
	}
	err := r.Err
	switch {
	case c.ctx.Err() != nil:
		err = ErrClosed
	case err == nil:
		err = errNoAnswer
	}
	if err = retry.Because(err, r.Last); r.OutcomeUnknown {
		return fmt.Errorf("%w: releasing %q: %w", ErrUnknownOutcome, k.name, err)
	}
	return fmt.Errorf("kubelock: releasing %q: %w", k.name, err)
}
