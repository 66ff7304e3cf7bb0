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

package conformance

import (
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

func minHoldKeepsTheLock(s *suite) {
	const d = 4 * time.Second
	a, b := s.client("a", time.Minute), s.client("b", time.Minute)
	h := s.acquire(a, kubelock.WithMinHold(d))
	begun := time.Now()
	s.release(h.Update("done"))
	if got := s.state(b, "done"); time.Since(begun) < d && (!got.Held || !got.Resting || got.Holder != "a") {
		s.Errorf("after a release within the minimal time, Get shows %+v", got)
	}
	for _, c := range []*kubelock.Client{a, b} {
		next, err := kubelock.NewLock[string](c, key).TryAcquire(s.soon())
		if at := time.Since(begun); err == nil && at < d {
			s.Fatalf("a client has the lock %v after the begin of a hold of at least %v", at, d)
		} else if err != nil {
			s.is(err, kubelock.ErrNotAcquired)
			continue
		}
		s.release(next) // The machine is slow.
	}
	next := s.acquire(b)
	if at := time.Since(begun); at < d {
		s.Errorf("a waiter has the lock after %v, want at least %v", at, d)
	}
	if next.Value() != "done" || next.Token() <= h.Token() {
		s.Errorf("the next hold has the state %q and the token %d after %d", next.Value(), next.Token(), h.Token())
	}
	s.release(next)
	if got := s.state(a, "done"); got.Held || got.Resting {
		s.Errorf("after a release without a minimal time, Get shows %+v", got)
	}
}

func minHoldWakesTheQueue(s *suite) {
	const d = 4 * time.Second
	a := s.client("a", time.Hour)
	h := s.acquire(a, kubelock.WithMinHold(d))
	begun := time.Now()
	got := make(chan acquired, 2)
	s.waiter(s.soon(), "b", time.Minute, got)
	s.waiter(s.soon(), "c", time.Minute, got)
	s.release(h.Update("done"))
	for _, who := range []string{"b", "c"} {
		next := s.next(got)
		if at := time.Since(begun); next.who != who || at < d {
			s.Errorf("%s has the lock after %v, want %s and at least %v", next.who, at, who, d)
		}
		if next.held.Value() != "done" {
			s.Errorf("%s has the state %q", next.who, next.held.Value())
		}
		s.release(next.held)
	}
}

func deleteEndsARest(s *suite) {
	a, b := s.client("a", time.Minute), s.client("b", time.Minute)
	s.release(s.acquire(a, kubelock.WithMinHold(time.Hour), kubelock.WithAutoRenew()).Update("done"))
	s.must(kubelock.NewLock[string](b, key).Delete(s.soon()))
	s.state(a, "")
	s.release(s.acquire(b))
}
