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

package explore

import (
	"slices"
	"strings"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// disturb records that a user or a restored backup changes the object. Promises to the current holders end
// with that.
func (w *world) disturb() {
	w.disturbed, w.freeFrom = true, time.Time{}
	for i, c := range w.cl {
		if c.hold.on && !w.server.obj.HeldBy(c.hold.lockID, c.hold.token) {
			w.edit(i).hold.broken = true
		}
	}
	w.acked = nil
}

// check checks the invariants that must hold in each state.
func (w *world) check() {
	var believer *client
	for _, c := range w.cl {
		if !w.believes(c) || c.hold.broken {
			continue
		}
		if believer != nil {
			w.violatedf("two clients believe that they have the lock: %s and %s", w.name(believer), w.name(c))
		}
		believer = c
	}
	value := text(w.server.obj.Value)
	for _, tag := range w.acked {
		if !strings.Contains(value, tag) {
			w.violatedf("the state is %q, without %q, which was reported as written", value, tag)
		}
	}
	for _, tag := range w.denied {
		if strings.Contains(value, tag) {
			w.violatedf("the state is %q, with %q, which was reported as not written", value, tag)
		}
	}
	for i, calls := range w.sc.Calls {
		for j, call := range calls {
			if tag := w.tagOf(i, j+1); call.Applies && strings.Count(value, tag) > 1 {
				w.violatedf("the state is %q, with %q more than once", value, tag)
			}
		}
	}
	for i, c := range w.cl {
		if c.dead || c.strays || c.refused || len(c.lost) > 0 || len(c.again) > 0 || !c.s.Quiet() || w.underWay(i) {
			continue
		}
		r := w.server.obj
		// Other clients end a hold whose lease is over.
		if h := r.Holder; h != nil && h.Client == w.cfgs[i].Client && !w.overdue() && !w.wasLost() {
			w.violatedf("%s is quiet, and the lock is held by it", w.cfgs[i].Client)
		}
		if queued(r, w.cfgs[i].Client) {
			w.violatedf("%s is quiet, and queues", w.cfgs[i].Client)
		}
	}
}

// overdue reports whether the lock has been unchanged for longer than its lease.
func (w *world) overdue() bool {
	h := w.server.obj.Holder
	return h != nil && !w.now().Before(w.seen.Since.Add(h.Duration))
}

// wasLost reports whether the hold in the object has already ended for its holder.
func (w *world) wasLost() bool {
	h := w.server.obj.Holder
	return h != nil && slices.ContainsFunc(w.cl, func(c *client) bool { return c.lostID == h.LockID })
}

// underWay reports whether any request of client i may still arrive at the server.
func (w *world) underWay(i int) bool {
	return slices.ContainsFunc(w.net, func(m *msg) bool { return m.client == i && !m.answer })
}

func queued(r protocol.Record, client string) bool {
	return r.Place(func(lockID string) bool { return protocol.Waiter{LockID: lockID}.Client() == client }) < len(r.Waiters)
}

func text(value *string) string {
	if value == nil {
		return ""
	}
	return *value
}

func sameText(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
