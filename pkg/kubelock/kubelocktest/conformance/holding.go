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
	"context"
	"slices"
	"strings"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

func tryAcquireOfAHeldLock(s *suite) {
	h := s.acquire(s.client("a", time.Minute))
	l := kubelock.NewLock[string](s.client("b", time.Minute), key)
	_, err := l.TryAcquire(s.soon())
	s.is(err, kubelock.ErrNotAcquired)
	s.release(h)
	got, err := l.TryAcquire(s.soon())
	s.must(err)
	s.release(got)
}

func acquireWaits(s *suite) {
	h := s.acquire(s.client("a", time.Minute))
	got := make(chan acquired, 1)
	s.waiter(s.soon(), "b", time.Minute, got)
	select {
	case <-got:
		s.Fatal("two hold the lock")
	default:
	}
	s.release(h.Update("from a"))
	next := s.next(got)
	if next.held.Value() != "from a" || next.held.Token() <= h.Token() {
		s.Errorf("the waiter has the state %q and the token %d after %d", next.held.Value(), next.held.Token(), h.Token())
	}
	s.release(next.held)
}

func acquireEndsWithContext(s *suite) {
	h := s.acquire(s.client("worker-a", time.Minute))
	ctx, cancel := context.WithCancel(s.Context())
	got := make(chan acquired, 1)
	s.waiter(ctx, "b", time.Minute, got)
	cancel()
	err := (<-got).err
	s.is(err, kubelock.ErrNotAcquired, context.Canceled)
	for _, word := range []string{key, "worker-a"} {
		if !strings.Contains(err.Error(), word) {
			s.Errorf("the error %q does not say %q", err, word)
		}
	}
	s.release(h)
}

func queueIsFIFO(s *suite) {
	h := s.acquire(s.client("first", time.Minute))
	got := make(chan acquired, 5)
	names := []string{"a", "b", "c", "d", "e"}
	for _, name := range names {
		s.waiter(s.soon(), name, time.Minute, got)
	}
	token := h.Token()
	s.release(h)
	for _, name := range names {
		next := s.next(got)
		if next.who != name || next.held.Token() <= token {
			s.Fatalf("%s has the lock with token %d, want %s and more than %d", next.who, next.held.Token(), name, token)
		}
		token = next.held.Token()
		s.release(next.held)
	}
}

func callersAreServed(s *suite) {
	c := s.client("a", time.Minute)
	l := kubelock.NewLock[[]int](c, key)
	h, err := l.Acquire(s.soon())
	s.must(err)
	done := make(chan error, 5)
	for i := range 5 {
		go func() {
			_, err := l.Do(s.soon(), func(_ context.Context, list []int) ([]int, error) { return append(list, i), nil })
			done <- err
		}()
	}
	s.must(h.Release(s.soon()))
	for range 5 {
		s.must(<-done)
	}
	got, err := l.Get(s.soon())
	s.must(err)
	slices.Sort(got.Value)
	if !slices.Equal(got.Value, []int{0, 1, 2, 3, 4}) || got.Held {
		s.Errorf("five callers left %v, held: %v", got.Value, got.Held)
	}
}

func waiterLeaves(s *suite) {
	h := s.acquire(s.client("a", time.Minute))
	ctx, cancel := context.WithCancel(s.Context())
	left, got := make(chan acquired, 1), make(chan acquired, 1)
	s.waiter(ctx, "b", time.Minute, left)
	s.waiter(s.soon(), "c", time.Minute, got)
	cancel()
	s.is((<-left).err, kubelock.ErrNotAcquired)
	s.release(h)
	s.release(s.next(got).held)
}

func closedWaiterLeaves(s *suite) {
	h := s.acquire(s.client("a", time.Minute))
	left := make(chan acquired, 1)
	c, _ := s.waiter(s.soon(), "b", time.Minute, left)
	s.must(c.Close())
	s.is((<-left).err, kubelock.ErrClosed)
	s.release(h)
	h, err := kubelock.NewLock[string](s.client("c", time.Minute), key).TryAcquire(s.soon())
	s.must(err) // Nobody is before it.
	s.release(h)
}

