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
	"math"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubelock/kubelock/internal/protocol"
)

// How a contest waits in the queue: for what the watch shows, and for how long it relies
// on that.

// lookout is for how long somebody is the first in the queue before it watches the lock
// itself: for less than a holder with a usual lease takes to renew it, and for much longer
// than a busy lock takes to be handed on.
const lookout = time.Second

const never = time.Duration(math.MaxInt64)

// stay waits at that place of the queue, for a lock that nobody can take before remaining
// is over.
func (a *contest) stay(ctx context.Context, place int, remaining time.Duration) error {
	most := min(remaining, a.patience(), a.refresh(place))
	if look := a.lookoutIn(place); look < most {
		return a.await(ctx, look, false)
	}
	return a.await(ctx, most, true)
}

// lookoutIn is how long the caller relies on the watch of what this client holds, if it is
// the first in the queue. That does not show that the holder renews its lease, and who looks
// only now and then has no start to count the lease of a holder from that has died since.
func (a *contest) lookoutIn(place int) time.Duration {
	now := a.client.now()
	switch {
	case place > 0 || a.record.Holder == nil:
		a.firstSince = time.Time{}
	case a.firstSince.IsZero():
		a.firstSince = now
		return lookout
	case now.Sub(a.firstSince) < lookout:
		return lookout - now.Sub(a.firstSince)
	}
	return never
}

// refresh is how long the claim may wait before it looks how the lock stands, so that
// what it is given can be used at once.
func (a *contest) refresh(place int) time.Duration {
	now := a.client.now()
	a.pace.see(a.record, now)
	if a.claim.Duration < protocol.Grace { // Those who wait for short holds would read all the time.
		return a.patience()
	}
	const margin = protocol.Grace / 20 // From the hold's begin to its use.
	return a.pace.rereadIn(place, a.bound(), protocol.Grace/2-margin, a.patience(), now)
}

// patience is how long a waiter relies on being told: about one lease, and no longer than a
// minute. The watch shows it what it is given, but not that the lock was deleted or freed by
// hand, nor what came and went while the watch could not be read.
func (a *contest) patience() time.Duration {
	lease := protocol.Grace
	if h := a.record.Holder; h != nil {
		lease = max(h.Duration, time.Second)
	}
	if lease <= minute {
		return lease
	}
	now := a.client.now()
	if a.firstLook.IsZero() { // Those who come at once shall not look at once.
		a.firstLook = now.Add(minute - wait.Jitter(minute/4, 1))
	}
	next := a.taken.Add(minute)
	if now.Before(a.firstLook) && a.firstLook.Before(next) {
		next = a.firstLook
	}
	return max(next.Sub(now), 0)
}

// await waits until the lock is given to this client, or d is over and, if so asked, a read
// has shown how it stands. It returns errAgain, or an error that ends the contest.
func (a *contest) await(ctx context.Context, d time.Duration, read bool) error {
	if err := a.listen(); err != nil {
		return a.failed(ctx, err)
	}
	versions, reread, err := a.next(ctx, d)
	if err != nil {
		return a.failed(ctx, err)
	}
	for _, r := range versions {
		a.see(r)
	}
	if (len(versions) > 0 || !read) && !reread {
		return errAgain
	}
	if err := a.read(ctx); err != nil {
		return err
	}
	return errAgain
}

// listen makes the client's watch show what the claim is given. A holder that is no
// kubelock client gives it nothing: then it is the lock that is watched, and so it is by
// whoever has been the first in the queue for a while.
func (a *contest) listen() error {
	foreign := a.record.Holder != nil && a.record.Holder.Foreign()
	first := !a.firstSince.IsZero() && a.client.now().Sub(a.firstSince) >= lookout
	if watch := foreign || first; a.watchesLock != watch {
		a.stop()
		a.watchesLock = watch
	}
	if a.watchesLock {
		return a.follow(a.client.watches.subscribe)
	}
	return a.follow(a.client.watches.own)
}
