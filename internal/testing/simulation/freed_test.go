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
	"net/http"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// freed frees a lock with a lease of hours in a way that its waiters' watches may not show: by hand, or
// by a release while the first waiters are cut off.
//
// Each waiter must get the lock within about a minute after it could know that the lock is free. If a
// reaper runs, it grants a lock that was freed by hand within a grace. Before that, no waiter reads the
// lock more often than about once per minute.
func (s *scene) freed() {
	s.lease = span(s.rand, time.Hour, 12*time.Hour)
	holder := s.join(kubelock.Config{}).mustAcquire(slack)
	n := s.randomBetween(2, 4)
	waits := make([]*turn, 0, n)
	for range n {
		m := s.join(kubelock.Config{})
		pass(span(s.rand, 50*time.Millisecond, 4*time.Second))
		waits = append(waits, m.queue(span(s.rand, 10*time.Millisecond, time.Second)))
	}
	quiet := span(s.rand, 2*time.Second, 10*time.Minute)
	pass(quiet)
	for _, t := range waits {
		// Several reads when the client joins and when a watch has ended, and one per minute.
		if reads, most := t.reads(), 6+int(quiet/(50*time.Second)); reads > most {
			s.violatedf("invariant of scenes: %s has read a lock that does not move %d times in %v", t.name, reads, quiet)
		}
	}
	s.sayf("%d wait for a lease of %v", n, s.lease)

	free, gone := time.Now(), 0
	var cut time.Duration
	cutOff := func(turns []*turn) {
		cut = span(s.rand, 11*time.Second, 90*time.Second)
		for _, t := range turns {
			s.sayf("%s: cut off for %v", t.name, cut)
			if s.rand.IntN(3) == 0 {
				t.pause(cut)
			} else {
				t.cutOff(cut)
			}
		}
		pass(span(s.rand, 0, 2*time.Second))
	}
	soon := time.Duration(0) // how long the reaper may take to grant the lock to a live client
	switch s.rand.IntN(5) {
	case 0:
		s.sayf("deleted by hand: %s", s.key)
		s.byHand(http.MethodDelete, s.key, "")
	case 1: // The first client may be dead, so that only the reaper notices.
		soon = 5*time.Second + maxClockSkew
		if s.rand.IntN(2) == 0 {
			waits[0].dies()
			gone, soon = 1, 2*soon
		}
		s.sayf("freed by hand: %s", s.key)
		s.free(s.key)
	case 2: // All clients are cut off, and miss the deletion.
		cutOff(waits)
		s.byHand(http.MethodDelete, s.key, "")
	case 3: // The grant expires while its client is cut off.
		cutOff(waits[:s.randomBetween(1, n)])
		holder.mustRelease()
		if s.rand.IntN(2) == 0 {
			holder.dies()
		}
	case 4: // As before, and the first client never returns.
		cutOff(waits[:s.randomBetween(1, n)])
		waits[0].dies()
		gone = 1
		holder.mustRelease()
	}
	if s.over() {
		return
	}
	if soon > 0 && s.reaped {
		s.oneMustHaveBy(waits[gone:], free.Add(soon+slack), "with a reaper those who wait for a lock that was freed by hand")
	}
	// A grace per client that was granted the lock while it was cut off, and the head starts of the clients
	// before.
	live := waits[gone:]
	bound := cut + minute + time.Duration(2*n+3)*5*time.Second + time.Duration(n)*time.Second + slack
	for _, t := range live {
		s.mustHaveBy(t, free.Add(bound), "one who waits for a free lock")
	}
	s.end(live)
}
