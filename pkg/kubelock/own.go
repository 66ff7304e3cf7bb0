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
	"sync"
	"time"

	"k8s.io/utils/lru"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// maxEnded is of how many holds a client knows at most that they have ended, to tell
// late news of them from a lock that was given to it in vain.
const maxEnded = 4096

// ownLocks knows which of the locks that its client is shown to hold somebody here
// answers for. What is left is an orphan: given to a queue entry that the client had
// given up, or that the network delivered twice. It is handed on at once.
type ownLocks struct {
	mu sync.Mutex // protects the fields below
	// live has the lock IDs that the client answers for, each with its hold once there is one.
	live map[string]*hold
	// ended has the tokens of holds that are over, by lock ID.
	ended *lru.Cache
}

func newOwnLocks() *ownLocks {
	return &ownLocks{live: map[string]*hold{}, ended: lru.New(maxEnded)}
}

// begin says that somebody answers for the lock ID from now on.
func (o *ownLocks) begin(lockID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.live[lockID] = nil
}

// opened says that the client's hold h has begun.
func (o *ownLocks) opened(h *hold) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.live[h.claim.LockID] = h
}

// hold is the client's hold that r shows; nil if there is none that has not ended.
func (o *ownLocks) hold(r protocol.Record) *hold {
	if r.Holder == nil {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if h := o.live[r.Holder.LockID]; h != nil && r.HeldBy(h.claim.LockID, h.token) {
		return h
	}
	return nil
}

// end says that nobody does any more. token is that of the hold, or 0 if there was
// none.
func (o *ownLocks) end(lockID string, token int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.live, lockID)
	if token > 0 {
		o.ended.Add(lockID, token)
	}
}

// adopt reports whether h is an orphan, and makes the caller answer for it.
func (o *ownLocks) adopt(h *protocol.Holder) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.live[h.LockID]; ok {
		return false
	}
	if token, ok := o.ended.Get(h.LockID); ok && h.Token <= token.(int64) {
		return false
	}
	o.live[h.LockID] = nil
	return true
}

// shown looks at a lock that the API server shows this client to hold.
func (c *Client) shown(r protocol.Record) {
	if h := c.own.hold(r); h != nil && r.Terminating {
		h.lose()
	}
	h := r.Holder
	if h == nil || h.Client != c.id || !c.own.adopt(h) {
		return
	}
	c.log.V(1).Info("Got a lock that nobody waits for any more, will hand it on", "key", r.Key, "lockID", h.LockID)
	k := key{name: r.Key, object: r.Name}
	claim := protocol.Claim{Client: c.id, LockID: h.LockID}
	if !c.finish(false, func() { c.takeBack(k, claim, c.now()) }) {
		c.own.end(h.LockID, 0)
	}
}

// vanished looks what became of a hold whose object the watch of the client's own locks
// does not show any more, as r was: it was deleted, or ended by hand, or lost its label.
func (c *Client) vanished(r protocol.Record) {
	h := c.own.hold(r)
	if h == nil || h.remaining() <= 0 {
		return
	}
	c.start(func() {
		ctx, cancel := context.WithTimeout(h.ctx, requestTimeout)
		defer cancel()
		r, err := c.read(ctx, h.key, requestTimeout)
		if err == nil && (!r.HeldBy(h.claim.LockID, h.token) || r.Terminating) {
			h.lose()
		}
	})
}

// takeBack removes what a claim that nobody needs any more has in the lock's object:
// it hands a hold on, and leaves the queue. Until then it looks again and again for
// what may be on its way, but not when the client is closing. It gives up when the lease
// has ended anyway, and when the API server refuses it.
func (c *Client) takeBack(k key, claim protocol.Claim, until time.Time) {
	defer c.own.end(claim.LockID, 0)
	ctx, cancel := context.WithTimeout(c.writes, max(claim.Duration, protocol.Grace)+requestTimeout)
	defer cancel()
	tries := c.attemptsInBackground()
	gaveUp := func(err error) {
		c.log.V(1).Info("Could not give a lock back, its lease will end", "key", k.name, "lockID", claim.LockID, "err", err)
	}
	var ans answer
	outcome := store.Unknown
	for from := (protocol.Record{}); ; {
		r := ans.record
		if outcome == store.Stale && tries.Raced(ctx) != nil {
			gaveUp(tries.Because(ans.err))
			return
		}
		if outcome != store.Committed {
			var err error
			if r, err = c.readBy(ctx, c.attemptsInBackground(), k, requestTimeout); err != nil {
				gaveUp(tries.Because(err))
				return
			}
		}
		if outcome == store.Stale && r.SameVersion(from) && (tries.Unchanged() == store.Rejected || tries.Pause(ctx) != nil) {
			gaveUp(ans.err)
			return
		}
		c.foundHandedOn(k, claim.LockID, r)
		write, err := c.givesBack(k, claim, r)
		switch {
		case err != nil:
			c.log.Error(err, "Could not give a lock back, its lease will end", "key", k.name, "lockID", claim.LockID)
			return
		case write == nil && c.now().Before(until) && c.ctx.Err() == nil && tries.Pause(ctx) == nil:
			outcome = store.Unknown
			continue
		case write == nil:
			return
		}
		from = r
		ans = c.write(tries.Limit(max(claim.Duration, requestTimeout)), write)
		switch outcome = tries.Wrote(ans.err); outcome {
		case store.Rejected, store.Denied, store.Altered:
			gaveUp(ans.err)
			return
		case store.Busy, store.Unknown:
			if err := tries.Pause(ctx); err != nil {
				gaveUp(tries.Because(err))
				return
			}
		case store.Committed, store.Stale:
		}
	}
}

// givesBack is the write that removes from the lock as r shows it what the claim has in it; nil
// if it has nothing.
func (c *Client) givesBack(k key, claim protocol.Claim, r protocol.Record) (write func(ctx context.Context) (protocol.Record, error), err error) {
	place := r.Place(func(lockID string) bool { return lockID == claim.LockID })
	switch {
	case r.HeldBy(claim.LockID, 0):
		next, err := protocol.Release(r, claim, r.Holder.Token, protocol.Change{}, nil, c.stamp())
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context) (protocol.Record, error) { return c.amend(ctx, k, r, next) }, nil
	case place < len(r.Waiters):
		return func(ctx context.Context) (protocol.Record, error) { return c.store.Dequeue(ctx, r, place) }, nil
	default:
		return nil, nil //nolint:nilnil // There is nothing to write, and nothing wrong.
	}
}
