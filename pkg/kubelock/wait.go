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

	"github.com/kubelock/kubelock/internal/protocol"
)

// wait returns the lock as it is if it is free or expired, and otherwise as the first end
// of a hold leaves it; and whether somebody holds it then.
func (c *Client) wait(ctx context.Context, k key) (r protocol.Record, isHeld bool, err error) { //nolint:gocyclo // One loop over what an answer can be.
	o := &observer{client: c, key: k}
	defer o.stop()
	read := func() error {
		sent := c.now()
		r, err := c.readUntil(ctx, k, requestTimeout)
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
		if r.Terminating { // Until it has gone, nobody can take the lock.
			return false
		}
		return first.Holder == nil || first.Terminating || r.UID != first.UID || !r.HeldBy(first.Holder.LockID, first.Holder.Token)
	}
	for fresh := true; ; {
		if over(o.record) {
			return o.record, o.record.Holder != nil, nil
		}
		expired, remaining := c.available(ctx, o.record, o.seen, 0) // It is held.
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

// get returns the lock as it is, and whether somebody holds it: a hold that the
// server's time shows to have expired does not count.
func (c *Client) get(ctx context.Context, k key) (r protocol.Record, isHeld bool, err error) {
	if r, err = c.readOnce(ctx, k); err != nil {
		if ctx.Err() != nil && errors.Is(causeOf(ctx), ErrClosed) {
			err = ErrClosed
		}
		return r, false, err
	}
	if r.Holder == nil {
		return r, false, nil
	}
	expired, _ := c.available(ctx, r, c.sights.see(k.name, protocol.Observation{}, r, c.now()), 0)
	return r, !expired, nil
}

// snapshot shows a record to the user.
func snapshot[T any](k key, r protocol.Record, isHeld bool) (Snapshot[T], error) {
	s := Snapshot[T]{Exists: r.Value != nil, Held: isHeld}
	if r.LastRelease != nil {
		s.Token = r.LastRelease.Token
	}
	if h := r.Holder; h != nil {
		s.Token = h.Token
		if isHeld {
			s.Holder = h.Identity
		}
	}
	var err error
	s.Value, err = decodeState[T](k, r.Value)
	return s, err
}
