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

	"github.com/kubelock/kubelock/internal/protocol"
)

// What a client does with the API server's time. Which sources of it count for what is
// the matter of internal/servertime.

// told takes in the time that the server has stamped into the answer to a write, which was
// sent at sent.
func (c *Client) told(r protocol.Record, err error, sent time.Time) {
	switch {
	case err != nil || !r.Exists():
	case r.Stamped.IsZero():
		c.server.Untold()
	default:
		c.server.Told(r.Stamped, sent, c.now())
	}
}

// covers reports whether the hold h lasts for others, too, until its holder gives it up,
// which counts its lease from from. Of the holder's own writes, which own says that this is
// of, that is when it was sent. Of what was given to the holder, from is as early as it has
// to be by the stamp already.
func (c *Client) covers(h *protocol.Holder, from time.Time, own bool) bool {
	stamp := protocol.Stamp{Time: h.RenewTime, Source: h.Source}
	if own || h.Source != protocol.Server {
		return c.server.Covers(stamp, from)
	}
	lower, _, ok := c.server.ToldBounds(c.now())
	return ok && !lower.Add(from.Sub(c.now())).After(h.RenewTime)
}

// judge is what expiry is judged by now.
func (c *Client) judge() protocol.Judge { return c.server.Judge(c.now(), c.maxClockSkew) }

// available reports whether the lock is there for the taking by a client that has that place in
// the queue, and if not, when to look again. If that is so by a hint of the server's time
// only, it asks the server.
func (c *Client) available(ctx context.Context, r protocol.Record, seen protocol.Observation, place int) (available bool, wait time.Duration) {
	judge := c.judge()
	if available, wait = judge.Available(r, seen, place); available {
		return true, 0
	}
	may, soon := c.server.Guess(c.now(), c.maxClockSkew).Available(r, seen, place)
	switch {
	case !may:
		return false, min(wait, soon)
	case judge.Compares(protocol.Server): // It has told its time just now, and that is not enough yet.
		return false, wait
	}
	if err := c.asker.Ask(ctx); err != nil {
		c.log.V(1).Info("Could not ask the API server for its time, will go by what is seen of a lock", "lock", r.Name, "err", err)
		return false, wait
	}
	return c.judge().Available(r, seen, place)
}

// stampable reports whether a write of now can carry the server's time. After a long idle
// time it cannot: others would wait for a dead holder until a time that may be minutes off.
func (c *Client) stampable() bool { return c.server.Fresh(c.now()) }

// readToStamp reads the lock if that is needed to stamp the next write. ok is false if it
// was not, or if no answer came within timeout, of which the write does not depend.
func (c *Client) readToStamp(ctx context.Context, k key, timeout time.Duration) (r protocol.Record, ok bool) {
	if c.stampable() || timeout <= 0 {
		return protocol.Record{}, false
	}
	r, err := c.read(ctx, k, timeout)
	return r, err == nil
}
