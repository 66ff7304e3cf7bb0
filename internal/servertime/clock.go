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

// Package servertime bounds the API server's time, so that no client needs to trust a node's
// clock.
//
// There are two sources. The API server stamps the time into the object of each write,
// where no proxy changes it: that is *told*. Its responses have a Date header: that is a
// *hint*, for a proxy may write one of its own, and so may a load balancer that answers
// instead. What a wrong hint can do is bounded:
//
//   - Expiry is judged by what the server told, and never by a hint. Where a hint says that a hold
//     may have expired, its judge asks the server for its time first: see Asker.
//   - A write may be stamped by a hint, where the server told nothing lately. The answer to it
//     tells the time; if the stamp was too early, Covers says so, and the holder writes again
//     before it relies on the hold.
//   - A holder that counts a lease from the stamp of another client (that of a grant) compares
//     it with what the server told this one.
//
// So a wrong Date costs requests and delays, and never lets two hold a lock.
package servertime

import (
	"sync"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// resolution is that of the server's stamps and of the Date header, which are cut to whole
// seconds.
const resolution = time.Second

// drift is how much faster or slower than a server's clock the local monotonic
// clock may run. Old bounds widen by it. 500 ppm is the most by which NTP slews a
// clock; the two clocks may be slewed in opposite directions.
const drift = 1.0 / 1000

const (
	// fresh is how old bounds may be that a write is stamped by: each has widened by half a
	// second then.
	fresh = 500 * time.Second
	// recent is for how long expiry is judged by what the server told.
	recent = time.Minute
	// settled is for how long nothing is judged after two servers, or one before and after
	// its clock was set, have told times that are too far apart.
	settled = time.Minute
)

// Clock knows intervals that the API server's time lies in. The zero Clock
// knows nothing. It is safe for concurrent use.
//
// A time d that came with the answer to a request, sent at s and received at r, was the
// server's at some time between. So the server's time now is at least d + (now - r) and
// less than d + 1 s + (now - s). Each answer narrows the interval. Where there are
// several API servers, the bounds hold for at least one of them: a client that compares
// times of two observers allows for the skew between servers.
type Clock struct {
	mu    sync.Mutex // protects the fields below
	told  interval   // by the server's own stamps
	hints interval   // by Date headers
	// toldAt is when the last stamp was received. doubted is set while a Date header has
	// contradicted what the server told before it.
	toldAt  time.Time
	doubted bool
	// untold is set while writes are answered without a stamp.
	untold bool
	// jump is by how much the last stamp was off what the server had told before that
	// contradicts it, and jumpedAt when that was.
	jump     time.Duration
	jumpedAt time.Time
}

// interval says that the server's time was at least lower at lowerAt, and less than upper
// at upperAt. The zero interval says nothing.
type interval struct {
	lower, lowerAt time.Time
	upper, upperAt time.Time
}

// Told takes in what the server has stamped into the object of a write: the write was
// sent at sent, or later, and its answer was received at received, or earlier, by the
// local monotonic clock.
func (c *Clock) Told(stamp, sent, received time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := interval{stamp, received, stamp.Add(resolution), sent}
	if gap := c.told.gap(next, received); gap > 0 {
		if received.Sub(c.jumpedAt) < settled {
			gap = max(gap, c.jump)
		}
		c.jump, c.jumpedAt = gap, received
	}
	c.told = c.told.and(next, received)
	c.toldAt, c.doubted, c.untold = received, false, false
}

// Untold takes in that a write was answered without the server's stamp.
func (c *Clock) Untold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.untold = c.told.unknown()
}

// Observe takes a response's Date header in, as Told does a stamp.
func (c *Clock) Observe(date, sent, received time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := interval{date, received, date.Add(resolution), sent}
	c.hints = c.hints.and(next, received)
	if c.told.gap(next, received) > 0 {
		c.doubted = true
	}
}

// Bounds returns an interval in which the server's time probably lies at now: hints
// count where they do not contradict what the server told. ok is false if there is nothing to go
// by. No decision that others must be safe from rests on it.
func (c *Clock) Bounds(now time.Time) (lower, upper time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	best := c.bestLocked(now)
	if best.unknown() {
		return time.Time{}, time.Time{}, false
	}
	lower, upper = best.at(now)
	return lower, upper, true
}

// ToldBounds is as Bounds, by what the server itself has told.
func (c *Clock) ToldBounds(now time.Time) (lower, upper time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told.unknown() {
		return time.Time{}, time.Time{}, false
	}
	lower, upper = c.told.at(now)
	return lower, upper, true
}

// HintContradicts reports by how much the Date headers lately seen contradict what the
// server has told; 0 if they do not.
func (c *Clock) HintContradicts(now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.gap(c.hints, now)
}

// Hinted reports whether any response of an API server had a Date header.
func (c *Clock) Hinted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.hints.unknown()
}

