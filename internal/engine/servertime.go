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

package engine

import (
	"context"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// What a client does with the API server's time, beside what its sessions do. Which sources of it count
// for what is the matter of internal/servertime.

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

// observe takes in a version of a lock that the client sees, and returns since when it has been seen
// like that: by the caller, who knows before, or by any call before.
func (c *Client) observe(k Key, before protocol.Observation, r protocol.Record) protocol.Observation {
	now := c.now()
	own := before.Observe(r, now)
	d := c.drivers.driver(k, true)
	if d == nil {
		return own
	}
	defer c.drivers.leave(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.postLocked(session.Event{Kind: session.Shown, Record: r})
	if seen := d.session.Seen(); seen.Observe(r, now) == seen && seen.Since.Before(own.Since) {
		return seen
	}
	return own
}

// available reports whether the lock is there for the taking by a client that does not queue for it
// behind others, and if not, when to look again. If that is so by a hint of the server's time
// only, it asks the server.
func (c *Client) available(ctx context.Context, r protocol.Record, seen protocol.Observation) (available bool, wait time.Duration) {
	const first = 0
	judge := c.server.Reading().Judge(c.now(), c.MaxClockSkew)
	if available, wait = judge.Available(r, seen, first); available {
		return true, 0
	}
	may, soon := c.server.Reading().Guess(c.now(), c.MaxClockSkew).Available(r, seen, first)
	switch {
	case !may:
		return false, min(wait, soon)
	case judge.Compares(protocol.Server): // It has told its time just now, and that is not enough yet.
		return false, wait
	}
	if err := c.asker.Ask(ctx); err != nil {
		c.Log.V(1).Info("Could not ask the API server for its time, will go by what is seen of a lock", "lock", r.Name, "err", err)
		return false, wait
	}
	return c.server.Reading().Judge(c.now(), c.MaxClockSkew).Available(r, seen, first)
}
