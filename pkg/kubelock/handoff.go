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

	"github.com/kubelock/kubelock/internal/protocol"
)

// handOffs are the locks that a client has handed on and still looks after. Whoever is
// given a lock may be dead, and those who wait behind do not see that it was given: no
// watch of theirs shows it. The client that has handed it on knows when that was. If the
// lock is as it left it when the grace is over, it goes to the next.
type handOffs struct {
	mu     sync.Mutex // protects the fields below
	last   map[string]*handOff
	closed bool
}

// handOff is the last time that the client handed on a lock.
type handOff struct {
	left  protocol.Record      // of that only what tells versions apart
	seen  protocol.Observation // of the hold that it began
	timer *time.Timer
}

func newHandOffs() *handOffs { return &handOffs{last: map[string]*handOff{}} }

// amend writes a change of the lock as it was seen from, and looks after whom that has
// handed it on to.
func (c *Client) amend(ctx context.Context, k key, from, next protocol.Record) (protocol.Record, error) {
	r, err := c.store.Amend(ctx, from, next)
	if err == nil {
		c.lookAfter(k, r)
	}
	return r, err
}

// lookAfter has the client look at the lock again when the hold ends that it has begun for
// somebody else. r is what the hand-off left. Of a hold that is looked after already, or of a
// version older than that, there is nothing more to see.
func (c *Client) lookAfter(k key, r protocol.Record) {
	h := r.Holder
	if h == nil || h.Client == c.id {
		return
	}
	o := &handOff{
		left: protocol.Record{Name: r.Name, UID: r.UID, ResourceVersion: r.ResourceVersion},
		seen: protocol.Observation{}.Observe(r, c.now()),
	}
	c.handOffs.mu.Lock()
	defer c.handOffs.mu.Unlock()
	last := c.handOffs.last[k.name]
	if c.handOffs.closed || last != nil && (!protocol.Newer(r, last.left) || last.seen.Observe(r, c.now()) == last.seen) {
		return
	}
	c.handOffs.stopLocked(k.name)
	o.timer = time.AfterFunc(h.Duration, func() {
		if c.handOffs.take(k.name, o) {
			c.start(func() { c.endUnused(k, o.seen) })
		}
	})
	c.handOffs.last[k.name] = o
}

// foundHandedOn looks after the lock if it is as the hold of that lock ID has left it to
// another: the answer of the write that did so may have been lost.
func (c *Client) foundHandedOn(k key, lockID string, r protocol.Record) {
	if last := r.LastRelease; last != nil && last.LockID == lockID && last.Reason == protocol.HandedOff {
		c.lookAfter(k, r)
	}
}

// endUnused hands the lock on if the hold is still there that was seen, unchanged for its own
// duration. Any other is not for this client to end, and may be its own by now. What fails
// is not tried again: who waits has the safety re-read.
func (c *Client) endUnused(k key, seen protocol.Observation) {
	ctx, cancel := context.WithTimeout(c.ctx, requestTimeout)
	defer cancel()
	r, err := c.read(ctx, k, requestTimeout)
	if err != nil {
		c.log.V(1).Info("Could not see what became of a lock that was handed on", "key", k.name, "err", err)
		return
	}
	expired, _ := c.judge().Expired(r, seen)
	if !expired || seen.Observe(r, c.now()) != seen {
		return
	}
	next, err := protocol.Expire(r, nil, c.stamp())
	if err != nil {
		c.log.Error(err, "Could not hand on a lock whose holder does not use it", "key", k.name)
		return
	}
	ans := c.write(requestTimeout, func(ctx context.Context) (protocol.Record, error) { return c.amend(ctx, k, r, next) })
	if ans.err != nil {
		c.log.V(1).Info("Could not hand on a lock whose holder does not use it", "key", k.name, "err", ans.err)
	}
}

// moved takes in a version of the lock that the client sees anyway: if it shows that the
// hold is another, or was renewed, there is no need to look.
func (o *handOffs) moved(k key, r protocol.Record, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if last := o.last[k.name]; last != nil && protocol.Newer(r, last.left) && last.seen.Observe(r, now) != last.seen {
		o.stopLocked(k.name)
	}
}

// take reports whether last is still to be looked after, and ends that.
func (o *handOffs) take(name string, last *handOff) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last[name] != last {
		return false
	}
	delete(o.last, name)
	return true
}

// stopLocked needs o.mu.
func (o *handOffs) stopLocked(name string) {
	if last := o.last[name]; last != nil {
		last.timer.Stop()
		delete(o.last, name)
	}
}

// close looks after nothing any more.
func (o *handOffs) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	for name := range o.last {
		o.stopLocked(name)
	}
}