// Fresh reports whether a write can be stamped at now by bounds that are not old. Where
// it cannot, a read is worth its cost. Without any bounds that is not so.
func (c *Clock) Fresh(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.told.unknown() && c.hints.unknown() || c.told.fresh(now) || c.hints.fresh(now)
}

// Stamp is the time that a write carries which is made at now: no earlier than the
// server's, rounded up to what an object stores. Where the server's time is unknown
// it is the local one, and says so. A stamp by hints alone is a second later than they say:
// so much later may be what the server tells then, see Covers.
//
// A caller that counts a deadline from the write must take the time before calling it.
func (c *Clock) Stamp(now time.Time) protocol.Stamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	source, at := protocol.Server, now
	switch {
	case c.told.fresh(now):
		_, at = c.told.at(now)
	case c.hints.fresh(now) && !c.untold && c.told.gap(c.hints, now) == 0:
		_, at = c.hints.at(now)
		at = at.Add(resolution)
	default:
		source = protocol.Node
	}
	at = at.Round(0).Add(time.Microsecond - 1).Truncate(time.Microsecond)
	return protocol.Stamp{Time: at, Source: source}
}

// Covers reports whether a hold of that stamp, of a write that was sent at sent, lasts for
// others for as long as for its holder, which counts from sent. It does not if the stamp was
// by a wrong hint, or if the local monotonic clock has stood still, as that of a suspended
// machine may. Where the server tells nothing, it cannot be known.
func (c *Clock) Covers(stamp protocol.Stamp, sent time.Time) bool {
	if stamp.Source != protocol.Server {
		return true // Others judge by what they see.
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told.unknown() {
		return false
	}
	_, upper := c.told.at(sent)
	return !upper.After(stamp.Time.Add(time.Microsecond))
}

// Judge is what expiry is judged by at now. maxClockSkew is how far the clocks of
// two API servers may be apart. Without a recent word of the server it has no server's time.
func (c *Clock) Judge(now time.Time, maxClockSkew time.Duration) protocol.Judge {
	c.mu.Lock()
	defer c.mu.Unlock()
	j := protocol.Judge{Now: now, MaxClockSkew: maxClockSkew}
	disputed := c.jump > maxClockSkew && now.Sub(c.jumpedAt) < settled
	if !c.told.unknown() && !c.doubted && !disputed && now.Sub(c.toldAt) < recent {
		j.ServerTime, _ = c.told.at(now)
	}
	return j
}

// Guess is as Judge, but by hints: by it no hold is ended. It tells when it is worth
// asking the server.
func (c *Clock) Guess(now time.Time, maxClockSkew time.Duration) protocol.Judge {
	lower, _, _ := c.Bounds(now) // The zero time where it is unknown.
	return protocol.Judge{Now: now, ServerTime: lower, MaxClockSkew: maxClockSkew}
}

// bestLocked needs c.mu.
func (c *Clock) bestLocked(now time.Time) interval {
	switch {
	case c.told.unknown():
		return c.hints
	case c.hints.unknown(), c.told.gap(c.hints, now) > 0:
		return c.told
	}
	return c.told.and(c.hints, now)
}

func (i interval) unknown() bool { return i.lower.IsZero() }

func (i interval) fresh(now time.Time) bool { return !i.unknown() && now.Sub(i.upperAt) < fresh }

// at is the interval as it is at now, which may be before its server told it.
func (i interval) at(now time.Time) (lower, upper time.Time) {
	return i.lower.Add(slower(now.Sub(i.lowerAt))), i.upper.Add(faster(now.Sub(i.upperAt)))
}

// gap is how far two intervals are apart at now; 0 if they have something in common, or
// if one of them says nothing.
func (i interval) gap(other interval, now time.Time) time.Duration {
	if i.unknown() || other.unknown() {
		return 0
	}
	lower, upper := i.at(now)
	otherLower, otherUpper := other.at(now)
	return max(otherLower.Sub(upper), lower.Sub(otherUpper), 0)
}

// and is what both intervals say. If they have nothing in common it is the newer one, next:
// a clock was set, or another API server answered.
func (i interval) and(next interval, now time.Time) interval {
	if i.unknown() || i.gap(next, now) > 0 {
		return next
	}
	lower, upper := i.at(now)
	nextLower, nextUpper := next.at(now)
	if nextLower.After(lower) {
		i.lower, i.lowerAt = next.lower, next.lowerAt
	}
	if nextUpper.Before(upper) {
		i.upper, i.upperAt = next.upper, next.upperAt
	}
	return i
}

// slower and faster are how much time has passed by the server's clock at least, and at
// most, while d has by the local one.
func slower(d time.Duration) time.Duration { return widened(d, -drift) }
func faster(d time.Duration) time.Duration { return widened(d, +drift) }

func widened(d time.Duration, by float64) time.Duration {
	return d + time.Duration(float64(d.Abs())*by)
}
