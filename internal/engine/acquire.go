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
	"time"

	"github.com/kubelock/kubelock/internal/session"
)

// tryTimeout bounds a call that does not wait for the lock, but has to learn what
// became of its write.
const tryTimeout = 15 * time.Second

var (
	errNoAnswer = errors.New("no answer from the API server")
	errTooLate  = errors.New("the lease ended before the API server's answer came: use a longer duration")
)

// Want is what a caller wants of a lock.
type Want = session.Want

// Acquire gets the lock for one caller as it wants it, or says why not. accept sees the state before the caller
// gets the lock, and can refuse it. name is what the metrics and the spans have of the call.
func (c *Client) Acquire(ctx context.Context, k Key, want Want, name string, accept func(value *string) error) (h *Hold, err error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer cancel()
	if err := c.checkNested(ctx, k); err != nil {
		if want.Try {
			err = &notAcquiredError{key: k.name, holder: c.Identity, causes: []error{err}}
		}
		return nil, err
	}
	asked, parent, as := c.now(), ctx, c.metrics.series(name, c.Log)
	span := c.tracing.start(parent, "kubelock.acquire", k, name, attrTry.Bool(want.Try))
	defer func() {
		as.acquired(c.now().Sub(asked), err)
		c.tracing.endAcquire(parent, span, k, name, want.Try, h, err)
	}()

	if want.Try {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, tryTimeout, errNoAnswer)
		defer cancel()
	}
	return c.compete(ctx, k, want, as, accept)
}

// Delete removes the lock's object as soon as no client holds it. It queues as an
// acquisition does, for a lease of that long. If others queue behind it they get the lock without state,
// and the object stays: nothing would tell them that it has gone.
func (c *Client) Delete(ctx context.Context, k Key, d time.Duration) error {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := c.checkNested(ctx, k); err != nil {
		return err
	}
	_, err = c.compete(ctx, k, session.Want{Duration: d, Remove: true}, c.metrics.names.unnamed, nil)
	return err
}

// compete waits for the lock, with which the caller answers the session's questions. Without an error
// the caller has it, or it was deleted if that was wanted. A hold is counted where as says.
func (c *Client) compete(ctx context.Context, k Key, want session.Want, as *series, accept func(value *string) error) (*Hold, error) {
	asked := c.now()
	if ctx.Err() != nil {
		return nil, ended(causeOf(ctx), &notAcquiredError{key: k.name})
	}
	if end, ok := ctx.Deadline(); ok {
		want.Until = asked.Add(time.Until(end))
	}
	d := c.drivers.driver(k, true)
	if d == nil {
		return nil, ErrClosed
	}
	defer c.drivers.leave(d)
	id := c.number()
	answers := make(chan reply, 2)
	d.arrive(id, want, as, answers)
	over := false
	defer func() {
		if !over { // The caller's decoding of the state panics.
			d.post(session.Event{Kind: session.GiveUp, Caller: id})
		}
	}()
	for done := ctx.Done(); ; {
		select {
		case e := <-answers:
			switch {
			case e.Kind == session.Check && done == nil: // It has given up.
			case e.Kind == session.Check:
				d.post(session.Event{Kind: session.Checked, Caller: id, Err: accept(e.Value)})
			case e.Kind == session.Grant:
				over = true
				return e.granted, nil
			case e.Failure.Removed:
				over = true
				return nil, nil //nolint:nilnil // It has no hold: that was not wanted.
			default:
				over = true
				return nil, c.acquireError(ctx, k, want, notAcquiredError{waited: c.now().Sub(asked)}, e.Failure)
			}
		case <-done:
			done = nil
			d.post(session.Event{Kind: session.GiveUp, Caller: id})
		}
	}
}
