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
)

// Wait returns the lock as it is if it is free or expired, and otherwise as the first end
// of a hold leaves it, and of the rest after it; and whether a client holds it then.
func (c *Client) Wait(ctx context.Context, k Key) (r protocol.Record, isHeld bool, err error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return r, false, err
	}
	defer cancel()
	if err := c.checkNested(ctx, k); err != nil {
		return r, false, err
	}
	return c.wait(ctx, k)
}

func (c *Client) wait(ctx context.Context, k Key) (r protocol.Record, isHeld bool, err error) { //nolint:gocyclo // One loop over what an answer can be.
	o := &observer{client: c, key: k}
	defer o.stop()
	read := func() error {
		sent := c.now()
		r, err := c.readUntil(ctx, k)
		if err == nil {
			o.answered(r, sent)
		}
		return err
	}
	if err := read(); err != nil {
		return o.record, false, o.waited(ctx, err)
	}
	first := o.record
	// over tells whether the hold that was there first has ended at r.
	over := func(r protocol.Record) bool {
		if r.Terminating || r.Resting() && r.UID == first.UID { // Until it has gone, or has rested, no client can take the lock.
			return false
		}
		return first.Holder == nil || first.Terminating || r.UID != first.UID || !r.HeldBy(first.Holder.LockID, first.Holder.Token)
	}
	for fresh := true; ; {
		if over(o.record) {
			return o.record, o.record.Holder != nil, nil
		}
		expired, remaining := c.available(ctx, o.record, o.seen) // It is held.
		if expired && fresh {
			return o.record, false, nil
		}
		reread := expired // Events may be missing; a renewal would show in a read.
		if !expired {
			if err := o.follow(c.watches.subscribe); err != nil {
				return o.record, false, o.waited(ctx, err)
			}
			until := o.taken.Add(minute)
			versions, missed, err := o.next(ctx, min(remaining, until.Sub(c.now())))
			if err != nil {
				return o.record, false, o.waited(ctx, err)
			}
			for _, r := range versions {
				if !o.outdated(r) && over(r) {
					return r, r.Holder != nil, nil
				}
				o.see(r)
			}
			reread = missed || len(versions) == 0 && !c.now().Before(until)
		}
		fresh = reread
		if reread {
			if err := read(); err != nil {
				return o.record, false, o.waited(ctx, err)
			}
		}
	}
}

// waited says why a wait ended with err.
func (o *observer) waited(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	if h := o.record.Holder; h != nil {
		return fmt.Errorf("kubelock: waiting for %q, held by %q: %w", o.key.name, h.Identity, causeOf(ctx))
	}
	return fmt.Errorf("kubelock: waiting for %q: %w: %w", o.key.name, causeOf(ctx), err)
}

// Get returns the lock as it is, and whether a client holds it: a hold that the
// server's time shows to have expired does not count.
func (c *Client) Get(ctx context.Context, k Key) (r protocol.Record, isHeld bool, err error) {
	ctx, cancel, err := c.begin(ctx)
	if err != nil {
		return r, false, err
	}
	defer cancel()
	if r, err = c.readOnce(ctx, k); err != nil {
		if ctx.Err() != nil && errors.Is(causeOf(ctx), ErrClosed) {
			err = ErrClosed
		}
		return r, false, err
	}
	if r.Holder == nil {
		return r, false, nil
	}
	expired, _ := c.available(ctx, r, c.observe(k, protocol.Observation{}, r))
	return r, !expired, nil
}
