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

// Package servertime bounds the API server's time, so that no client needs to trust a node's clock.
//
// There are two sources. The API server stamps the time into the object of each write, where no proxy
// changes it. Such a time is *told*. The server's responses have a Date header. Such a time is only a *hint*:
// a proxy may replace the header, and a load balancer that answers instead of the server writes its own. A
// wrong hint can do little harm:
//
//   - Clients and the reaper judge expiry by told times, and never by a hint. If a hint says that a hold may
//     have expired, they first ask the server for its time: see Asker.
//   - A client may stamp a write by a hint if no told time is recent. The answer to that write has a told
//     time. If the stamp was too early, Covers returns false, and the holder writes again before it relies
//     on the hold.
//   - A holder that counts its lease from the stamp of another client, as after a grant, compares that stamp
//     with its own told times.
//
// So a wrong Date costs requests and delays, but never leads to two holders.
package servertime

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// resolution is the resolution of the server's stamps and of the Date header. Both are cut to whole seconds.
const resolution = time.Second

// drift is how much faster or slower than a server's clock the local monotonic clock may run. Old bounds
// widen at that rate. NTP slews a clock by 500 ppm at most, and may slew the two clocks in opposite
// directions.
const drift = 1.0 / 1000

const (
	// fresh is the largest age of bounds by which a write is stamped. Each bound has widened by half a second
	// then.
	fresh = 500 * time.Second
	// recent is the largest age of a told time by which expiry is judged.
	recent = time.Minute
	// settled is how long expiry is not judged by told times after two of them were too far apart: those of
	// two servers, or of one server before and after its clock was set.
	settled = time.Minute
)

// Clock has intervals in which the API server's time lies. The zero Clock has none. It is safe for concurrent
// use.
//
// Let d be the time in an answer to a request that was sent at s and answered at r. The server's clock showed
// d between s and r. So the server's time now is at least d + (now - r) and less than d + 1 s + (now - s).
// Each answer narrows the interval. With several API servers, the bounds hold for at least one of them. So a
// client that compares times of two observers allows for the skew between servers.
type Clock struct {
	mu      sync.Mutex // serializes updates of current
	current atomic.Pointer[Reading]
}

// Reading is the state of a Clock at one moment. It does not change. The zero Reading has no interval.
type Reading struct {
	told  interval // from the server's stamps
	hints interval // from Date headers
	// toldAt is when the last stamp was received. contradicted is set if a later Date header contradicts the
	// told interval.
	toldAt       time.Time
	contradicted bool
	// untold is set if no stamp was ever received, and a write was answered without one.
	untold bool
	// jump is the gap between the last stamp that contradicted the told interval and that interval. jumpedAt
	// is when that stamp was received.
	jump     time.Duration
	jumpedAt time.Time
}

// Reading returns the current state of the clock.
func (c *Clock) Reading() *Reading {
	if r := c.current.Load(); r != nil {
		return r
	}
	return &Reading{}
}

// change replaces the state of the clock by a copy that f has changed.
func (c *Clock) change(f func(r *Reading)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := *c.Reading()
	f(&next)
	c.current.Store(&next)
}

// interval says that the server's time was at least lower at lowerAt, and less than upper at upperAt. The
// zero interval is unknown.
type interval struct {
	lower, lowerAt time.Time
	upper, upperAt time.Time
}

// Told adds the time that the server has stamped into the object of a write. By the local monotonic clock,
// the write was sent at sent or later, and its answer was received at received or earlier.
func (c *Clock) Told(stamp, sent, received time.Time) {
	c.change(func(r *Reading) { r.add(stamp, sent, received) })
}

func (r *Reading) add(stamp, sent, received time.Time) {
	next := interval{stamp, received, stamp.Add(resolution), sent}
	if gap := r.told.gap(next, received); gap > 0 {
		if received.Sub(r.jumpedAt) < settled {
			gap = max(gap, r.jump)
		}
		r.jump, r.jumpedAt = gap, received
	}
	r.told = r.told.and(next, received)
	r.toldAt, r.contradicted, r.untold = received, false, false
}

// Untold records that a write was answered without the server's stamp.
func (c *Clock) Untold() {
	c.change(func(r *Reading) { r.untold = r.told.unknown() })
}

// Observe adds the time in a response's Date header, with sent and received as in Told.
func (c *Clock) Observe(date, sent, received time.Time) {
	c.change(func(r *Reading) { r.observe(date, sent, received) })
}

func (r *Reading) observe(date, sent, received time.Time) {
	next := interval{date, received, date.Add(resolution), sent}
	r.hints = r.hints.and(next, received)
	if r.told.gap(next, received) > 0 {
		r.contradicted = true
	}
}

// Bounds returns an interval in which the server's time probably lies at now. It uses hints if they do not
// contradict told times. ok is false if the clock has no interval. No decision that affects other clients'
// safety may depend on it.
func (r *Reading) Bounds(now time.Time) (lower, upper time.Time, ok bool) {
	best := r.best(now)
	if best.unknown() {
		return time.Time{}, time.Time{}, false
	}
	lower, upper = best.at(now)
	return lower, upper, true
}