func deadWaiter(s *suite) {
	h := s.acquire(s.client("a", 3*time.Second)) // For so long a waiter relies on being told.
	dead, got := make(chan acquired, 1), make(chan acquired, 1)
	ctx, dies := context.WithCancel(s.soon())
	_, n := s.waiter(ctx, "dead", time.Hour, dead)
	n.lose(loseEverything, 0)
	dies() // It cannot leave the queue.
	s.is((<-dead).err, kubelock.ErrNotAcquired)
	s.waiter(s.soon(), "alive", time.Hour, got)
	s.release(h)
	s.release(s.next(got).held) // After the grace; a lease would take an hour.
}

func tokensIncrease(s *suite) {
	clients := []*kubelock.Client{s.client("a", time.Minute), s.client("b", time.Minute)}
	var last int64
	for i := range 10 {
		h := s.acquire(clients[i/2%2])
		if h.Token() <= last {
			s.Fatalf("the token %d follows %d", h.Token(), last)
		}
		last = h.Token()
		s.must(h.Renew(s.soon()))
		if h.Token() != last {
			s.Fatalf("a renewal changed the token %d to %d", last, h.Token())
		}
		s.release(h)
		if i == 4 {
			s.must(kubelock.NewLock[string](clients[0], key).Delete(s.soon()))
		}
	}
}

func expiredHoldIsTakenOver(s *suite) {
	dies := s.client("dies", 2*time.Second)
	h := s.acquire(dies)
	s.must(h.Update("kept").Save(s.soon()))
	got := make(chan acquired, 1)
	s.waiter(s.soon(), "b", time.Minute, got)
	s.must(dies.Close())
	next := s.next(got)
	if early := time.Until(h.Deadline()); early > 0 {
		s.Errorf("the lock was taken over %v before the deadline", early)
	}
	if next.held.Value() != "kept" || next.held.Token() <= h.Token() {
		s.Errorf("the next holder has the state %q and the token %d after %d", next.held.Value(), next.held.Token(), h.Token())
	}
	s.release(next.held)
}

func shortLeases(s *suite) {
	dies := s.client("dies", time.Minute)
	before := time.Now()
	h := s.acquire(dies, kubelock.WithDuration(300*time.Millisecond))
	if lease := h.Deadline().Sub(before); lease < 300*time.Millisecond || lease > 300*time.Millisecond+time.Since(before) {
		s.Errorf("the lease lasts for %v", lease)
	}
	s.must(dies.Close())
	next := s.acquire(s.client("b", time.Minute))
	if early := time.Until(h.Deadline()); early > 0 {
		s.Errorf("the lock was taken over %v before the deadline", early)
	}
	s.release(next)
}

func lateRelease(s *suite) {
	c := s.client("a", time.Minute)
	h := s.acquire(c, kubelock.WithDuration(200*time.Millisecond))
	<-h.Context().Done()
	s.is(context.Cause(h.Context()), kubelock.ErrLost)
	s.is(h.Update("late").Release(s.soon()), kubelock.ErrLost)
	if got := s.state(c, ""); got.Held {
		s.Error("the lock is still held")
	}
}

func lostHold(s *suite) {
	h := s.acquire(s.client("a", time.Minute), kubelock.WithDuration(200*time.Millisecond))
	<-h.Context().Done()
	next := s.acquire(s.client("b", time.Minute))
	s.is(h.Renew(s.soon()), kubelock.ErrLost)
	s.is(h.Update("late").Save(s.soon()), kubelock.ErrLost)
	s.is(h.Release(s.soon()), kubelock.ErrLost)
	s.release(next.Update("right"))
	s.state(s.client("c", time.Minute), "right")
}

