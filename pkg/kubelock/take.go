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
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// attempt is a write that was sent. Together with the lock ID, the stamp that it
// wrote tells it from every other.
type attempt struct {
	stamp time.Time
	sent  time.Time // before it was sent: deadlines count from here
	base  string    // the resourceVersion that it was conditioned on; "" for a create
}

// take writes the claim into the lock, which is available. It returns errAgain when
// the lock has to be looked at again.
func (a *contest) take(ctx context.Context) (*hold, error) {
	c := a.client
	sent := c.now() // Before the stamp: others may count from that.
	stamp := c.stamp()
	next, err := protocol.Take(a.record, a.claim, stamp)
	if err != nil {
		return nil, fmt.Errorf("kubelock: %w", err)
	}
	if !a.record.Exists() {
		next.Name, next.Key = a.key.object, a.key.name
	}
	a.attempts = append(a.attempts, attempt{stamp: stamp.Time, sent: sent, base: a.record.ResourceVersion})

	answers := make(chan answer, 1)
	if !c.start(func() { answers <- c.write(max(a.claim.Duration, time.Second), next) }) {
		return nil, ErrClosed
	}
	var ans answer
	select {
	case ans = <-answers:
	case <-ctx.Done():
		a.inFlight = answers
		return nil, a.failed(ctx, nil)
	}

	switch store.OutcomeOf(ans.err) {
	case store.Committed:
		return a.enter(ctx, ans.record, sent)
	case store.Rejected:
		a.attempts = a.attempts[:len(a.attempts)-1]
		return nil, a.failed(ctx, c.explain(verb(next), a.key, ans.err))
	case store.Busy:
		a.attempts = a.attempts[:len(a.attempts)-1]
		if pause(ctx, a.backoff, ans.err) != nil {
			return nil, a.failed(ctx, nil)
		}
		return nil, errAgain
	case store.Unknown:
		c.log.V(1).Info("Got no answer to a write, will read back", "key", a.key.name, "err", ans.err)
		if pause(ctx, a.backoff, ans.err) != nil {
			return nil, a.failed(ctx, ans.err)
		}
	case store.Stale: // The read tells how the lock stands, and whether a copy of this very write was committed.
	}
	if err := a.read(ctx); err != nil {
		return nil, err
	}
	return nil, errAgain
}

// sentFor finds when the attempt was sent that made r what it is. Where that cannot
// be told, it is the earliest, so that the deadline is never too late.
func (a *contest) sentFor(r protocol.Record) time.Time {
	for _, t := range a.attempts {
		if t.stamp.Equal(r.Holder.RenewTime) {
			return t.sent
		}
	}
	return a.attempts[0].sent
}

// enter makes a hold of the record that the write sent at sent gave. A hold whose
// deadline has passed already, or could be taken for passed by others, is not
// entered: then it returns errAgain, and the contest goes on under another lock ID.
func (a *contest) enter(ctx context.Context, r protocol.Record, sent time.Time) (*hold, error) {
	h, err := newHold(a.client, a.key, r, sent.Add(a.claim.Duration))
	stamp := protocol.Stamp{Time: r.Holder.RenewTime, Source: r.Holder.Source}
	if err == nil && a.client.stampHolds(stamp, sent) && h.open() {
		return h, nil
	}
	if err != nil || a.try {
		a.abandon()
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("kubelock: %w", err)
	case a.try:
		return nil, &notAcquiredError{key: a.key.name, causes: []error{errTooLate}}
	}
	if pause(ctx, a.backoff, nil) != nil {
		return nil, a.failed(ctx, errTooLate)
	}
	a.record = r // This client's own, and dead: it can be taken.
	a.newLockID()
	return nil, errAgain
}

// abandon sees to it, in the background, that a claim whose caller does not get the
// lock does not keep it from others until its lease ends: if one of the attempts
// was committed, the hold is released. It gives up when the lease has ended anyway.
func (a *contest) abandon() {
	c, k, lockID, inFlight := a.client, a.key, a.claim.LockID, a.inFlight
	ends := a.attempts[len(a.attempts)-1].sent.Add(a.claim.Duration)
	c.start(func() { // If the client is closed, the lease ends by itself.
		ctx, cancel := context.WithTimeout(c.ctx, max(ends.Sub(c.now()), requestTimeout))
		defer cancel()
		if inFlight != nil {
			<-inFlight
		}
		backoff := newBackoff()
		for {
			r, err := c.readUntil(ctx, k, requestTimeout)
			if err != nil || !r.HeldBy(lockID) {
				return
			}
			next, err := protocol.Release(r, lockID, 0, protocol.Change{}, c.stamp())
			if err != nil {
				return
			}
			if ans := c.write(requestTimeout, next); ans.err == nil || pause(ctx, backoff, ans.err) != nil {
				return
			}
		}
	})
}

func verb(r protocol.Record) string {
	if r.Exists() {
		return "update"
	}
	return "create"
}
