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

// The writes with which a contest claims the lock, and what becomes of them.

// attempt is a write that was sent. Together with the lock ID, the stamp that it
// wrote tells it from every other.
type attempt struct {
	stamp time.Time
	sent  time.Time // before it was sent: deadlines count from here
}

// take writes the claim into the lock, which is available.
func (a *contest) take(ctx context.Context, place int) error {
	if err := a.acceptable(ctx); err != nil {
		return err
	}
	drop := min(place+1, len(a.record.Waiters)) // All that come first have had their chance.
	next, err := protocol.Take(a.record, a.claim, drop, a.attempt())
	if err != nil {
		return fmt.Errorf("kubelock: %w", err)
	}
	if !a.record.Exists() {
		next.Name, next.Key = a.key.object, a.key.name
	}
	return a.send(ctx, verb(next), true, func(ctx context.Context) (protocol.Record, error) {
		return store.Write(ctx, a.client.store, next)
	})
}

// pass ends a dead hold of this client: the lock goes to the first waiter of another,
// and the claim joins the queue; if there is no such waiter, the claim has the lock.
func (a *contest) pass(ctx context.Context) error {
	if err := a.acceptable(ctx); err != nil {
		return err
	}
	successor := &a.claim
	if a.try && len(a.record.Waiters) > 0 {
		successor = nil // It would queue.
	}
	next, err := protocol.Expire(a.record, successor, a.attempt())
	if err != nil {
		return fmt.Errorf("kubelock: %w", err)
	}
	return a.amend(ctx, next, successor != nil)
}

// enter makes a hold of the record, which shows the claim. If too little is left of
// its lease, or others may take it for ended too early, it is renewed first: nobody
// believes in it yet.
func (a *contest) enter(ctx context.Context) (*hold, error) {
	if err := a.acceptable(ctx); err != nil {
		return nil, err
	}
	r := a.record
	sent, exact := a.sentFor(r)
	h, err := newHold(a.client, a.claim, a.key, r, sent.Add(min(r.Holder.Duration, a.claim.Duration)))
	if err != nil {
		return nil, fmt.Errorf("kubelock: %w", err)
	}
	if !exact && a.overtakes() {
		return nil, a.refused()
	}
	a.given = a.given || !exact
	needed := r.Holder.Duration / 2 // Less could end while a slow API server takes the release in.
	if exact {
		needed = 0
	}
	if h.deadline.Sub(a.client.now()) > needed && a.client.covers(r.Holder, sent, exact) && h.open() {
		a.stop()
		if a.given {
			a.client.metrics.handoffs.Inc()
		}
		return h, nil
	}
	if exact {
		if a.try && h.deadline.Sub(a.client.now()) <= 0 {
			return nil, a.refused(errTooLate)
		}
		if a.tries.Pause(ctx) != nil {
			return nil, a.failed(ctx, errTooLate)
		}
	}
	next, err := protocol.Renew(r, a.claim, h.token, protocol.Change{}, a.attempt())
	if err != nil {
		return nil, fmt.Errorf("kubelock: %w", err)
	}
	a.attempts[len(a.attempts)-1].stamp = next.Holder.RenewTime
	return nil, a.amend(ctx, next, true)
}

// acceptable says why the caller does not want the lock with the state as it is.
func (a *contest) acceptable(ctx context.Context) error {
	err := a.accept(a.record.Value)
	if err == nil {
		return nil
	}
	if !a.recalled {
		return a.failed(ctx, err)
	}
	if err := a.read(ctx); err != nil {
		return err
	}
	return errAgain
}

// attempt notes that a write is about to be sent which may begin or renew the hold,
// and returns the time to write.
func (a *contest) attempt() protocol.Stamp {
	sent := a.client.now() // Before the stamp: others may count from that.
	stamp := a.client.stamp()
	a.bequeath(sent, stamp)
	return stamp
}

// bequeath notes a write with that stamp, about to be sent, which may begin or renew
// the hold.
func (a *contest) bequeath(sent time.Time, stamp protocol.Stamp) {
	if a.first.IsZero() {
		a.first = sent
	}
	a.attempts = append(a.attempts, attempt{stamp: stamp.Time, sent: sent})
}

// sentFor finds when the attempt was sent that made r what it is. Where that cannot
// be told, or somebody else has given the lock to this client, it is before whatever
// may have led to it, so that the deadline is never too late.
func (a *contest) sentFor(r protocol.Record) (sent time.Time, exact bool) {
	for _, t := range a.attempts {
		if t.stamp.Equal(r.Holder.RenewTime) {
			return t.sent, true
		}
	}
	return a.givenFrom(r.Holder), false
}

