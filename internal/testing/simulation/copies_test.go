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
	"fmt"
	"net/http"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// copied deletes the lock's object and creates it again from a copy of another cluster, or of an earlier
// time. The copy has tokens above the versions of this cluster, a dead holder, and a queue of dead
// clients, up to the longest possible.
//
// A client that joins must have the lock about 23 seconds after the copied holder's lease ends, however
// many dead clients are in the queue. From then on tokens increase, also after the reaper has collected
// the lock.
func (s *scene) copied() {
	if s.rand.IntN(2) == 0 {
		s.join(kubelock.Config{}).mustAcquire(slack).mustRelease()
		s.byHand(http.MethodDelete, s.key, "")
	}
	at := time.Now().Add(span(s.rand, -48*time.Hour, s.lease)).Truncate(time.Microsecond)
	source := []protocol.Source{protocol.Server, protocol.Node}[s.rand.IntN(2)]
	if source == protocol.Server { // A node's stamp does not say when the lease ends.
		at = time.Now().Add(s.clocks[0] - span(s.rand, 0, 48*time.Hour)).Truncate(time.Microsecond)
	}
	token := 1<<40 + s.rand.Int64N(1<<20)
	r := protocol.Record{Name: s.key, Key: s.key, Transitions: s.rand.Int64N(1000)}
	r.LastRelease = &protocol.LastRelease{LockID: "elsewhere-1", Identity: "elsewhere", Token: token, Time: at, Source: source, Reason: protocol.Released}
	if s.rand.IntN(3) > 0 {
		r.Holder = &protocol.Holder{Identity: "elsewhere", Client: "elsewhere", LockID: "elsewhere-2", Token: token + 1 + s.rand.Int64N(100),
			AcquireTime: at, RenewTime: at, Source: source, Duration: s.lease}
		if s.rand.IntN(4) == 0 { // The copied hold had created its object, and has no token in the record.
			r.Holder.Token = 0
		}
	}
	dead := []int{0, 1, 3, 20, 127, 128}[s.rand.IntN(6)]
	for i := range dead {
		r.Waiters = append(r.Waiters, protocol.Waiter{LockID: fmt.Sprintf("dead%d-1", i), Duration: s.lease, Identity: fmt.Sprintf("dead%d", i)}.String())
	}
	if s.rand.IntN(2) == 0 {
		r.ObjectExpiry = 20 * time.Second
	}
	s.sayf("copied from elsewhere: token %d, holder %v, %d dead, at %v by the %s", token, r.Holder != nil, dead, at.UTC(), source)
	s.put(r)

	n := s.randomBetween(1, 3)
	// In addition to the head starts: with a reaper two dead clients are granted the lock first, and each
	// observer may have begun to watch later.
	bound := s.lease + 23*time.Second + 2*5*time.Second + maxClockSkew + slack
	waits := make([]*turn, 0, n)
	for range n {
		waits = append(waits, s.join(kubelock.Config{}).queue(span(s.rand, time.Millisecond, 500*time.Millisecond)))
		pass(span(s.rand, time.Millisecond, 3*time.Second))
	}
	s.oneMustHaveBy(waits, waits[0].asked.Add(bound), "clients that come to a copied lock")
	for _, t := range waits {
		s.mustHaveBy(t, waits[0].asked.Add(bound+2*5*time.Second*time.Duration(n)), "one who comes to a copied lock")
	}
	s.end(waits)
	for range s.randomBetween(0, 3) {
		pass(span(s.rand, 0, minute)) // The reaper may collect the lock meanwhile.
		if s.over() {
			return
		}
		m := s.members[s.rand.IntN(len(s.members))]
		m.mustAcquire(2*5*time.Second + slack).mustRelease()
	}
}
