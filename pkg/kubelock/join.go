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
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// How a client joins a queue that many others may join at the same time.
//
// An entry that is appended whatever has become of the lock is sure to get in. But for
// every write that comes first the API server does its work again: of a hundred clients
// that join at once each causes the work of all that come before it, and the holder's
// hand-off waits among them, for seconds. So at first a client takes the lock or joins only in the version
// that it has seen, which the API server refuses soon: the later, the more do the same. A
// client that was refused waits for a random time, in proportion to that, and looks again
// before it joins whatever version there is, also if the lock is free just then: those who
// go around would be faster again. Where it takes long to look and others have
// joined meanwhile there is a crowd: it tries again to join the version that it has seen, and
// then gives way for longer. So the work that a crowd causes does not grow faster
// than the crowd.

const (
	// crowded is how long a read takes at least where there is a crowd. Where one takes
	// less, a few clients go around, whose writes are quick.
	crowded = 25 * time.Millisecond
	// crowd is how many others join meanwhile where there is one. Where nobody does it is the
	// line that is slow, and the holder that refuses.
	crowd = 2
	// maxLooks is how often a client gives way before it joins any version, crowd or not.
	maxLooks = 5
	// spreadPerAnswer is over how many times that of an answer a client waits; or over twice
	// the time before, if that is longer.
	spreadPerAnswer = 8
	maxSpread       = 8 * time.Second
	// freeSpread is over how long at most a client waits that has seen the lock free, and
	// nobody who queues for it: those who have been faster may be gone.
	freeSpread = 100 * time.Millisecond
	// spreadPerWaiter is by how much the entries of clients are spread that come back to a
	// queue, for each that is in it; less than a lock takes to be handed on.
	spreadPerWaiter = 2 * time.Millisecond
)

// joining is how a caller gets into the queue.
type joining struct {
	refused bool          // the last attempt was, because others were faster
	took    time.Duration // to refuse it
	looks   int           // how often it has given way
	moved   bool          // somebody has had the lock meanwhile, or since the attempt was built
	looked  time.Duration // how long the last read took
	others  int           // how many have joined between the last two
	spread  time.Duration
}

// late notes that a write was refused, and how long that took.
func (j *joining) late(took time.Duration) { j.refused, j.took = true, took }

// look notes a read that took so long, and who has come meanwhile.
func (j *joining) look(took time.Duration, before, after protocol.Record) {
	j.moved = after.UID != before.UID || after.Transitions != before.Transitions
	if j.looks > 0 {
		j.looked, j.others = took, after.Newcomers(before)
	}
}

// outrun reports whether the caller should queue for a lock that is available: others have
// taken and released it when this one would take it, or while it gave way, and would be
// faster again.
func (a *contest) outrun(place int) bool {
	raced := a.joining.moved && (a.joining.refused || a.joining.looks > 0)
	return raced && !a.try && a.record.Exists() && place == len(a.record.Waiters) && place < protocol.MaxWaiters
}

// giveWay returns for how long at most the caller lets others go first.
func (j *joining) giveWay() time.Duration {
	j.refused = false
	j.looks++
	j.spread = min(max(2*j.spread, spreadPerAnswer*max(j.took, j.looked)), maxSpread)
	return j.spread
}

// exact reports whether the next attempt shall be of the version that is known, and no other.
func (j *joining) exact() bool {
	inCrowd := j.looked >= crowded && j.others >= crowd
	return j.looks == 0 || inCrowd && j.looks < maxLooks
}

// enqueue puts the claim at the end of the queue.
func (a *contest) enqueue(ctx context.Context) error {
	switch {
	case a.recalled: // It does not even know the version. As a holder that comes back it is one at a time.
		if err := a.spread(ctx, time.Duration(len(a.record.Waiters))*spreadPerWaiter); err != nil {
			return err
		}
	case a.joining.refused:
		most := a.joining.giveWay()
		if a.record.Holder == nil && len(a.record.Waiters) == 0 {
			most = min(most, freeSpread)
		}
		if err := a.spread(ctx, most); err != nil {
			return err
		}
		if err := a.read(ctx); err != nil {
			return err
		}
		return errAgain
	}
	if err := a.listen(); err != nil {
		return a.failed(ctx, err)
	}
	if sent := a.client.now(); a.first.IsZero() {
		a.first = sent
	}
	target, entry, exact := a.record, a.claim.Waiter().String(), !a.recalled && a.joining.exact()
	err := a.send(ctx, "patch", false, func(ctx context.Context) (protocol.Record, error) {
		r, err := a.client.store.Enqueue(ctx, target, entry, exact)
		if err == nil {
			a.client.metrics.queue.Observe(float64(len(r.Waiters) - 1))
		}
		return r, err
	})
	if !store.QueueFull(err) {
		return err
	}
	if a.tries.Pause(ctx) != nil {
		return a.failed(ctx, nil)
	}
	if err := a.read(ctx); err != nil {
		return err
	}
	return errAgain
}

// spread waits for a random time, at most so long.
func (a *contest) spread(ctx context.Context, most time.Duration) error {
	if most == 0 {
		return nil
	}
	timer := time.NewTimer(wait.Jitter(most, 1) - most)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return a.failed(ctx, nil)
	}
}
