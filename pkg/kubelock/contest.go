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
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/retry"
)

// errAgain says that the lock has to be looked at again.
var errAgain = errors.New("the lock has to be looked at again")

// overflowWait is how long a client waits, more or less, before it looks again for
// room in a queue that was full.
const overflowWait = time.Second

// want is what one caller wants of a contest.
type want struct {
	asked    time.Time
	duration time.Duration
	try      bool // do not wait for the lock
	remove   bool // delete the lock rather than have it
	accept   func(value *string) error
}

// contest is a client's competition for a lock: for the caller whose turn it is,
// and, if that one gives up, for the next.
type contest struct {
	observer
	want
	claim protocol.Claim
	tries *retry.Attempts // of the caller whose turn it is

	// attempts are the writes that may have begun or renewed the hold that is claimed,
	// and first is when the first write was sent that may have led to it, queue entries
	// included.
	attempts []attempt
	first    time.Time
	// without is when the last read was sent that has shown the claim without the lock: if
	// somebody gave it the lock, then later. withoutUpper is before when it was by the
	// server's clock; zero: nobody knows.
	without, withoutUpper time.Time
	pace                  pace
	// inDoubt is set while a write may be committed, or have been, that takes or deletes
	// the lock. Then base is the version that it was conditioned on, "" if there was none.
	inDoubt bool
	base    string
	// watchesLock is set while the watch is of the lock, and not of what this client holds.
	watchesLock bool
	// firstSince is since when the caller is known to be the first in the queue for a lock that is
	// held; zero: it is not.
	firstSince time.Time
	// firstLook is up to when at most the caller relies on what it knew when it came, where
	// that is longer than a lease: not all who came at once shall look at once.
	firstLook time.Time
	// recalled is set while the record is from before this caller's turn, and may be old.
	recalled bool
	// expected is set while no caller wants the lock, but one is likely to come soon.
	expected bool
	// given is set when somebody else has given the lock to the claim.
	given bool
	// removing is the UID of an object that is being deleted, as this call wants it.
	removing string
	// spoilt is set when what was stored is not what was written: the claim is not to be used.
	spoilt  bool
	joining joining
	// inFlight delivers the answer to the last write, if the caller could not wait for
	// it.
	inFlight <-chan answer
}

func newContest(c *Client, k key) *contest {
	a := &contest{observer: observer{client: c, key: k}, tries: c.attempts()}
	a.claim = protocol.Claim{
		Identity:     c.identity,
		Pod:          c.pod,
		Client:       c.id,
		LockID:       c.newLockID(),
		ObjectExpiry: c.objectExpiry,
	}
	c.own.begin(a.claim.LockID)
	return a
}

// renewID gives the claim another lock ID if a hold of this one has ended, or somebody
// else's has it: each hold has its own. Nothing that was written under the old one counts
// any more.
func (a *contest) renewID() {
	last := a.record.LastRelease
	used := last != nil && last.LockID == a.claim.LockID || a.record.HeldBy(a.claim.LockID, 0)
	if !used || a.mine(a.record) && !a.record.Terminating {
		return
	}
	a.client.own.end(a.claim.LockID, 0)
	a.claim.LockID = a.client.newLockID()
	a.client.own.begin(a.claim.LockID)
	a.attempts, a.first, a.given = nil, time.Time{}, false
}

// mine reports whether r shows the hold that is claimed. Lock IDs can be read and guessed;
// where the API server checks who writes an identity, nobody else has this one.
func (a *contest) mine(r protocol.Record) bool {
	return r.HeldBy(a.claim.LockID, 0) && r.Holder.Identity == a.claim.Identity
}

// leftOver reports whether r shows a dead hold of this client. The caller has the client's
// turn: whatever became of such a hold, nobody here believes in it any more.
func (a *contest) leftOver(r protocol.Record) bool {
	return r.Holder != nil && r.Holder.Client == a.claim.Client && r.Holder.Identity == a.claim.Identity
}

// overtakes reports whether others queue for the lock, whom a caller that does not queue
// would overtake if it used the place that was kept for one that does.
func (a *contest) overtakes() bool { return a.try && a.record.Contended(a.claim.Client) }

// place is where the claim stands in the queue; the queue's length if it does not.
func (a *contest) place() int {
	return a.record.Place(func(lockID string) bool { return lockID == a.claim.LockID })
}

// run goes on until the caller has the lock, or cannot have it.
func (a *contest) run(ctx context.Context) (*hold, error) {
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	for {
		if ctx.Err() != nil {
			return nil, a.failed(ctx, nil)
		}
		h, err := a.round(ctx)
		if !errors.Is(err, errAgain) {
			return h, err
		}
	}
}

