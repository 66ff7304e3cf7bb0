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
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// deliver delivers a message.
func (w *world) deliver(i int) {
	m := w.net[i]
	if m.answer {
		w.net = slices.Delete(w.net, i, i+1)
		w.answer(m, answered(m))
		return
	}
	outcome, record := w.exec(m)
	if m.copied {
		w.net = slices.Delete(w.net, i, i+1)
		return
	}
	a := *m
	a.answer, a.outcome, a.record, a.toks = true, outcome, record, nil
	w.net[i] = &a
}

// exec makes the server execute a request.
func (w *world) exec(m *msg) (outcome protocol.Outcome, record protocol.Record) {
	before := w.server.obj
	w.commit(func(s *server) { outcome, record = s.do(m.req, w.now()) })
	if outcome != protocol.Committed {
		w.logf("    server: %s", outcomes[outcome])
	}
	if before.SameVersion(w.server.obj) {
		return outcome, record
	}
	w.wipe(before)
	w.keepsQueue(before)
	w.rests(before)
	// The client does not know of a request that arrives after its timeout, or after the client has looked
	// for its effect. It does not wait for an entry that may still arrive.
	c := w.cl[m.client]
	looked := m.req.Kind == session.Enqueue && c.s.State() != session.Contending && c.s.State() != session.Holding ||
		c.s.State() == session.Idle && w.writes(m.client)
	if m.copied && (looked || c.s.Quiet() || !w.now().Before(m.req.Sent.Add(w.sc.Lease))) {
		w.edit(m.client).strays = true
	}
	if w.server.obj.Terminating && !before.Terminating || !w.server.obj.Exists() {
		for i, c := range w.cl {
			if w.believes(c) && !c.hold.broken {
				w.violatedf("%s deletes the lock that %s holds", w.cfgs[m.client].Client, w.cfgs[i].Client)
			}
		}
	}
	return outcome, record
}

// writes reports whether a client waits for the answer to a write. Without a caller, it does not look afterwards.
func (w *world) writes(client int) bool {
	return slices.ContainsFunc(w.net, func(m *msg) bool { return m.client == client && !m.copied && m.req.Kind == session.Amend })
}

// keepsQueue checks that a release removes no entries from the queue except those of the holder's own
// client and that of the next holder.
func (w *world) keepsQueue(before protocol.Record) {
	r := w.server.obj
	if w.disturbed || before.Holder == nil || r.LastRelease == nil || r.LastRelease == before.LastRelease || !r.LastRelease.Reason.ByHolder() {
		return
	}
	for _, entry := range before.Waiters {
		waiter, ok := protocol.ParseWaiter(entry)
		next := r.Holder != nil && r.Holder.LockID == waiter.LockID
		if ok && !next && waiter.Client() != before.Holder.Client && !slices.Contains(r.Waiters, entry) {
			w.violatedf("the release of %s takes the entry %s from the queue", before.Holder.LockID, waiter.LockID)
		}
	}
}

// rests notes until when no hold may begin, if the object is as the release of a hold with a minimal time has
// left it. Such a release writes its state, unless the hold had ended for its client.
func (w *world) rests(before protocol.Record) {
	r := w.server.obj
	for _, c := range w.cl {
		for _, m := range c.minimal {
			if before.HeldBy(m.lockID, 0) && !r.HeldBy(m.lockID, 0) && !sameText(before.Value, r.Value) {
				w.freeFrom = later(w.freeFrom, m.until)
			}
		}
	}
	if w.removes() && !r.Exists() || w.disturbed {
		w.freeFrom = time.Time{}
	}
}

// wipe records that the state was deleted with the lock at the request of a caller.
func (w *world) wipe(before protocol.Record) {
	if before.Value != nil && w.server.obj.Value == nil && (w.removes() || w.disturbed) {
		w.wiped += *before.Value
		w.acked = nil
	}
}

// removes reports whether any call of the scope deletes the lock.
func (w *world) removes() bool {
	return slices.ContainsFunc(w.sc.Calls, func(calls []Call) bool {
		return slices.ContainsFunc(calls, func(c Call) bool { return c.Remove })
	})
}

// heal resumes the watches of c. A watch that has missed a change resumes with a list.
func (w *world) heal(c *client) {
	if c.lagged {
		c.lagged = false
		return
	}
	c.cut = false
	c.sights = append(c.sights, sight{kind: session.Missed, lock: c.lock})
	if c.own {
		w.showOwn(c)
	}
	if c.lock && w.server.obj.Exists() {
		c.sights = append(c.sights, sight{session.Shown, w.server.obj, true})
	}
}
