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
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

func stateIsKept(s *suite) {
	a, b := s.client("a", time.Minute), s.client("b", time.Minute)
	h := s.acquire(a)
	if h.Exists() || h.Value() != "" {
		s.Fatalf("a new lock has the state %q", h.Value())
	}
	s.release(h.Update("é <&> \"quoted\""))
	h = s.acquire(b)
	if !h.Exists() || h.Value() != "é <&> \"quoted\"" {
		s.Fatalf("the next holder has the state %q", h.Value())
	}
	s.release(h) // Without a change.
	s.state(a, "é <&> \"quoted\"")
}

func zeroValuesAreState(s *suite) {
	c := s.client("a", time.Minute)
	keepsZero[bool](s, c, "bool")
	keepsZero[int](s, c, "int")
	keepsZero[string](s, c, "string")
	keepsZero[*int](s, c, "pointer")
}

func keepsZero[T any](s *suite, c *kubelock.Client, name string) {
	var zero T
	l := kubelock.NewLock[T](c, name)
	h, err := l.Acquire(s.soon())
	s.must(err)
	s.must(h.Update(zero).Release(s.soon()))
	got, err := l.Get(s.soon())
	s.must(err)
	if !got.Exists {
		s.Errorf("the zero %s is no state", name)
	}
}

func clearLeavesNoState(s *suite) {
	c := s.client("a", time.Minute)
	s.release(s.acquire(c).Update("x"))
	s.state(c, "x")
	s.release(s.acquire(c).Clear())
	s.state(c, "")
}

func saveKeepsTheLock(s *suite) {
	c := s.client("a", time.Minute)
	h := s.acquire(c)
	s.must(h.Update("saved").Save(s.soon()))
	if got := s.state(s.client("b", time.Minute), "saved"); !got.Held || got.Holder != "a" || got.Token != h.Token() {
		s.Fatalf("after Save the lock is %+v", got)
	}
	s.release(h)
	s.state(c, "saved")
}

// limits are how many bytes of JSON each backend documents to keep.
var limits = map[kubelock.Backend]int{kubelock.DistributedLocks: 1 << 20, kubelock.ConfigMaps: 900 << 10, kubelock.Leases: 200 << 10}

func stateTooLarge(s *suite) {
	n := newNetwork()
	c := s.client("a", time.Minute, n.wrap)
	h := s.acquire(c)
	n.take()
	s.is(h.Update(strings.Repeat("x", limits[s.env.Backend])).Save(s.soon()), kubelock.ErrValueTooLarge) // With its quotes.
	if _, writes := n.take(); writes != 0 {
		s.Errorf("%d writes were sent", writes)
	}
	s.release(h.Update("small"))
	s.state(c, "small")
}

func largestStateFits(s *suite) {
	a, b := s.client("a", time.Minute), s.client("b", time.Minute)
	largest := strings.Repeat("x", limits[s.env.Backend]-2)
	h := s.acquire(a)
	s.must(h.Update(largest).Save(s.soon()))
	s.release(h.Update("y" + largest[1:]))
	h = s.acquire(b)
	if h.Value() != "y"+largest[1:] {
		s.Errorf("got %d bytes back", len(h.Value()))
	}
	s.release(h)
}

func keysAreNotConfused(s *suite) {
	c := s.client("a", time.Minute)
	keys := []string{"orders", "Orders", "orders/1", "orders-1", "orders 1", "bestellungen/ä", strings.Repeat("k", 253)}
	for _, k := range keys {
		h, err := kubelock.NewLock[string](c, k).TryAcquire(s.soon())
		s.must(err)
		s.must(h.Update(k).Save(s.soon()))
	}
	for _, k := range keys {
		got, err := kubelock.NewLock[string](c, k).Get(s.soon())
		s.must(err)
		if got.Value != k || !got.Held {
			s.Errorf("the key %q has the lock %+v", k, got)
		}
	}
}

func doIsAtomic(s *suite) {
	const clients, rounds = 4, 10
	var group sync.WaitGroup
	var mu sync.Mutex // protects tokens
	tokens := map[int64]bool{}
	for range clients {
		c := s.client("worker", time.Minute)
		group.Go(func() {
			for range rounds {
				h, err := kubelock.NewLock[int](c, key).Acquire(s.soon())
				if err != nil {
					s.Error(err)
					return
				}
				mu.Lock()
				tokens[h.Token()] = true
				mu.Unlock()
				if err := h.Update(h.Value() + 1).Release(s.soon()); err != nil {
					s.Error(err)
				}
				if _, err := kubelock.NewLock[int](c, key).Do(s.soon(), func(_ context.Context, n int) (int, error) { return n + 1, nil }); err != nil {
					s.Error(err)
				}
			}
		})
	}
	group.Wait()
	got, err := kubelock.NewLock[int](s.client("reader", time.Minute), key).Get(s.soon())
	s.must(err)
	if want := 2 * clients * rounds; got.Value != want || len(tokens) != clients*rounds {
		s.Errorf("%d increments left %d; %d holds had %d tokens", want, got.Value, clients*rounds, len(tokens))
	}
}