// ToldBounds is as Bounds, but uses told times only.
func (r *Reading) ToldBounds(now time.Time) (lower, upper time.Time, ok bool) {
	if r.told.unknown() {
		return time.Time{}, time.Time{}, false
	}
	lower, upper = r.told.at(now)
	return lower, upper, true
}

// HintContradicts returns by how much the latest Date headers contradict told times, or 0 if they do not.
func (r *Reading) HintContradicts(now time.Time) time.Duration {
	return r.told.gap(r.hints, now)
}

// Hinted reports whether any response of an API server had a Date header.
func (r *Reading) Hinted() bool {
	return !r.hints.unknown()
}

// Fresh reports whether a write can be stamped at now by recent bounds. If not, a read before the write is
// worth its cost. Without any bounds Fresh returns true: a read need not give any.
func (r *Reading) Fresh(now time.Time) bool {
	return r.told.unknown() && r.hints.unknown() || r.told.fresh(now) || r.hints.fresh(now)
}

// Stamp returns the stamp for a write that is made at now. It is no earlier than the server's time, and
// rounded up to the resolution of objects. If the server's time is unknown, it is the local time, and its
// Source says so. If it depends on hints alone, a second is added, for the told time of the answer may be a
// second later than they are: see Covers.
//
// A caller that counts a deadline from the write must read the time before it calls Stamp.
func (r *Reading) Stamp(now time.Time) protocol.Stamp {
	source, at := protocol.Server, now
	switch {
	case r.told.fresh(now):
		_, at = r.told.at(now)
	case r.hints.fresh(now) && !r.untold && r.told.gap(r.hints, now) == 0:
		_, at = r.hints.at(now)
		at = at.Add(resolution)
	default:
		source = protocol.Node
	}
	at = at.Round(0).Add(time.Microsecond - 1).Truncate(time.Microsecond)
	return protocol.Stamp{Time: at, Source: source}
}

// Covers reports whether other clients respect a hold for as long as its holder relies on it. They count from
// the stamp, and the holder counts from sent, when its write was sent. Covers returns false in these cases:
//
//   - The stamp came from a wrong hint.
//   - The local monotonic clock has stood still, as it may on a suspended machine.
//   - The server stamps nothing, so that the answer is unknown.
func (r *Reading) Covers(stamp protocol.Stamp, sent time.Time) bool {
	if stamp.Source != protocol.Server {
		return true // Other clients judge such a hold by observation.
	}
	if r.told.unknown() {
		return false
	}
	_, upper := r.told.at(sent)
	return !upper.After(stamp.Time.Add(time.Microsecond))
}

// Judge returns the judge of expiry at now. maxClockSkew is how far the clocks of two API servers may be
// apart. The judge has a server's time only if a told time is recent.
func (r *Reading) Judge(now time.Time, maxClockSkew time.Duration) protocol.Judge {
	j := protocol.Judge{Now: now, MaxClockSkew: maxClockSkew}
	disputed := r.jump > maxClockSkew && now.Sub(r.jumpedAt) < settled
	if !r.told.unknown() && !r.contradicted && !disputed && now.Sub(r.toldAt) < recent {
		j.ServerTime, _ = r.told.at(now)
	}
	return j
}

// Guess returns a judge that uses hints, too. No client and no reaper may end a hold by it. It only shows
// when asking the server for its time is worth a request.
func (r *Reading) Guess(now time.Time, maxClockSkew time.Duration) protocol.Judge {
	lower, _, _ := r.Bounds(now) // The zero time if it is unknown.
	return protocol.Judge{Now: now, ServerTime: lower, MaxClockSkew: maxClockSkew}
}

// best returns the intersection of told times and hints, or the told times if hints contradict them.
func (r *Reading) best(now time.Time) interval {
	switch {
	case r.told.unknown():
		return r.hints
	case r.hints.unknown(), r.told.gap(r.hints, now) > 0:
		return r.told
	}
	return r.told.and(r.hints, now)
}

func (i interval) unknown() bool { return i.lower.IsZero() }

func (i interval) fresh(now time.Time) bool { return !i.unknown() && now.Sub(i.upperAt) < fresh }

// at returns the bounds at now. now may be before the times at which the bounds were received.
func (i interval) at(now time.Time) (lower, upper time.Time) {
	return i.lower.Add(slower(now.Sub(i.lowerAt))), i.upper.Add(faster(now.Sub(i.upperAt)))
}

// gap returns how far two intervals are apart at now. It is 0 if they overlap, or if one of them is unknown.
func (i interval) gap(other interval, now time.Time) time.Duration {
	if i.unknown() || other.unknown() {
		return 0
	}
	lower, upper := i.at(now)
	otherLower, otherUpper := other.at(now)
	return max(otherLower.Sub(upper), lower.Sub(otherUpper), 0)
}

// and returns the intersection of two intervals. If they do not overlap, it returns the newer one, next: a
// clock was set, or another API server has answered.
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

// slower and faster return how much time has passed by the server's clock at least, and at most, while d has
// passed by the local clock.
func slower(d time.Duration) time.Duration { return widened(d, -drift) }
func faster(d time.Duration) time.Duration { return widened(d, +drift) }

func widened(d time.Duration, by float64) time.Duration {
	return d + time.Duration(float64(d.Abs())*by)
}
