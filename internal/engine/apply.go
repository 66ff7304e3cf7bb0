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
	"time"

	"github.com/kubelock/kubelock/internal/retry"
	"github.com/kubelock/kubelock/internal/session"
)

// Apply replaces the state by what fn makes of it: see kubelock.Lock.Apply.
func (c *Client) Apply(ctx context.Context, k Key, d time.Duration, name string, fn func(text *string) (*string, error)) (err error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return err
	}
	defer cancel()
	if err := c.checkNested(ctx, k); err != nil {
		return err
	}
	asked := c.now()
	began := func() notAcquiredError { return notAcquiredError{key: k.name, waited: c.now().Sub(asked)} }
	if ctx.Err() != nil {
		return ended(causeOf(ctx), &notAcquiredError{key: k.name})
	}
	as := c.metrics.series(name, c.Log)
	span := c.tracing.start(ctx, "kubelock.apply", k, name)
	defer func() {
		as.applied(c.now().Sub(asked), err)
		endApply(span, err)
	}()
	dr := c.drivers.driver(k, true)
	if dr == nil {
		return ErrClosed
	}
	defer c.drivers.leave(dr)
	p := dr.applications()
	a := &application{fn: fn, duration: d, turns: make(chan *string, 1), ended: make(chan outcome, 1)}
	if !p.join(a) {
		return ErrClosed
	}
	over := false
	defer func() {
		if !over { // fn panics, or ends its goroutine.
			p.leave(a)
		}
	}()
	for {
		select {
		case text := <-a.turns:
			p.compute(a, text)
		case o := <-a.ended:
			over = true
			return c.applyError(ctx, k, a, began(), o)
		case <-ctx.Done():
			over = true
			switch p.leave(a) {
			case takenOut:
				e := began()
				return ended(causeOf(ctx), &e)
			case isSent:
				return c.unknown(k, causeOf(ctx))
			case toldSoon:
				return c.applyError(ctx, k, a, began(), <-a.ended)
			}
		}
	}
}

// unknown says that a change was sent, and that what became of it is not known because of err.
func (*Client) unknown(k Key, err error) error {
	return fmt.Errorf("%w: applying a change to %q: %w", ErrUnknownOutcome, k.name, err)
}

// applyError is the error of a call that has ended like o.
func (c *Client) applyError(ctx context.Context, k Key, a *application, began notAcquiredError, o outcome) error {
	var err error
	switch {
	case o.failure != nil:
		err = c.acquireError(ctx, k, session.Want{Apply: true}, began, o.failure)
	case o.nothing || o.result.Kind == session.OK:
	case o.result.Kind == session.Failed && o.result.OutcomeUnknown && o.result.Err == nil && ctx.Err() != nil:
		err = c.unknown(k, retry.Because(causeOf(ctx), o.result.Last))
	default:
		err = releaseError(c, k, o.result)
	}
	switch {
	case a.err == nil || a.gone:
		return err
	case err == nil:
		return a.err
	}
	return errors.Join(a.err, err)
}
