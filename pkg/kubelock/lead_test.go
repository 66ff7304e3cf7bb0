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

package kubelock_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// leader is a program that leads in terms.
type leader struct {
	terms chan *kubelock.Held[int] // as they begin
	next  chan error               // what the function returns; its context's error if that ends first
	stop  context.CancelFunc
	ended chan error
}

func startLeader(t *testing.T, c *kubelock.Client) *leader {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	l := &leader{terms: make(chan *kubelock.Held[int], 1), next: make(chan error), stop: stop, ended: make(chan error, 1)}
	go func() {
		l.ended <- kubelock.NewLock[int](c, "leader").Lead(ctx, func(ctx context.Context, held *kubelock.Held[int]) error {
			held.Update(held.Value() + 1)
			l.terms <- held
			select {
			case err := <-l.next:
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return l
}

// TestLeadHandsOver checks that a leader that stops hands the lock to the next one in one write, with
// its state, and that Lead then says that its context has ended.
func TestLeadHandsOver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		requests := &recorder{}
		a := startLeader(t, newClientFor(t, requests.wrap(server.Config()), kubelock.Config{Namespace: kubelocktest.Namespace}))
		first := <-a.terms
		b := startLeader(t, server.NewClient(t, kubelock.Config{}))
		<-time.After(time.Minute) // Twice the lease: it is renewed.
		if err := first.Context().Err(); err != nil || len(b.terms) > 0 {
			t.Fatalf("after a minute the first term has ended (%v), or another has begun", err)
		}
		requests.taken()
		a.stop()
		second := <-b.terms
		if got := requests.taken(); got != "patch" && got != "update" {
			t.Errorf("the first leader's hand-over took these requests: %s; want one write", got)
		}
		if err := <-a.ended; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), `"leader"`) {
			t.Errorf("Lead whose context ended returned %v", err)
		}
		if second.Value() != 2 || second.Token() <= first.Token() {
			t.Errorf("the next term has the state %d and the token %d after %d", second.Value(), second.Token(), first.Token())
		}
		b.stop()
		if err := <-b.ended; err == nil {
			t.Error("it has ended without an error")
		}
	})
}

// TestLeadWaitsForItsFunction cuts a leader off. Its function learns in time that the lock is lost,
// and takes its time; another program leads meanwhile, and the first one after that again.
func TestLeadWaitsForItsFunction(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "leader")
		terms, goOn, ended := make(chan *kubelock.Held[int], 1), make(chan struct{}), make(chan error, 1)
		ctx, stop := context.WithCancel(t.Context())
		go func() {
			ended <- l.Lead(ctx, func(ctx context.Context, held *kubelock.Held[int]) error {
				terms <- held
				<-ctx.Done()
				if late := time.Since(held.Deadline()); late > 0 {
					t.Errorf("the function learned of its end %v after the lease", late)
				}
				if ctx.Err() != nil && !errors.Is(context.Cause(ctx), kubelock.ErrLost) && len(terms) > 0 {
					t.Errorf("the context ended with %v, want ErrLost", context.Cause(ctx))
				}
				<-goOn
				return context.Cause(ctx)
			})
		}()
		first := <-terms
		reconnect := server.Disconnect()
		<-first.Context().Done()
		reconnect()
		other := acquire(t, kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "leader"), kubelock.WithAutoRenew())
		goOn <- struct{}{}
		<-time.After(time.Minute)
		if len(terms) > 0 || len(ended) > 0 {
			t.Fatal("a term has begun, or Lead has ended, while another program leads")
		}
		release(t, other)
		if again := <-terms; again.Token() <= other.Token() {
			t.Errorf("the token is %d after %d", again.Token(), other.Token())
		}
		stop()
		goOn <- struct{}{}
		if err := <-ended; !errors.Is(err, context.Canceled) || errors.Is(err, kubelock.ErrLost) {
			t.Errorf("Lead returned %v, want that its context has ended", err)
		}
		if s, err := l.Get(t.Context()); err != nil || s.Held {
			t.Errorf("after Lead: %+v, %v; want a free lock", s, err)
		}
	})
}

// TestLeadResigns checks a function that returns nil: the program that waits leads next, and one that
// is alone leads again, but not in a loop without a pause.
func TestLeadResigns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		a := startLeader(t, server.NewClient(t, kubelock.Config{}))
		<-a.terms
		b := startLeader(t, server.NewClient(t, kubelock.Config{}))
		synctest.Wait()
		for range 3 {
			a.next <- nil
			<-b.terms
			synctest.Wait()
			<-time.After(2 * time.Second) // For the other's pause.
			b.next <- nil
			<-a.terms
			<-time.After(2 * time.Second)
		}
		b.stop()
		if err := <-b.ended; err == nil {
			t.Error("it has ended without an error")
		}
		before, terms := time.Now(), 0
		for ; time.Since(before) < time.Minute; terms++ {
			a.next <- nil
			<-a.terms
		}
		if terms < 50 || terms > 61 {
			t.Errorf("a function that returns at once led %d times in a minute, want once per second", terms)
		}
		a.stop()
		if err := <-a.ended; err == nil {
			t.Error("it has ended without an error")
		}
		if s, err := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "leader").Get(t.Context()); err != nil || s.Value < terms+7 {
			t.Errorf("the state is %+v, %v after %d terms: it was not written", s, err, terms+7)
		}
	})
}

