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

// Package servertime bounds the API server's time by the Date headers of its
// responses, so that nobody needs to trust a node's clock.
package servertime

import (
	"sync"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// resolution is that of the Date header, which is cut to whole seconds.
const resolution = time.Second

// drift is how much faster or slower than a server's clock the local monotonic
// clock may run. Old bounds widen by it. 500 ppm is the most by which NTP slews a
// clock; the two clocks may be slewed in opposite directions.
const drift = 1.0 / 1000

// Clock knows an interval that the API server's time lies in. The zero Clock
// knows nothing. It is safe for concurrent use.
//
// A response sent for at s and received at r with the date d was written at some
// time between, when the server's clock showed d to d + 1 s. So the server's time
// now is at least d + (now - r) and less than d + 1 s + (now - s). Each response
// narrows the interval. Where there are several API servers, the bounds hold for
// at least one of them: whoever compares times of two observers allows for the
// skew between servers.
type Clock struct {
	mu sync.Mutex // protects the fields below
	// The server's time was at least lower at lowerAt, and less than upper at upperAt.
	lower, lowerAt time.Time
	upper, upperAt time.Time
}

// Observe takes a response's Date header in: the request was sent at sent, or
// later, and the response was received at received, or earlier, by the local
// monotonic clock.
func (c *Clock) Observe(date, sent, received time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()

	upper := date.Add(resolution)
	if c.lower.IsZero() {
		c.lower, c.lowerAt, c.upper, c.upperAt = date, received, upper, sent
		return
	}
	oldLower, oldUpper := c.boundsLocked(received)
	newUpper := upper.Add(widened(received.Sub(sent), 1+drift))
	if date.After(oldUpper) || newUpper.Before(oldLower) {
		// The intervals have nothing in common: a clock was set, or another API server
		// answered. The newer response is the better witness.
		c.lower, c.lowerAt, c.upper, c.upperAt = date, received, upper, sent
		return
	}
	if date.After(oldLower) {
		c.lower, c.lowerAt = date, received
	}
	if newUpper.Before(oldUpper) {
		c.upper, c.upperAt = upper, sent
	}
}

// Bounds returns an interval in which the server's time lies at now. ok is false
// as long as no response has told it.
func (c *Clock) Bounds(now time.Time) (lower, upper time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lower.IsZero() {
		return time.Time{}, time.Time{}, false
	}
	lower, upper = c.boundsLocked(now)
	return lower, upper, true
}

// Stamp is the time that a write carries which is made at now: no earlier than the
// server's, rounded up to what an object stores. Where the server's time is unknown
// it is the local one, and says so.
//
// Whoever counts a deadline from the write must take the time before calling it.
func (c *Clock) Stamp(now time.Time) protocol.Stamp {
	source := protocol.Server
	_, at, ok := c.Bounds(now)
	if !ok {
		source, at = protocol.Node, now
	}
	at = at.Round(0).Add(time.Microsecond - 1).Truncate(time.Microsecond)
	return protocol.Stamp{Time: at, Source: source}
}

// Judge is what expiry is judged by at now. maxClockSkew is how far the clocks of
// two API servers may be apart.
func (c *Clock) Judge(now time.Time, maxClockSkew time.Duration) protocol.Judge {
	lower, _, _ := c.Bounds(now) // The zero time where it is unknown.
	return protocol.Judge{Now: now, ServerTime: lower, MaxClockSkew: maxClockSkew}
}

// boundsLocked needs c.mu.
func (c *Clock) boundsLocked(now time.Time) (lower, upper time.Time) {
	lower = c.lower.Add(widened(now.Sub(c.lowerAt), 1-drift))
	upper = c.upper.Add(widened(now.Sub(c.upperAt), 1+drift))
	return lower, upper
}

func widened(d time.Duration, factor float64) time.Duration {
	return time.Duration(float64(d) * factor)
}
