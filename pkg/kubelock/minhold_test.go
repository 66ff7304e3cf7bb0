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
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// lateness is by how much later than its time a rest may be found to be over: by the watch of the first in the
// queue, or by the server's time.
const lateness = 4 * time.Second

// TestMinHoldRests sees that a lock which is released early belongs to no client until its time is over, that
// this is shown, and that it costs no request.
func TestMinHoldRests(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t := m.T
		var requests tap
		requests.watch(m.server)
		a, b := kubelock.NewLock[string](m.newClient(), "tick"), kubelock.NewLock[string](m.newClient(), "tick")
		held, err := a.TryAcquire(t.Context(), kubelock.WithMinHold(20*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		<-time.After(2 * time.Second)
		requests.taken()
		if err := held.Update("done").Release(t.Context()); err != nil {
			t.Fatal(err)
		}
		if sent := requests.taken(); sent != "patch" {
			t.Errorf("the release sent %q, want one patch", sent)
		}
		for name, l := range map[string]*kubelock.Lock[string]{"its own": a, "another": b} {
			_, err := l.TryAcquire(t.Context())
			if !errors.Is(err, kubelock.ErrNotAcquired) || !strings.Contains(err.Error(), "rests for 18s") {
				t.Errorf("%s client gets %v while the lock rests, want ErrNotAcquired that tells of it", name, err)
			}
			got, err := l.Get(t.Context())
			if err != nil || !got.Held || !got.Resting || got.Value != "done" || got.Holder == "" {
				t.Errorf("%s client is shown %+v, %v, want a lock that rests", name, got, err)
			}
		}
		<-time.After(time.Until(begun.Add(20*time.Second - time.Nanosecond)))
		if _, err := b.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Errorf("just before the end another client gets %v, want ErrNotAcquired", err)
		}
		<-time.After(lateness)
		if got, err := a.Get(t.Context()); err != nil || got.Held || got.Resting {
			t.Errorf("after the end Get shows %+v, %v", got, err)
		}
		next, err := b.TryAcquire(t.Context())
		if err != nil {
			t.Fatalf("after the end: %v", err)
		}
		if next.Value() != "done" || next.Token() <= held.Token() {
			t.Errorf("the next hold has the state %q and the token %d after %d", next.Value(), next.Token(), held.Token())
		}
		release(t, next)
	})
}

// TestMinHoldOfALateRelease sees that a release after its time is as any other.
func TestMinHoldOfALateRelease(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t := m.T
		a, b := kubelock.NewLock[int](m.newClient(), "tick"), kubelock.NewLock[int](m.newClient(), "tick")
		held := acquire(t, a, kubelock.WithMinHold(5*time.Second))
		<-time.After(5 * time.Second)
		release(t, held)
		next, err := b.TryAcquire(t.Context())
		if err != nil {
			t.Fatalf("after a release that was late enough: %v", err)
		}
		release(t, next)
	})
}

// TestMinHoldSendsNothing sees that the client which has let a lock rest has nothing more to do with it.
func TestMinHoldSendsNothing(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t := m.T
		var requests tap
		requests.watch(m.server)
		held := acquire(t, kubelock.NewLock[int](m.newClient(), "tick"), kubelock.WithMinHold(10*time.Second), kubelock.WithAutoRenew())
		release(t, held)
		requests.taken()
		<-time.After(time.Hour)
		if sent := requests.taken(); sent != "" {
			t.Errorf("after the release it sent %q", sent)
		}
	})
}

// TestMinHoldWakesTheQueue lets clients, and a caller of the same one, wait for a lock that is released early.
func TestMinHoldWakesTheQueue(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{3 * time.Second, 25 * time.Second} {
		inMemory(t, func(m memory) {
			t, own := m.T, m.newClient()
			held := acquire(t, kubelock.NewLock[int](own, "tick"), kubelock.WithMinHold(d))
			begun := time.Now()
			type turn struct {
				who string
				at  time.Duration
			}
			var mu sync.Mutex
			var turns []turn
			var all sync.WaitGroup
			wait := func(who string, c *kubelock.Client) {
				all.Go(func() {
					_, err := kubelock.NewLock[int](c, "tick").Do(t.Context(), func(_ context.Context, n int) (int, error) {
						mu.Lock()
						defer mu.Unlock()
						turns = append(turns, turn{who, time.Since(begun)})
						return n + 1, nil
					})
					if err != nil {
						t.Error(err)
					}
				})
				<-time.After(100 * time.Millisecond)
			}
			wait("b", m.newClient())
			wait("own", own)
			<-time.After(time.Second)
			release(t, held.Update(7))
			wait("c", m.newClient())
			all.Wait()
			if got := []string{turns[0].who, turns[1].who, turns[2].who}; !slices.Equal(got, []string{"b", "own", "c"}) && !slices.Equal(got, []string{"b", "c", "own"}) {
				t.Errorf("they have the lock in the order %v, want b first", got)
			}
			for _, turn := range turns {
				if turn.at < d || turn.at > d+lateness {
					t.Errorf("%s has the lock after %v, want %v or a little later", turn.who, turn.at, d)
				}
			}
		})
	}
}

