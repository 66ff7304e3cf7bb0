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

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

func (s *suite) apply(c *kubelock.Client, word string) (string, error) {
	s.Helper()
	return kubelock.NewLock[string](c, key).Apply(s.soon(), func(state string) (string, error) { return state + word, nil })
}

// applyIsOneWrite checks that a free lock is changed by one write, and by two if it has no object, and that each change is a hold: tokens
// go on.
func applyIsOneWrite(s *suite) {
	n := newNetwork()
	c := s.client("a", time.Minute, n.wrap)
	for _, want := range []string{"x", "xx", "xxx"} {
		n.take()
		got, err := s.apply(c, "x")
		s.must(err)
		reads, writes := n.take()
		if created := want == "x"; got != want || !created && writes != 1 || created && writes != 2 || reads > 1 || reads == 1 && !created {
			s.Errorf("Apply gives %q by %d reads and %d writes, want %q", got, reads, writes, want)
		}
	}
	before := s.state(c, "xxx")
	if before.Held {
		s.Error("the lock is held")
	}
	h := s.acquire(c)
	if h.Value() != "xxx" || h.Token() <= before.Token {
		s.Errorf("the next hold has the state %q and the token %d, after %d", h.Value(), h.Token(), before.Token)
	}
	s.release(h)
}

// applyQueues checks that Apply waits for the holder, and that what it makes of the state is there for the next.
func applyQueues(s *suite) {
	held := s.acquire(s.client("holder", time.Minute))
	n := newNetwork()
	applied := make(chan error, 1)
	c := s.client("applies", time.Minute, n.wrap)
	go func() {
		_, err := s.apply(c, " and more")
		applied <- err
	}()
	<-n.written
	acquired := make(chan acquired, 1)
	s.waiter(s.soon(), "next", time.Minute, acquired)
	s.release(held.Update("state"))
	s.must(<-applied)
	next := s.next(acquired)
	if next.held.Value() != "state and more" {
		s.Errorf("the next holder has %q", next.held.Value())
	}
	s.release(next.held)
}

// applyIsAtomic checks that changes of many callers of several clients, beside holds, are each made once.
func applyIsAtomic(s *suite) {
	const clients, callers, rounds = 3, 4, 8
	var group sync.WaitGroup
	for range clients {
		l := kubelock.NewLock[int](s.client("worker", time.Minute), key)
		for range callers {
			group.Go(func() {
				for i := range rounds {
					if _, err := l.Apply(s.soon(), func(n int) (int, error) { return n + 1, nil }); err != nil {
						s.Error(err)
					}
					if i%4 != 0 {
						continue
					}
					if _, err := l.Do(s.soon(), func(_ context.Context, n int) (int, error) { return n + 1, nil }); err != nil {
						s.Error(err)
					}
				}
			})
		}
	}
	group.Wait()
	got, err := kubelock.NewLock[int](s.client("reader", time.Minute), key).Get(s.soon())
	s.must(err)
	if want := clients * callers * (rounds + rounds/4); got.Value != want {
		s.Errorf("%d increments left %d", want, got.Value)
	}
}

// applyError checks that a change that fails is left out.
func applyError(s *suite) {
	c := s.client("a", time.Minute)
	_, err := s.apply(c, "x")
	s.must(err)
	failed := errors.New("failed")
	_, err = kubelock.NewLock[string](c, key).Apply(s.soon(), func(string) (string, error) { return "y", failed })
	s.is(err, failed)
	s.state(c, "x")
}

// applyLostAnswers checks that a change is made once whose request, or its answer, is lost.
func applyLostAnswers(s *suite) {
	n := newNetwork()
	c := s.client("a", time.Minute, n.wrap)
	want := ""
	for i, f := range []fault{loseAnswer, loseRequest, loseAnswer} {
		n.lose(f, 1)
		want = strings.Repeat("x", i+1)
		got, err := s.apply(c, "x")
		s.must(err)
		if got != want {
			s.Errorf("Apply gives %q, want %q", got, want)
		}
	}
	s.state(c, want)
}

// applyTerminating checks that nothing is written in an object that is being deleted.
func applyTerminating(s *suite) {
	n := newNetwork()
	c := s.client("owner", lease, n.wrap)
	_, err := s.apply(c, "old")
	s.must(err)
	s.delete()
	n.take()
	applied := make(chan error, 1)
	go func() {
		_, err := s.apply(c, "new")
		applied <- err
	}()
	s.must(wait.PollUntilContextCancel(s.soon(), 10*time.Millisecond, true, func(context.Context) (bool, error) {
		reads, _ := n.take()
		return reads > 0, nil
	}))
	s.state(c, "old")
	s.patch(`{"metadata":{"finalizers":null}}`)
	s.must(<-applied)
	s.state(c, "new")
}