func doError(s *suite) {
	c := s.client("a", time.Minute)
	s.release(s.acquire(c).Update("before"))
	failed := errors.New("failed")
	_, err := kubelock.NewLock[string](c, key).Do(s.soon(), func(context.Context, string) (string, error) { return "after", failed })
	s.is(err, failed)
	if got := s.state(c, "before"); got.Held {
		s.Error("the lock is still held")
	}
}

func doPanic(s *suite) {
	c := s.client("a", time.Minute)
	func() {
		defer func() {
			if recover() != "on purpose" {
				s.Error("the panic did not go on")
			}
		}()
		_, _ = kubelock.NewLock[string](c, key).Do(s.soon(), func(context.Context, string) (string, error) { panic("on purpose") })
	}()
	if got := s.state(c, ""); got.Held {
		s.Error("the lock is still held")
	}
}

func waitFree(s *suite) {
	c := s.client("a", time.Minute)
	l := kubelock.NewLock[string](c, key)
	if got, err := l.Wait(s.soon()); err != nil || got.Exists || got.Held {
		s.Fatalf("waiting for a lock that nobody has had gave %+v, %v", got, err)
	}
	s.release(s.acquire(c).Update("x"))
	if got, err := l.Wait(s.soon()); err != nil || got.Value != "x" || got.Held {
		s.Fatalf("waiting for a free lock gave %+v, %v", got, err)
	}
}

// wait waits in the background, and returns when the lock is watched.
func (s *suite) wait(to chan<- kubelock.Snapshot[string]) {
	s.Helper()
	n := newNetwork()
	l := kubelock.NewLock[string](s.client("watcher", time.Minute, n.wrap), key)
	go func() {
		got, err := l.Wait(s.soon())
		if err != nil {
			s.Error(err)
		}
		to <- got
	}()
	for reads := 0; reads < 2; { // The read, and then the watch.
		if s.Context().Err() != nil || s.Failed() {
			return
		}
		more, _ := n.take()
		reads += more
	}
}

func waitRelease(s *suite) {
	c := s.client("a", time.Minute)
	h := s.acquire(c)
	got := make(chan kubelock.Snapshot[string], 1)
	s.wait(got)
	s.release(h.Update("done"))
	if g := <-got; g.Value != "done" || !g.Exists {
		s.Errorf("the wait gave %+v", g)
	}
}

func waitExpiry(s *suite) {
	c := s.client("a", time.Second)
	h := s.acquire(c)
	s.must(h.Update("last").Save(s.soon()))
	got := make(chan kubelock.Snapshot[string], 1)
	s.wait(got)
	if g := <-got; g.Value != "last" || g.Held || time.Now().Before(h.Deadline()) {
		s.Errorf("the wait gave %+v, %v before the deadline", g, time.Until(h.Deadline()))
	}
}

func deleteRemoves(s *suite) {
	c := s.client("a", time.Minute)
	h := s.acquire(c)
	first := h.Token()
	s.release(h.Update("x"))
	l := kubelock.NewLock[string](c, key)
	s.must(l.Delete(s.soon()))
	s.state(c, "")
	s.must(l.Delete(s.soon())) // Of nothing.
	h = s.acquire(c)
	if h.Exists() || h.Token() <= first {
		s.Errorf("after a deletion the state is %q and the token %d, was %d", h.Value(), h.Token(), first)
	}
	s.release(h)
}

func deleteHandsOn(s *suite) {
	h := s.acquire(s.client("a", time.Minute)).Update("x")
	n := newNetwork()
	deleter := s.client("b", time.Minute, n.wrap)
	deleted := make(chan error, 1)
	go func() { deleted <- kubelock.NewLock[string](deleter, key).Delete(s.soon()) }()
	select {
	case <-n.written:
	case <-s.soon().Done():
		s.Fatal("the deletion does not queue")
	}
	got := make(chan acquired, 1)
	s.waiter(s.soon(), "c", time.Minute, got)
	s.release(h)
	s.must(<-deleted)
	next := s.next(got)
	if next.held.Exists() {
		s.Errorf("the waiter behind a deletion has the state %q", next.held.Value())
	}
	s.release(next.held)
}
