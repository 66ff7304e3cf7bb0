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

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// delete removes the lock's object as soon as nobody holds it. The deletion is
// conditioned on the version that was seen free, so it needs no hold of its own.
func (c *Client) delete(ctx context.Context, k key) error {
	asked := c.now()
	if ahead, err := c.turns.enter(ctx, k.object); err != nil {
		return ended(ctx, &notAcquiredError{key: k.name, holder: c.identity, waited: c.now().Sub(asked), ahead: ahead})
	}
	defer c.turns.leave(k.object)

	a := newContest(c, k, c.duration, asked, false)
	defer a.stop()
	if err := a.begin(ctx); err != nil {
		return err
	}
	for a.record.Exists() {
		if err := a.available(ctx); err != nil {
			return err
		}
		if !a.record.Exists() {
			break
		}
		gone, err := a.remove(ctx)
		if gone || err != nil {
			return err
		}
	}
	return nil
}

// remove deletes the object as it was last seen. It returns false if the lock has to
// be looked at again.
func (a *contest) remove(ctx context.Context) (gone bool, err error) {
	c, target := a.client, a.record
	answers := make(chan error, 1)
	ok := c.start(func() {
		requestCtx, cancel := context.WithTimeout(c.ctx, requestTimeout)
		defer cancel()
		sent := c.now()
		err := c.store.Delete(requestCtx, target)
		if err != nil {
			c.doubt(requestCtx, sent)
		}
		answers <- err
	})
	if !ok {
		return false, ErrClosed
	}
	unknown := func() error {
		return fmt.Errorf("%w: deleting %q: %w", ErrUnknownOutcome, a.key.name, causeOf(ctx))
	}
	select {
	case err = <-answers:
	case <-ctx.Done():
		return false, unknown()
	}

	outcome := store.OutcomeOf(err)
	switch outcome {
	case store.Committed:
		return true, nil
	case store.Rejected:
		return false, c.explain("delete", a.key, err)
	case store.Busy, store.Unknown:
		if pause(ctx, a.backoff, err) != nil {
			return false, unknown()
		}
	case store.Stale: // A read tells more.
	}
	r, err := c.readUntil(ctx, a.key, requestTimeout)
	if err != nil {
		if outcome == store.Unknown && ctx.Err() != nil {
			return false, unknown()
		}
		return false, a.failed(ctx, err)
	}
	a.record = protocol.Record{}
	a.see(r)
	return r.UID != target.UID, nil
}
