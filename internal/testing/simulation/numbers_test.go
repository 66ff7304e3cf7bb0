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
	"context"
	"encoding/json"
	"math"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// absurd writes absurd numbers by hand, such as no client writes, into objects whose schema accepts them.
//
// The numbers must not make a client take a held lock, they must not overflow, and the lock must become
// free. A number that cannot be read must be an error at once, and the error must name it.
func (s *scene) absurd() {
	s.lease = span(s.rand, 15*time.Second, 60*time.Second) // Longer than all members need to queue.
	switch s.rand.IntN(4) {
	case 0:
		s.absurdLease()
	case 1:
		s.absurdTimes()
	case 2:
		s.absurdCounters()
	case 3:
		s.unreadable()
	}
}

const (
	holderKey = "kubelock.dev/holder"
	longest   = "2562047h47m16.854775807s" // the largest time.Duration
)

// editHolder changes the holder in the object by hand.
func (s *scene) editHolder(change func(holder, spec map[string]any)) {
	s.edit(s.key, func(now metav1.PartialObjectMetadata) map[string]any {
		holder, spec := map[string]any{}, map[string]any{}
		if err := json.Unmarshal([]byte(now.Annotations[holderKey]), &holder); err != nil {
			s.t.Fatal(err)
		}
		change(holder, spec)
		text, err := json.Marshal(holder)
		if err != nil {
			s.t.Fatal(err)
		}
		patch := map[string]any{"metadata": map[string]any{"annotations": map[string]any{holderKey: string(text)}}}
		if s.kind == store.Leases {
			patch["spec"] = spec
		}
		return patch
	})
}

// absurdLease makes the lease of a live hold last for years.
func (s *scene) absurdLease() {
	holder := s.join(kubelock.Config{}).mustAcquire(slack)
	waits := s.wait(s.randomBetween(1, 4))
	duration := []string{longest, "2562047h", "876000h", "8761h"}[s.rand.IntN(4)]
	s.sayf("the hold lasts for %s by hand", duration)
	s.editHolder(func(h, spec map[string]any) {
		h["duration"] = duration
		d, err := time.ParseDuration(duration)
		if err != nil {
			s.t.Fatal(err)
		}
		spec["leaseDurationSeconds"] = min(int64((d-1)/time.Second)+1, math.MaxInt32)
	})
	late := s.wait(s.randomBetween(0, 3)) // These clients have only seen the changed lease.
	s.mustNotHave(append(waits, late...), time.Until(holder.held.Deadline().Add(-holder.clock-time.Second)))
	if s.over() {
		return
	}
	free := time.Now()
	holder.mustRelease()
	s.inTime(append(waits, late...), free.Add(2*time.Second))
}

// mustNotHave waits for d, and checks that no turn gets the lock in that time.
func (s *scene) mustNotHave(turns []*turn, d time.Duration) {
	pass(d)
	for _, t := range turns {
		select {
		case <-t.had:
			if !s.over() {
				s.violatedf("invariant of scenes: %s has a lock that is held", t.name)
			}
		default:
		}
	}
}

// wait makes that many members queue, one after the other.
func (s *scene) wait(count int) (waits []*turn) {
	for range count {
		waits = append(waits, s.join(kubelock.Config{}).queue(span(s.rand, time.Millisecond, time.Second)))
		pass(span(s.rand, 100*time.Millisecond, 2*time.Second))
	}
	return waits
}

// inTime checks that one of the turns has the lock by then, and that the others follow.
func (s *scene) inTime(turns []*turn, then time.Time) {
	s.oneMustHaveBy(turns, then, "those who wait for a lock of absurd numbers")
	for i, t := range turns {
		s.mustHaveBy(t, then.Add(time.Duration(i+1)*(5*time.Second+time.Second)+slack), "one who waits for a lock of absurd numbers")
	}
	s.end(turns)
}

// absurdTimes moves the renewal time of a hold far into the past or the future. Then the hold's owner
// dies.
func (s *scene) absurdTimes() {
	holder := s.join(kubelock.Config{}).mustAcquire(slack)
	waits := s.wait(s.randomBetween(1, 3))
	at := []string{"9999-12-31T23:59:59.999999Z", "2262-04-11T23:47:16.854775Z", "2300-01-01T00:00:00.000000Z", "0001-01-01T00:00:00.000001Z", "1970-01-01T00:00:00.000000Z"}[s.rand.IntN(5)]
	s.sayf("the hold was renewed at %s by hand", at)
	s.mu.Lock()
	s.locks[s.key].forced[holder.held.ID()] = true // If the lease has ended long ago, the edit has ended it.
	s.mu.Unlock()
	s.editHolder(func(h, spec map[string]any) {
		h["renewTime"] = at
		if s.rand.IntN(2) == 0 {
			h["acquireTime"] = at
		}
		spec["renewTime"] = at
	})
	if s.rand.IntN(2) == 0 {
		holder.dies()
	} else if err := holder.release(); err != nil {
		s.sayf("%s: Release: %s", holder.name, outcome(err))
	}
	// A waiter that does not see renewals reads the lock once per lease or minute, and then observes it for
	// the length of the lease.
	s.inTime(waits, time.Now().Add(2*s.lease+maxClockSkew+2*slack))
}

