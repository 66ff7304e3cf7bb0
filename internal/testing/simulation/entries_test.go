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
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// junkEntry returns an entry of a queue that no client has written: it cannot be read, or cannot be
// granted.
func (s *scene) junkEntry() string {
	number := s.rand.IntN(1000)
	long := strings.Repeat("x", s.randomBetween(63, 66)-len(strconv.Itoa(number))) // The lock ID is too long, and the client may be.
	return []string{
		"nonsense",
		fmt.Sprintf("nonsense-%d", number),
		fmt.Sprintf("b%d-1 10s", number),
		fmt.Sprintf("b%d-1 soon b", number),
		fmt.Sprintf("b%d-1 -10s b", number),
		fmt.Sprintf("b%d-1 0s b", number),
		fmt.Sprintf("b%d-1 87600h b", number),
		fmt.Sprintf("b%d-1 2562047h47m16s b", number),
		fmt.Sprintf("b%d-1 99999999999h b", number),
		fmt.Sprintf("-b%d-1 10s b", number),
		fmt.Sprintf("b%d--1 10s b", number),
		fmt.Sprintf("b%d.-1 10s b", number),
		fmt.Sprintf("b/%d-1 10s b", number),
		fmt.Sprintf("b%d\u00e4-1 10s b", number),
		fmt.Sprintf("%s%d-1 10s b", long, number),
		fmt.Sprintf("b%d-1 10s %s", number, strings.Repeat("y", 254+s.rand.IntN(100))),
		fmt.Sprintf("b%d 10s b", number),
		fmt.Sprintf("-%d 10s b", number),
		"- 10s b",
	}[s.rand.IntN(19)]
}

// junkEntries writes such entries into the queue of a held lock, before and among its waiters.
//
// The holder's writes must succeed. Such an entry delays a waiter by no more than a request: it cannot be
// granted the lock, so it has no head start.
func (s *scene) junkEntries() {
	s.lease = span(s.rand, 5*time.Second, 30*time.Second)
	expiry := []time.Duration{0, 20 * time.Second}[s.rand.IntN(2)]
	cfg := kubelock.Config{ObjectExpiry: expiry}
	holder := s.join(cfg).mustAcquire(slack, kubelock.WithAutoRenew())
	n := s.randomBetween(1, 3)
	waits := make([]*turn, 0, n)
	for range n {
		s.write(s.randomBetween(0, 20))
		waits = append(waits, s.join(cfg).queue(span(s.rand, 10*time.Millisecond, time.Second)))
		pass(span(s.rand, 100*time.Millisecond, 2*time.Second))
	}
	s.write(s.randomBetween(0, 20))
	pass(span(s.rand, 0, 2*s.lease))
	if s.over() {
		return
	}
	if s.rand.IntN(2) == 0 {
		v := holder.name + ":saved"
		err := holder.held.Update(v).Save(holder.ctx)
		s.wrote(s.key, v, err, holder.name+": Save")
		if err != nil && !s.over() {
			s.violatedf("invariant of scenes: over entries that no client wrote: Save: %v", err)
		}
	}
	free := time.Now()
	dies := s.rand.IntN(3) == 0
	if dies {
		holder.dies()
		// The lease, the skew, and the reads of clients that do not see renewals.
		free = free.Add(s.lease + maxClockSkew + 3*time.Second)
	} else {
		holder.mustRelease()
	}
	if !dies || s.reaped {
		s.oneMustHaveBy(waits, free.Add(3*time.Second), "those who wait behind entries that no client wrote")
	}
	for i, t := range waits {
		s.mustHaveBy(t, free.Add(5*time.Second*time.Duration(i+1)+slack), "one who waits behind entries that no client wrote")
	}
	s.end(waits)
	if s.over() {
		return
	}
	s.write(s.randomBetween(0, 128-len(s.stored(s.key).Waiters))) // The lock is free now.
	pass(span(s.rand, 0, 20*time.Second))
	holder = s.join(cfg).mustAcquire(3 * time.Second)
	pass(10 * time.Millisecond)
	holder.mustRelease()
}

// write appends that many entries to the queue by hand.
func (s *scene) write(count int) {
	s.serving.Lock()
	defer s.serving.Unlock()
	var now struct {
		metav1.ObjectMeta `json:"metadata"`

		Spec struct {
			Waiters []string `json:"waiters"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(s.sendByHandLocked(http.MethodGet, s.key, ""), &now); err != nil {
		s.t.Fatal(err)
	}
	if now.Name == "" || count == 0 {
		return // The lock has been collected.
	}
	annotations, waiters := map[string]any{}, now.Spec.Waiters
	for range count {
		text := s.junkEntry()
		waiters = append(waiters, text)
		numbers := []string{"1", "7", strconv.FormatInt(s.rand.Int64N(1<<54), 10), "x", "", "-1", "99999999999999999999", "9007199254740993"}
		name := fmt.Sprintf("kubelock.dev/waiter-%s-b%d", numbers[s.rand.IntN(len(numbers))], s.rand.IntN(1000))
		annotations[name] = text
	}
	patch := map[string]any{"metadata": map[string]any{"annotations": annotations}}
	if s.kind == store.DistributedLocks {
		patch = map[string]any{"spec": map[string]any{"waiters": waiters}}
	}
	s.sayf("%d entries are written by hand", count)
	body, err := json.Marshal(patch)
	if err != nil {
		s.t.Fatal(err)
	}
	s.mustSendByHandLocked(http.MethodPatch, s.key, string(body))
}
