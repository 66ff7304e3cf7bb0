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

package simulation

import (
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// restored restores etcd from a backup while clients use the lock and have it in their caches.
//
// A restore undoes all writes since the backup. A hold from before the restore may be gone, or may be
// shown as it was at the time of the backup, and its owner learns of that at its next write. So nothing is
// promised for such holds, except that they end. What is checked:
//
//   - Holds that begin after the restore exclude each other, and their tokens increase from that of the
//     backup on.
//   - Every waiter has the lock within about a minute plus the lease in the backup.
//   - A while later, clients again notice grants at once.
func (s *scene) restored() {
	s.lease = span(s.rand, 2*time.Second, 20*time.Second)
	n := s.randomBetween(2, 4)
	for range n {
		s.join(kubelock.Config{})
	}
	if s.rand.IntN(2) == 0 {
		s.members[0].mustAcquire(slack).mustRelease()
	}
	from := make(chan struct{}) // closed by the restore
	var restored time.Time
	settled := s.lease + minute + time.Duration(5*n+10)*time.Second + slack
	stop := make(chan struct{})
	var users sync.WaitGroup
	for _, m := range s.members {
		think := []time.Duration{2 * time.Second, 5 * time.Second, 20 * time.Second, 40 * time.Second}[s.rand.IntN(4)]
		hold := []time.Duration{time.Millisecond, 100 * time.Millisecond, s.lease / 2}[s.rand.IntN(3)]
		users.Go(func() {
			for !s.over() && !m.isDead() {
				pass(think + time.Millisecond)
				select {
				case <-stop:
					return
				default:
				}
				t := m.queue(0)
				s.mustHaveAfter(t, settled, from, &restored)
				if t.b == nil {
					<-t.done
					return
				}
				pass(hold)
				_ = t.release() // The hold may be lost.
				<-t.done
			}
		})
	}
	pass(span(s.rand, 0, 20*time.Second))
	restore := s.backup()
	pass(span(s.rand, 0, 20*time.Second))
	if s.rand.IntN(3) == 0 {
		s.members[n-1].dies()
	}
	restored = time.Now()
	close(from)
	restore()
	pass(span(s.rand, time.Second, 20*time.Second))
	close(stop)
	users.Wait()
	if s.over() {
		return
	}

	// Clients notice grants at once, as before the restore.
	live := s.members[:n]
	if live[n-1].isDead() {
		live = live[:n-1]
	}
	holder := live[0].mustAcquire(s.lease+slack+maxClockSkew+2*5*time.Second, kubelock.WithDuration(2*time.Minute))
	var waits []*turn
	for _, m := range live[1:] {
		waits = append(waits, m.queue(10*time.Millisecond))
		pass(span(s.rand, 10*time.Millisecond, time.Second))
	}
	pass(span(s.rand, time.Second, 30*time.Second))
	if s.over() {
		return
	}
	holder.mustRelease()
	if len(waits) > 0 {
		s.oneMustHaveBy(waits, time.Now().Add(2*time.Second), "after a restore those who are granted the lock")
	}
	for _, t := range waits {
		s.mustHaveBy(t, time.Now().Add(slack), "after a restore one who is granted the lock")
	}
	s.end(waits)
}

// mustHaveAfter waits for a turn. It must get the lock within that time, counted from the beginning of the turn
// or from the closing of the channel, whichever is later.
func (s *scene) mustHaveAfter(t *turn, within time.Duration, from <-chan struct{}, at *time.Time) {
	select {
	case <-from:
		s.mustHaveBy(t, later(t.asked, *at).Add(within), "after a restore one who waits")
		return
	case <-t.had:
		return
	case <-t.done:
		return
	case <-time.After(within):
		s.violatedf("invariant of scenes: before a restore %s has waited for %v", t.name, within)
	case <-s.ctx.Done():
		return
	}
	s.mustHaveBy(t, later(t.asked, *at).Add(within), "after a restore one who waits")
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// backup makes a backup of etcd, and returns how to restore it. Versions after the restore are far above
// those of the backup, so that no version occurs twice: a client could not distinguish two objects with
// the same version.
func (w *world) backup() (restore func()) {
	w.serving.Lock()
	defer w.serving.Unlock()
	restoreServer := w.server.Backup()
	w.server.AdvanceRevision(1 << 20)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sayLockedf("etcd is backed up")
	saved := map[string]history{}
	for key, h := range w.locks {
		saved[key] = history{record: h.record, lastToken: h.lastToken, values: maps.Clone(h.values), holds: h.holds}
	}
	return func() {
		w.serving.Lock()
		defer w.serving.Unlock()
		restoreServer()
		w.mu.Lock()
		defer w.mu.Unlock()
		w.sayLockedf("etcd is restored")
		for key, h := range w.locks {
			h.undo(key, saved[key])
		}
		for _, b := range w.beliefs {
			w.locks[b.key].forced[b.held.ID()] = true
		}
	}
}

// undo restores the history of a key to that of a backup.
func (h *history) undo(key string, saved history) {
	for _, r := range []protocol.Record{h.record, saved.record} {
		if r.Holder != nil {
			h.forced[r.Holder.LockID] = true
		}
	}
	if h.undone == nil {
		h.undone = map[string]bool{}
	}
	for value := range h.values {
		if _, ok := saved.values[value]; !ok {
			h.undone[value] = true
		}
	}
	if version, err := strconv.ParseInt(h.record.ResourceVersion, 10, 64); err == nil {
		h.before = max(h.before, version)
	}
	h.record, h.lastToken, h.values = saved.record, saved.lastToken, saved.values
	if h.values == nil {
		h.values = map[string]string{}
	}
	if h.record.Name == "" {
		h.record.Name = key
	}
}
