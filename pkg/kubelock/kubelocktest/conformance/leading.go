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
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// leading is a program that leads.
type leading struct {
	terms chan *kubelock.Held[int] // as they begin
	stop  context.CancelFunc
	ended chan error
}

// lead leads by a client, until it is stopped. Each term adds one to the state.
func (s *suite) lead(c *kubelock.Client) *leading {
	s.Helper()
	ctx, stop := context.WithCancel(s.soon())
	l := &leading{terms: make(chan *kubelock.Held[int], 1), stop: stop, ended: make(chan error, 1)}
	go func() {
		l.ended <- kubelock.NewLock[int](c, key).Lead(ctx, func(ctx context.Context, h *kubelock.Held[int]) error {
			h.Update(h.Value() + 1)
			l.terms <- h
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	return l
}

// term is the leader's next term.
func (s *suite) term(l *leading) *kubelock.Held[int] {
	s.Helper()
	select {
	case h := <-l.terms:
		return h
	case err := <-l.ended:
		s.Fatalf("the leader has ended: %v", err)
	}
	return nil
}

func leadHandsOver(s *suite) {
	a, n := newNetwork(), newNetwork()
	first := s.lead(s.client("a", time.Minute, a.wrap))
	h := s.term(first)
	second := s.lead(s.client("b", time.Minute, n.wrap))
	select {
	case <-n.written:
	case <-s.soon().Done():
		s.Fatal("the second leader does not queue")
	}
	a.take()
	first.stop()
	next := s.term(second)
	s.is(<-first.ended, context.Canceled)
	if _, writes := a.take(); writes > 2 { // One that does not know of the waiter, at most.
		s.Errorf("the hand-over took %d writes", writes)
	}
	if next.Value() != 2 || next.Token() <= h.Token() { // Its own term is counted.
		s.Errorf("the second term has the state %d and the token %d, after %d", next.Value(), next.Token(), h.Token())
	}
	second.stop()
	s.is(<-second.ended, context.Canceled)
}

func leadOutlastsALoss(s *suite) {
	n := newNetwork()
	l := s.lead(s.client("a", time.Second, n.wrap))
	h := s.term(l)
	n.lose(loseEverything, 0)
	<-h.Context().Done()
	n.lose(none, 0)
	if again := s.term(l); again.Token() <= h.Token() {
		s.Errorf("the token is %d after %d", again.Token(), h.Token())
	}
	l.stop()
	if err := <-l.ended; !errors.Is(err, context.Canceled) {
		s.Errorf("the leader has ended with %v", err)
	}
}