// TestLeadEndsWithAFailure checks that a failure ends Lead, and that the lock is free then, as it was.
func TestLeadEndsWithAFailure(t *testing.T) {
	t.Parallel()
	failure := errors.New("no such shard")
	for name, test := range map[string]struct {
		fail    func(ctx context.Context) error
		outcome error
	}{
		"at once":           {func(context.Context) error { return failure }, failure},
		"of another's end":  {func(context.Context) error { return context.Canceled }, context.Canceled},
		"after a loss":      {func(ctx context.Context) error { <-ctx.Done(); return failure }, failure},
		"released by it":    {nil, nil},
		"by runtime.Goexit": {func(context.Context) error { runtime.Goexit(); return nil }, nil},
		"by a panic":        {func(context.Context) error { panic("boom") }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "leader")
				var err error
				var panicked any
				done := make(chan struct{})
				go func() {
					defer close(done)
					defer func() { panicked = recover() }()
					err = l.Lead(t.Context(), func(ctx context.Context, held *kubelock.Held[int]) error {
						if test.fail == nil {
							return held.Release(ctx)
						}
						held.Update(7)
						if name == "after a loss" {
							reconnect := server.Disconnect()
							defer reconnect()
						}
						return test.fail(ctx)
					})
				}()
				<-done
				switch {
				case test.outcome != nil && (!errors.Is(err, test.outcome) || errors.Is(err, kubelock.ErrLost)):
					t.Errorf("Lead returned %v, want %v", err, test.outcome)
				case name == "released by it" && (err == nil || !strings.Contains(err.Error(), "was released")):
					t.Errorf("Lead whose function has released the lock returned %v", err)
				case name == "by a panic" && panicked != "boom":
					t.Errorf("recovered %v, want the function's own panic", panicked)
				}
				s, err := l.Get(t.Context())
				if err != nil || s.Held || s.Exists {
					t.Errorf("after it: %+v, %v; want a free lock without state", s, err)
				}
			})
		})
	}
}

// TestLeadEndsWithABadState checks that Lead ends when a term's state cannot be stored.
func TestLeadEndsWithABadState(t *testing.T) {
	t.Parallel()
	l := kubelock.NewLock[any](kubelocktest.NewServer(t).NewClient(t, kubelock.Config{}), "leader")
	err := l.Lead(t.Context(), func(_ context.Context, held *kubelock.Held[any]) error {
		held.Update(func() {})
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "JSON") {
		t.Errorf("Lead returned %v", err)
	}
	if s, err := l.Get(t.Context()); err != nil || s.Held {
		t.Errorf("after it: %+v, %v; want a free lock", s, err)
	}
}

// TestLeadOfAClosedClient checks a client that is closed in a term, in the pause after one, and before Lead.
func TestLeadOfAClosedClient(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		c := server.NewClient(t, kubelock.Config{})
		l := kubelock.NewLock[int](c, "leader")
		err := l.Lead(t.Context(), func(ctx context.Context, _ *kubelock.Held[int]) error {
			go c.Close()
			<-ctx.Done()
			if !errors.Is(context.Cause(ctx), kubelock.ErrClosed) {
				t.Errorf("the context ended with %v, want ErrClosed", context.Cause(ctx))
			}
			return ctx.Err()
		})
		if !errors.Is(err, kubelock.ErrClosed) {
			t.Errorf("Lead whose client was closed returned %v", err)
		}
		if s, err := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{}), "leader").Get(t.Context()); err != nil || !s.Held {
			t.Errorf("after it: %+v, %v; want the lock held until its lease ends", s, err)
		}

		c = server.NewClient(t, kubelock.Config{})
		pausing := startLeader(t, c)
		<-pausing.terms
		pausing.next <- nil
		synctest.Wait()
		before := time.Now()
		c.Close()
		if err := <-pausing.ended; !errors.Is(err, kubelock.ErrClosed) || time.Since(before) > 0 {
			t.Errorf("Lead whose client was closed in a pause returned %v after %v", err, time.Since(before))
		}
		if err := kubelock.NewLock[int](c, "leader").Lead(t.Context(), func(context.Context, *kubelock.Held[int]) error {
			t.Error("a closed client leads")
			return nil
		}); !errors.Is(err, kubelock.ErrClosed) {
			t.Errorf("Lead of a closed client returned %v", err)
		}
	})
}

// TestLeadUnderItself checks that a campaign which would wait for its own term fails at once.
func TestLeadUnderItself(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := kubelock.NewLock[int](kubelocktest.NewServer(t).NewClient(t, kubelock.Config{}), "leader")
		lead := func(ctx context.Context, fn func(context.Context) error) error {
			return l.Lead(ctx, func(ctx context.Context, _ *kubelock.Held[int]) error { return fn(ctx) })
		}
		err := lead(t.Context(), func(ctx context.Context) error {
			return lead(ctx, func(context.Context) error { return nil })
		})
		if !errors.Is(err, kubelock.ErrDeadlock) {
			t.Errorf("Lead in Lead of the same key returned %v, want ErrDeadlock", err)
		}
	})
}