func renewMovesDeadline(s *suite) {
	h := s.acquire(s.client("a", time.Minute))
	before := h.Deadline()
	s.must(h.Renew(s.soon()))
	if !h.Deadline().After(before) {
		s.Errorf("the deadline %v became %v", before, h.Deadline())
	}
	s.release(h)
}

func autoRenew(s *suite) {
	h := s.acquire(s.client("a", 2*time.Second), kubelock.WithAutoRenew())
	first := h.Deadline()
	ctx, cancel := context.WithDeadline(s.Context(), first.Add(500*time.Millisecond))
	defer cancel()
	_, err := kubelock.NewLock[string](s.client("b", time.Minute), key).Acquire(ctx)
	s.is(err, kubelock.ErrNotAcquired, context.DeadlineExceeded)
	if !h.Deadline().After(first) || h.Context().Err() != nil {
		s.Errorf("the hold until %v lasts until %v: %v", first, h.Deadline(), context.Cause(h.Context()))
	}
	s.release(h)
}

func closedClient(s *suite) {
	c := s.client("a", time.Minute)
	h := s.acquire(c, kubelock.WithDuration(time.Second))
	s.must(c.Close())
	l := kubelock.NewLock[string](c, key)
	_, err := l.TryAcquire(s.soon())
	s.is(err, kubelock.ErrClosed)
	_, err = l.Wait(s.soon())
	s.is(err, kubelock.ErrClosed)
	s.is(h.Release(s.soon()), kubelock.ErrClosed)
	s.release(s.acquire(s.client("b", time.Minute)))
}

func requestsAreFew(s *suite) {
	n := newNetwork()
	c := s.client("a", time.Minute, n.wrap)
	h := s.acquire(c)
	if reads, writes := n.take(); reads != 1 || writes != 1 {
		s.Errorf("the first acquisition took %d reads and %d writes", reads, writes)
	}
	s.release(h.Update("x"))
	s.release(s.acquire(c).Update("y"))
	if reads, writes := n.take(); reads != 0 || writes != 3 {
		s.Errorf("a release, an acquisition and a release took %d reads and %d writes", reads, writes)
	}
}

func handOffIsOneWrite(s *suite) {
	a := newNetwork()
	h := s.acquire(s.client("a", time.Minute, a.wrap))
	got := make(chan acquired, 1)
	s.waiter(s.soon(), "b", time.Minute, got)
	a.take()
	s.release(h)
	next := s.next(got)
	if _, writes := a.take(); writes > 2 { // One that does not know of the waiter, at most.
		s.Errorf("the hand-off took %d writes", writes)
	}
	s.release(next.held)
}

func lostAnswers(s *suite) { s.resolves(loseAnswer) }

func lostRequests(s *suite) { s.resolves(loseRequest) }

// resolves checks that each kind of write is done once, whatever becomes of its first
// attempt.
func (s *suite) resolves(f fault) {
	n := newNetwork()
	c := s.client("a", time.Minute, n.wrap)
	n.lose(f, 1)
	h := s.acquire(c)
	n.lose(f, 1)
	s.must(h.Update("saved").Save(s.soon()))
	n.lose(f, 1)
	s.release(h.Update("released"))
	if got := s.state(c, "released"); got.Held {
		s.Error("the lock is still held")
	}
}

func unknownOutcome(s *suite) {
	n := newNetwork()
	c := s.client("a", time.Minute, n.wrap)
	h := s.acquire(c)
	n.lose(loseEverything, 0)
	ctx, cancel := context.WithTimeout(s.Context(), 500*time.Millisecond)
	defer cancel()
	s.is(h.Update("perhaps").Release(ctx), kubelock.ErrUnknownOutcome)
	n.lose(none, 0)
	s.release(s.acquire(s.client("b", time.Minute)))
	s.state(s.client("c", time.Minute), "perhaps")
}
