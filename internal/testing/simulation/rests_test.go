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
	"math/rand/v2"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// Some callers of some seeds want that a lock rests after their hold. Then no other hold begins within that
// time of the begin of theirs, unless it was lost before its release, or the object was deleted or edited by hand.

const restsStream = 1<<26 + 1

// rests is from when a key's lock may be taken.
type rests struct {
	begun    map[string]time.Time     // the holds of clients, by lock ID
	minHolds map[string]time.Duration // those with a minimal time, once their callers know of them
	freeFrom time.Time
}

// minHold draws one caller's minimal time for a lease of that length; 0 for none.
func (c *caller) minHold(lease time.Duration) time.Duration {
	if rand.New(rand.NewPCG(c.seed, restsStream)).IntN(3) > 0 {
		return 0
	}
	c.minHolds++
	r := rand.New(rand.NewPCG(c.seed, hash(c.name)+restsStream+c.minHolds))
	if r.IntN(2) == 0 {
		return 0
	}
	return span(r, 50*time.Millisecond, lease)
}

// rested notes that a caller has a hold with a minimal time.
func (w *world) rested(key string, held *kubelock.Held[string], d time.Duration) {
	if d > 0 {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.locks[key].rests.minHolds[held.ID()] = d
	}
}

// checkRest checks a version of a lock: that no hold begins while it should rest. It needs w.mu.
func (w *world) checkRest(h *history, old, now protocol.Record, began, ended bool) {
	s := &h.rests
	if s.begun == nil {
		s.begun, s.minHolds = map[string]time.Time{}, map[string]time.Duration{}
	}
	if w.writer == nil || !now.Exists() || now.UID != old.UID {
		s.freeFrom = time.Time{}
	}
	last := now.LastRelease
	if ended && last != nil && last.LockID == old.Holder.LockID && last.Reason.ByHolder() && textOf(old.Value) != textOf(now.Value) {
		if d := s.minHolds[last.LockID]; d > 0 {
			s.freeFrom = s.begun[last.LockID].Add(d)
		}
	}
	if !began || now.Resting() {
		return
	}
	if early := time.Until(s.freeFrom); early > 0 {
		w.violatedLockedf("%s begins the hold %s %v before the time is over that the last holder has set", w.writerName(), now.Holder.LockID, early)
	}
	s.begun[now.Holder.LockID] = time.Now()
}
