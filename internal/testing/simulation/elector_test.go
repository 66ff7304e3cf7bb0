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
	"net/http"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// elected has a leader elector of client-go hold the Lease, on a node whose clock is wrong. The elector
// dies. Clients try to get the lock for a moment from time to time.
//
// No client gets it while the elector lives. One gets it when the clients have observed the Lease for as
// long as the elector's lease.
func (s *scene) elected() {
	seconds := s.randomBetween(2, 120)
	lease := time.Duration(seconds) * time.Second
	off := span(s.rand, -3*time.Hour, 3*time.Hour)
	identity := "node_elector"
	if s.rand.IntN(2) == 0 {
		identity = "rest-api-7d4b9_elector" // It is no rest.
	}
	spec := func() map[string]any {
		now := metav1.NewMicroTime(time.Now().Add(off))
		return map[string]any{"holderIdentity": identity, "leaseDurationSeconds": seconds, "acquireTime": now, "renewTime": now, "leaseTransitions": s.randomBetween(0, 3)}
	}
	send := func(method, name string, obj map[string]any) {
		body, err := json.Marshal(obj)
		if err != nil {
			s.t.Fatal(err)
		}
		s.serving.Lock()
		defer s.serving.Unlock()
		s.mustSendByHandLocked(method, name, string(body))
	}
	send(http.MethodPost, "", map[string]any{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": map[string]any{"name": s.key}, "spec": spec()})
	s.sayf("an elector has a Lease of %v, its clock is off by %v", lease, off)

	var mu sync.Mutex // protects dead and got
	var dead, got time.Time
	interval := span(s.rand, 5*time.Second, 90*time.Second)
	n := s.randomBetween(1, 3)
	stop := make(chan struct{})
	var users sync.WaitGroup
	for range n {
		m := s.join(kubelock.Config{})
		begin, patience := span(s.rand, 0, interval), span(s.rand, time.Second, 4*time.Second)
		if s.rand.IntN(2) == 0 {
			patience = 0
		}
		users.Go(func() {
			for pass(begin); !s.over(); pass(interval) {
				select {
				case <-stop:
					return
				default:
				}
				held, err := m.tryBriefly(patience)
				if err != nil {
					continue
				}
				t := &turn{member: m, held: held, b: s.believe(m.node, s.key, held)}
				mu.Lock()
				if dead.IsZero() {
					s.violatedf("invariant of scenes: %s has the Lease of an elector that lives", m.name)
				}
				if got.IsZero() {
					got = time.Now()
				}
				mu.Unlock()
				t.mustRelease()
				return
			}
		})
	}
	lives := span(s.rand, 0, 3*lease)
	for end := time.Now().Add(lives); time.Now().Before(end) && !s.over(); {
		pass(lease / 3)
		change := spec()
		delete(change, "acquireTime")
		send(http.MethodPatch, s.key, map[string]any{"spec": change})
	}
	mu.Lock()
	dead = time.Now()
	mu.Unlock()
	s.sayf("the elector dies")
	// The time until the first client looks, the lease, and the time until a client looks again.
	bound := lease + 2*(interval+slack) + slack
	for end := time.Now().Add(bound); !s.over(); pass(100 * time.Millisecond) {
		mu.Lock()
		had := !got.IsZero()
		mu.Unlock()
		if had {
			break
		}
		if time.Now().After(end) {
			s.violatedf("invariant of scenes: %d clients that look each %v have not had the Lease of a dead elector for %v", n, interval, bound)
		}
	}
	close(stop)
	users.Wait()
}

// tryBriefly tries to acquire the lock, or waits for it for a moment.
func (m *member) tryBriefly(patience time.Duration) (*kubelock.Held[string], error) {
	if patience == 0 {
		return m.lock.TryAcquire(m.ctx)
	}
	ctx, cancel := context.WithTimeout(m.ctx, patience)
	defer cancel()
	return m.lock.Acquire(ctx)
}