// amend sends a change of the record as it was last seen.
func (a *contest) amend(ctx context.Context, next protocol.Record, takes bool) error {
	from := a.record
	return a.send(ctx, "patch", takes, func(ctx context.Context) (protocol.Record, error) {
		return a.client.amend(ctx, a.key, from, next)
	})
}

// send sends one write and takes its answer in. takes is whether the write takes or
// deletes the lock. It returns errAgain, or an error that ends the contest.
func (a *contest) send(ctx context.Context, verb string, takes bool, write func(ctx context.Context) (protocol.Record, error)) error {
	c, from, sent := a.client, a.record, a.client.now()
	doubt := func() {
		if takes {
			a.inDoubt, a.base = true, from.ResourceVersion
		}
	}
	answers, timeout := make(chan answer, 1), a.tries.Limit(max(a.claim.Duration, time.Second))
	if !c.start(func() { answers <- c.write(timeout, write) }) { // The contest may have passed to another caller by then.
		return a.failed(ctx, ErrClosed)
	}
	var ans answer
	select {
	case ans = <-answers:
	case <-ctx.Done():
		doubt()
		a.inFlight = answers
		return a.failed(ctx, nil)
	}

	outcome := a.tries.Wrote(ans.err)
	switch outcome {
	case store.Committed, store.Altered:
		a.inDoubt = a.inDoubt && a.base == "" && !takes // As in read.
		a.answered(ans.record, sent)
		if outcome == store.Altered {
			a.spoilt = true
			return a.failed(ctx, c.explain(verb, a.key, ans.err))
		}
		return errAgain
	case store.Rejected, store.Denied:
		return a.failed(ctx, c.explain(verb, a.key, ans.err))
	case store.Busy:
		if a.tries.Pause(ctx) != nil {
			return a.failed(ctx, nil)
		}
		return errAgain
	case store.Unknown:
		doubt()
		c.log.V(1).Info("Got no answer to a write, will read back", "key", a.key.name, "err", ans.err)
		if a.tries.Pause(ctx) != nil {
			return a.failed(ctx, ans.err)
		}
	case store.Stale: // The read tells how the lock stands, and whether a copy of this very write was committed.
		return a.stale(ctx, verb, c.now().Sub(sent), doubt, ans.err)
	}
	if err := a.read(ctx); err != nil {
		return err
	}
	return errAgain
}

// stale goes on after a write that was refused, after so long, because the lock has changed or
// in the words for that. doubt notes that a copy of it may have been committed.
func (a *contest) stale(ctx context.Context, verb string, took time.Duration, doubt func(), refusal error) error {
	from, recalled, inDoubt, base := a.record, a.recalled, a.inDoubt, a.base
	doubt()
	if a.tries.Raced(ctx) != nil {
		return a.failed(ctx, nil)
	}
	if err := a.read(ctx); err != nil {
		return err
	}
	if !a.record.SameVersion(from) {
		if from.Exists() && !recalled { // Who created the lock too late, or knew an old version, has not been outrun yet.
			a.joining.late(took)
		}
		return errAgain
	}
	if from.Exists() { // No copy of it was committed. Where there is no object, one may have been deleted since.
		a.inDoubt, a.base = inDoubt, base
	}
	if a.tries.Unchanged() == store.Rejected {
		return a.failed(ctx, a.client.explain(verb, a.key, refusal))
	}
	if a.tries.Pause(ctx) != nil {
		return a.failed(ctx, nil)
	}
	return errAgain
}

// abandon takes back, in the background, what a contest has in the lock's object:
// a queue entry, or a hold that nobody wants any more.
func (a *contest) abandon() {
	c := a.client
	a.stop()
	if a.first.IsZero() { // It has written nothing.
		c.own.end(a.claim.LockID, 0)
		return
	}
	inFlight := a.inFlight
	until := c.now()
	if a.inDoubt {
		until = until.Add(a.claim.Duration)
	}
	ok := c.finish(true, func() {
		if inFlight != nil {
			<-inFlight
		}
		c.takeBack(a.key, a.claim, until)
	})
	if !ok { // Close has waited for long enough: its lease ends by itself, and the queue goes on without it after the grace.
		c.own.end(a.claim.LockID, 0)
	}
}

func verb(r protocol.Record) string {
	if r.Exists() {
		return "update"
	}
	return "create"
}