// absurdCounters writes absurd counters into a free lock.
func (s *scene) absurdCounters() {
	expires := s.rand.IntN(3) == 0
	first := s.join(kubelock.Config{}).mustAcquire(slack)
	if s.rand.IntN(4) == 0 {
		first.mustRelease()
	}
	counts := []string{"-9223372036854775808", "-1", "9223372036854775807", "9223372036854775806", "2147483647", "4294967295"}
	last := []string{"-1", "9007199254740991", "9007199254740992", "18446744073709551615"}
	expiry := []string{longest, "1ns", "876000h"}
	annotations := map[string]any{}
	if s.rand.IntN(2) == 0 {
		annotations["kubelock.dev/transitions"] = counts[s.rand.IntN(len(counts))]
	}
	if s.rand.IntN(2) == 0 {
		annotations["kubelock.dev/last-waiter"] = last[s.rand.IntN(len(last))]
	}
	if expires {
		annotations["kubelock.dev/object-expiry"] = expiry[s.rand.IntN(len(expiry))]
	}
	patch := map[string]any{"metadata": map[string]any{"annotations": annotations}}
	if s.kind == store.Leases && s.rand.IntN(2) == 0 {
		patch["spec"] = map[string]any{"leaseTransitions": []int{math.MaxInt32, math.MaxInt32 - 1, 0}[s.rand.IntN(3)]}
	}
	s.sayf("by hand: %v", patch)
	s.edit(s.key, func(metav1.PartialObjectMetadata) map[string]any { return patch })
	waits := s.wait(s.randomBetween(1, 4))
	if first.b != nil && !s.gaveUp(first.b) {
		first.mustRelease()
	}
	s.inTime(waits, time.Now().Add(2*time.Second))
	for range s.randomBetween(0, 3) {
		if s.over() {
			return
		}
		s.members[s.rand.IntN(len(s.members))].mustAcquire(slack).mustRelease()
	}
}

// gaveUp reports whether the owner of b has given the hold up.
func (w *world) gaveUp(b *belief) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return b.given
}

// unreadable makes the object unreadable, and repairs it later.
func (s *scene) unreadable() {
	s.join(kubelock.Config{}).mustAcquire(slack).mustRelease()
	bad := []struct{ name, text string }{
		{"kubelock.dev/object-expiry", "-1s"},
		{"kubelock.dev/object-expiry", "0s"},
		{"kubelock.dev/object-expiry", "99999999999h"},
		{holderKey, `{"identity":"x","client":"x","lockID":"x-1","token":1,"renewTime":"2026-01-01T00:00:00.000000Z","duration":"-5s"}`},
		{holderKey, `{"identity":"x","client":"x","lockID":"x-1","token":-1,"renewTime":"2026-01-01T00:00:00.000000Z","duration":"5s"}`},
		{holderKey, `{"identity":"x","client":"x","lockID":"x-1","token":99999999999999999999,"renewTime":"2026-01-01T00:00:00.000000Z","duration":"5s"}`},
		{"kubelock.dev/last-release", `{"token":1e30}`},
		{"kubelock.dev/transitions", "1e9"},
		{"kubelock.dev/transitions", "9223372036854775808"},
	}[s.rand.IntN(9)]
	s.sayf("by hand: %s", bad.text)
	s.mu.Lock()
	s.repairs = true
	s.mu.Unlock()
	s.annotate(s.key, map[string]any{bad.name: bad.text})
	m := s.join(kubelock.Config{})
	ctx, cancel := context.WithTimeout(m.ctx, 30*time.Second)
	defer cancel()
	_, err := m.lock.Acquire(ctx)
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), bad.name) {
		s.violatedf("invariant of scenes: of %s, which is %s, Acquire said %v", bad.name, bad.text, err)
	}
	pass(span(s.rand, 0, 20*time.Second))
	s.sayf("repaired by hand")
	s.annotate(s.key, map[string]any{bad.name: nil})
	s.mu.Lock()
	s.repairs = false
	s.mu.Unlock()
	for _, m := range s.members {
		m.mustAcquire(slack).mustRelease()
	}
}
