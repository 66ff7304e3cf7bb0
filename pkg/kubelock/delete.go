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

// errRemoved says that the state and, if nobody else wants the lock, the object are
// gone.
var errRemoved = errors.New("the lock was deleted")

// delete removes the lock's object as soon as nobody holds it. It queues as an
// acquisition does. If others queue behind it they get the lock without state, and
// the object stays: nobody would tell them that it has gone.
func (c *Client) delete(ctx context.Context, k key) error {
	_, err := c.compete(ctx, k, want{
		asked:    c.now(),
		duration: c.duration,
		remove:   true,
		accept:   func(*string) error { return nil },
	})
	if errors.Is(err, errRemoved) {
		return nil
	}
	return err
}

// removeObject deletes the object as it was last seen, which nobody else holds or
// queues for. The deletion is conditioned on that version, so it needs no hold.
func (a *contest) removeObject(ctx context.Context) error {
	target, recalled := a.record, a.recalled
	err := a.send(ctx, "delete", true, func(ctx context.Context) (protocol.Record, error) {
		return a.client.store.Delete(ctx, target)
	})
	if errors.Is(err, errAgain) && a.record.UID != target.UID && !recalled {
		return errRemoved // By whomever.
	}
	return err
}

// removeState hands the lock that was given to this claim on, without state.
func (a *contest) removeState(ctx context.Context) error {
	r := a.record
	next, err := protocol.Release(r, a.claim, r.Holder.Token, protocol.Change{Write: true}, nil, a.client.stamp())
	if err != nil {
		return fmt.Errorf("kubelock: %w", err)
	}
	err = a.amend(ctx, next, true)
	if last := a.record.LastRelease; errors.Is(err, errAgain) && last != nil && last.LockID == a.claim.LockID && last.Reason.ByHolder() {
		a.client.foundHandedOn(a.key, a.claim.LockID, a.record)
		return errRemoved
	}
	return err
}