// begin finds out how the lock stands: from what this client's last release left,
// or by a read.
func (a *contest) begin(ctx context.Context) error {
	if a.inFlight != nil { // The caller before did not wait for it.
		select {
		case <-a.inFlight:
			a.inFlight = nil
		case <-ctx.Done():
			return a.failed(ctx, nil)
		}
		return a.read(ctx)
	}
	switch {
	case a.inDoubt, a.known && a.try, a.known && !a.missed.IsZero(): // It was kept: what is known of the lock may be over.
		return a.read(ctx)
	case a.known:
		return nil
	}
	if r, ok := a.client.recall(a.key); ok && (!a.try || r.Holder == nil) && a.client.stampable() {
		a.see(r)
		a.recalled = true
		return nil
	}
	return a.read(ctx)
}

// round does the next thing that brings the caller closer to the lock.
func (a *contest) round(ctx context.Context) (*hold, error) {
	if err := a.key.check(a.record); err != nil {
		return nil, a.failed(ctx, err)
	}
	a.renewID()
	r := a.record
	switch {
	case a.remove && (!r.Exists() || a.removing != "" && r.UID != a.removing):
		return nil, errRemoved
	case r.Terminating:
		if a.remove {
			a.removing = r.UID
		}
		return nil, a.outlast(ctx)
	case a.remove && a.mine(r) && !r.Contended(a.claim.Client):
		return nil, a.removeObject(ctx)
	case a.remove && a.mine(r):
		return nil, a.removeState(ctx)
	case a.mine(r):
		return a.enter(ctx)
	}
	if a.leftOver(r) {
		return nil, a.pass(ctx)
	}
	return nil, a.approach(ctx)
}

// approach takes the lock if it is available, and else queues for it, or waits in the queue.
func (a *contest) approach(ctx context.Context) error {
	r, place := a.record, a.place()
	if a.overtakes() {
		place = len(r.Waiters)
	}
	available, remaining := a.client.available(ctx, r, a.seen, place)
	switch {
	case available && a.outrun(place):
		return a.enqueue(ctx)
	case available && a.remove && r.Holder == nil && len(r.Waiters) <= place+1:
		return a.removeObject(ctx)
	case available: // To delete the lock of a dead holder, too: a deletion does not say that its lease is over.
		return a.take(ctx, place)
	case a.try:
		return a.refused()
	case place < len(r.Waiters):
	case place < protocol.MaxWaiters:
		return a.enqueue(ctx)
	default:
		remaining = min(remaining, wait.Jitter(overflowWait, 1))
	}
	return a.stay(ctx, place, remaining)
}

// outlast waits until an object has gone that is being deleted.
func (a *contest) outlast(ctx context.Context) error {
	if a.try {
		return a.refused(terminating(a.record))
	}
	return a.await(ctx, minute, true)
}

// bound is before whatever has given the lock to the claim.
func (a *contest) bound() time.Time {
	if a.without.After(a.first) {
		return a.without
	}
	return a.first
}

// givenFrom is from when a lease counts that somebody else has begun for the claim. A write
// may be under way for long: the read that has shown the lock without it may be later than
// its stamp, from which others count. A stamp by a node's clock is none to count from: of
// that, others count from when they have seen it, which is later than the read.
func (a *contest) givenFrom(h *protocol.Holder) time.Time {
	from := a.bound()
	if h.Source != protocol.Server {
		return from
	}
	if a.withoutUpper.IsZero() {
		return a.first
	}
	if late := a.withoutUpper.Sub(h.RenewTime); late > 0 {
		from = from.Add(-late)
	}
	if from.Before(a.first) { // Whoever gives the lock has seen the claim before it takes the time.
		return a.first
	}
	return from
}

func (a *contest) read(ctx context.Context) error {
	var r protocol.Record
	var err error
	sent := a.client.now()
	_, upper, _ := a.client.server.ToldBounds(sent) // A wrong hint would let a grant count from too late.
	if a.try && !a.inDoubt {                        // Nothing to learn that would be worth a wait.
		r, err = a.client.readOnce(ctx, a.key)
	} else {
		r, err = a.client.readUntil(ctx, a.key, requestTimeout)
	}
	if err != nil {
		return a.failed(ctx, err)
	}
	a.joining.look(a.client.now().Sub(sent), a.record, r)
	a.answered(r, sent)
	a.recalled = false
	if !a.mine(r) {
		a.without = sent
		a.withoutUpper = upper
	}
	// What was conditioned on another version cannot be committed any more. But where
	// there was no object, there may be none again.
	if a.inDoubt && a.base != "" && !a.mine(r) && r.ResourceVersion != a.base {
		a.inDoubt = false
	}
	return nil
}
