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

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// fault executes a fault.
func (w *world) fault(a action) {
	i := int(a.i)
	switch a.verb {
	case lostBefore, lostAfter:
		m := w.net[i]
		w.net = slices.Delete(w.net, i, i+1)
		w.answer(m, unanswered(false))
	case slow, twice:
		m := *w.net[i]
		m.toks = nil
		if a.verb == slow {
			m.slow = true
			w.net[i] = &m
		} else {
			m.copied = true
			w.net = append(w.net, &m)
		}
	case deny, reject, busy:
		m := *w.net[i]
		m.answer, m.toks = true, nil
		m.outcome = map[verb]protocol.Outcome{deny: protocol.Denied, reject: protocol.Rejected, busy: protocol.Busy}[a.verb]
		m.doubted = a.verb == deny
		w.net[i] = &m
		if a.verb == reject {
			w.edit(m.client).refused = true
		}
	case crash:
		c := w.edit(i)
		*c = client{s: session.New(w.cfgs[i]), dead: true, strays: true}
		var net []*msg
		for _, m := range w.net {
			switch {
			case m.client != i || m.copied:
				net = append(net, m)
			case !m.answer && m.req.Kind != session.Read && m.req.Kind != session.Ask:
				g := *m
				g.copied, g.toks = true, nil
				net = append(net, &g)
			}
		}
		w.net = net
	case pause:
		w.edit(i).paused = true
	case cut:
		c := w.edit(i)
		c.cut, c.sights = true, nil
	case lag:
		w.edit(i).lagged = true
	case freeByHand, emptyByHand, deleteByHand:
		w.byHand(a.verb)
	case unwatch:
		w.step(i, w.edit(i), session.Event{Kind: session.WatchLost, Err: errRefused})
	case restore:
		old := w.past[i]
		old.uids, old.rv = w.server.uids, w.server.rv // A new object never gets an earlier UID, and no version comes twice.
		w.past = nil
		w.commit(func(s *server) { *s = old })
		w.restored()
	default:
		panic("no such action")
	}
}

func (w *world) byHand(v verb) {
	acked, before := w.acked, w.server.obj
	w.commit(func(s *server) {
		r := s.obj
		switch v {
		case freeByHand:
			r.Holder = nil
			s.put(r)
		case emptyByHand:
			r.Waiters = []string{}
			s.put(r)
		default:
			s.remove()
		}
	})
	if v == emptyByHand { // An empty queue breaks no promise.
		return
	}
	w.disturb()
	w.wipe(before)
	if v == freeByHand {
		w.acked = acked
	}
}

// restored adapts the checks after a backup was restored. Tokens continue from an earlier
// time, so the promises about them end. The watches are opened again, too.
func (w *world) restored() {
	w.disturb()
	w.wentBack, w.token = true, 0
	w.denied = nil
	for i, c := range w.cl {
		if c.dead {
			continue
		}
		c = w.edit(i)
		c.strays, c.hold.broken = true, true // The restore may have undone a renewal.
		if c.own || c.lock {
			c.sights = []sight{{kind: session.Missed, lock: c.lock}}
			if c.own {
				w.showOwn(c)
			}
			if c.lock && w.server.obj.Exists() {
				c.sights = append(c.sights, sight{session.Shown, w.server.obj, true})
			}
		}
	}
}