// TestMinHoldEnds sees what ends a rest, and what waits for its end.
func TestMinHoldEnds(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t := m.T
		a, b := kubelock.NewLock[string](m.newClient(), "tick"), kubelock.NewLock[string](m.newClient(), "tick")
		rest := func() (begun time.Time) {
			held := acquire(t, a, kubelock.WithMinHold(20*time.Second))
			begun = time.Now()
			release(t, held.Update("state"))
			return begun
		}
		begun := rest()
		if err := b.Delete(t.Context()); err != nil || time.Since(begun) > time.Second {
			t.Errorf("Delete takes %v: %v", time.Since(begun), err)
		}
		begun = rest()
		got, err := b.Wait(t.Context())
		if err != nil || got.Held || got.Value != "state" || time.Since(begun) < 20*time.Second || time.Since(begun) > 20*time.Second+lateness {
			t.Errorf("Wait returns %+v, %v after %v", got, err, time.Since(begun))
		}
		begun = rest()
		state, err := b.Apply(t.Context(), func(s string) (string, error) { return s + "+", nil })
		if err != nil || state != "state+" || time.Since(begun) < 20*time.Second || time.Since(begun) > 20*time.Second+lateness {
			t.Errorf("Apply makes %q, %v after %v", state, err, time.Since(begun))
		}
		held := acquire(t, a, kubelock.WithMinHold(20*time.Second))
		begun = time.Now()
		waited := make(chan error)
		go func() {
			_, err := b.Wait(t.Context())
			waited <- err
		}()
		<-time.After(time.Second)
		release(t, held)
		if err := <-waited; err != nil || time.Since(begun) < 20*time.Second {
			t.Errorf("Wait that began before the release returns %v after %v", err, time.Since(begun))
		}
	})
}

// TestMinHoldOfUnknownOutcome loses all answers to a client from its release on, until the lock has rested and
// another client has it.
func TestMinHoldOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t := m.T
		var silent atomic.Bool
		config := m.server.Config()
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(req *http.Request) (*http.Response, error) {
				resp, err := next.RoundTrip(req)
				if err != nil || !silent.Load() {
					return resp, err
				}
				_ = resp.Body.Close()
				return nil, io.ErrUnexpectedEOF
			})
		})
		ca, err := kubelock.NewClient(config, kubelock.Config{Namespace: "default", Backend: m.backend})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ca.Close() }()
		a, b := kubelock.NewLock[string](ca, "tick"), kubelock.NewLock[string](m.newClient(), "tick")
		held := acquire(t, a, kubelock.WithMinHold(10*time.Second), kubelock.WithDuration(time.Minute))
		silent.Store(true)
		released := make(chan error)
		go func() { released <- held.Update("done").Release(t.Context()) }()
		next := acquire(t, b)
		if next.Value() != "done" {
			t.Errorf("the state is %q", next.Value())
		}
		silent.Store(false)
		if err := <-released; err != nil {
			t.Errorf("the release ends with %v", err)
		}
		release(t, next)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// TestMinHoldIsChecked gives it what makes no sense.
func TestMinHoldIsChecked(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t, l := m.T, kubelock.NewLock[int](m.newClient(), "tick")
		for name, test := range map[string]struct {
			opts []kubelock.Option
			text string
		}{
			"negative":        {[]kubelock.Option{kubelock.WithMinHold(-1)}, "at least 0"},
			"too long":        {[]kubelock.Option{kubelock.WithMinHold(366 * 24 * time.Hour), kubelock.WithAutoRenew()}, "at most 8760h"},
			"over the lease":  {[]kubelock.Option{kubelock.WithMinHold(31 * time.Second)}, "longer than the lease of 30s"},
			"over the lease,": {[]kubelock.Option{kubelock.WithMinHold(time.Second), kubelock.WithDuration(500 * time.Millisecond)}, "WithAutoRenew"},
		} {
			if _, err := l.Acquire(t.Context(), test.opts...); err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("%s: got %v, want an error that says %q", name, err, test.text)
			}
		}
		if _, err := l.Apply(t.Context(), add(1), kubelock.WithMinHold(time.Second)); err == nil || !strings.Contains(err.Error(), "WithMinHold") {
			t.Errorf("Apply with a min hold: got %v", err)
		}
		held := acquire(t, l, kubelock.WithMinHold(time.Minute), kubelock.WithAutoRenew())
		release(t, held)
		if _, err := l.TryAcquire(t.Context(), kubelock.WithMinHold(0)); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Errorf("got %v, want ErrNotAcquired", err)
		}
	})
}
