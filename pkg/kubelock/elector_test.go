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
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	coordinationv1client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// section is what only one of many may be in.
type section struct {
	t *testing.T

	mu      sync.Mutex // protects the fields below
	inside  string
	last    string    // who was in it before
	left    time.Time // when that one left it
	free    time.Time // before which its lease does not end
	counter int
	changes map[string]int // from one kind of client to another
	done    chan struct{}  // closed after enough changes
}

// hands is how often the section has to pass from one client to another, and crossings
// how often it has to pass from a client of the one kind to one of the other, in each
// direction.
const (
	hands     = 200
	crossings = 20
)

// enter says that a client is in the section.
func (s *section) enter(kind, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	who := kind + " " + name
	if s.inside != "" {
		s.t.Errorf("%s is in the section while %s is", who, s.inside)
	}
	if early := time.Until(s.free); early > 0 {
		s.t.Errorf("%s is in the section %v before the lease of %s ends", who, early, s.last)
	}
	if s.last != "" && s.last != who {
		var before string
		_, _ = fmt.Sscan(s.last, &before)
		s.changes[before+" to "+kind]++
		s.changes["all"]++
	}
	s.inside = who
	s.counter++
}

// dead says that whoever is in the section dies there. Its lease has begun after the
// one before it had left.
func (s *section) dead(lease time.Duration) {
	s.mu.Lock()
	until := s.left.Add(lease)
	s.mu.Unlock()
	s.leave(until)
}

// leave says that it has left it. until is when its lease ends, if it does not give
// that up.
func (s *section) leave(until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last, s.inside, s.left, s.free = s.inside, "", time.Now(), until
	if s.changes["all"] >= hands && s.changes["elector to kubelock"] >= crossings && s.changes["kubelock to elector"] >= crossings {
		select {
		case <-s.done:
		default:
			close(s.done)
		}
	}
}

// crashes is how often, of a hundred, a client dies instead of giving up its lease.
const crashes = 4

// TestElectorsAndClientsExcludeEachOther lets client-go's leader election and kubelock
// compete for one Lease. Some die while they hold it.
func TestElectorsAndClientsExcludeEachOther(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	s := &section{t: t, changes: map[string]int{}, done: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var all sync.WaitGroup
	for i := range 3 {
		all.Go(func() {
			for life := 0; ctx.Err() == nil && !s.over(); life++ {
				s.elector(ctx, ns, fmt.Sprintf("%d.%d", i, life))
			}
		})
		all.Go(func() {
			for life := 0; ctx.Err() == nil && !s.over(); life++ {
				s.client(ctx, ns, fmt.Sprintf("%d.%d", i, life))
			}
		})
	}
	all.Wait()
	t.Logf("%d times in the section, changes of hands: %v", s.counter, s.changes)
	if !s.over() {
		t.Errorf("want %d changes of hands, and %d from one kind to the other", hands, crossings)
	}
}

func (s *section) over() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// stay is how long somebody is in the section, and away how long out of it.
func stay() time.Duration { return rand.N(5 * time.Millisecond) }
func away() time.Duration { return rand.N(100 * time.Millisecond) }

// elector is the life of a program that leads by client-go's election. It is quick to
// try again, which costs many requests.
func (s *section) elector(ctx context.Context, ns, name string) {
	const lease = 3 * time.Second
	cs, err := kubernetes.NewForConfig(env.Config)
	if err != nil {
		s.t.Error(err)
		return
	}
	for ctx.Err() == nil && !s.over() {
		<-time.After(away())
		term, resign := context.WithCancel(ctx)
		dies := rand.N(100) < crashes
		led := make(chan struct{})
		e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Namespace: ns, Name: "shared"},
				Client:     cs.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: name},
			},
			LeaseDuration: lease, RenewDeadline: 2 * time.Second, RetryPeriod: 20 * time.Millisecond,
			ReleaseOnCancel: !dies,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(leading context.Context) {
					defer close(led)
					defer resign()
					if leading.Err() != nil {
						return
					}
					s.enter("elector", name)
					select {
					case <-time.After(stay()):
					case <-leading.Done():
					}
					if dies {
						s.dead(lease)
					} else {
						s.leave(time.Time{})
					}
				},
				OnStoppedLeading: func() {},
			},
		})
		if err != nil {
			resign()
			s.t.Error(err)
			return
		}
		e.Run(term)
		resign()
		if ctx.Err() == nil { // Then it has led.
			<-led
		}
		if dies {
			return
		}
	}
}

// client is the life of a program that uses kubelock.
func (s *section) client(ctx context.Context, ns, name string) {
	c, err := kubelock.NewClient(env.Config, kubelock.Config{
		Namespace: ns, Backend: kubelock.Leases, Identity: "client-" + name, LockDuration: 3 * time.Second,
	})
	if err != nil {
		s.t.Error(err)
		return
	}
	defer func() { _ = c.Close() }() // Always nil.
	l := kubelock.NewLock[int](c, "shared")
	for ctx.Err() == nil && !s.over() {
		<-time.After(away())
		held, err := l.Acquire(ctx)
		if err != nil {
			s.t.Errorf("%s: %v", name, err)
			return
		}
		s.enter("kubelock", name)
		select {
		case <-time.After(stay()):
		case <-held.Context().Done():
		}
		if rand.N(100) < crashes {
			s.leave(held.Deadline())
			return
		}
		s.leave(time.Time{})
		if err := held.Update(held.Value() + 1).Release(ctx); err != nil {
			s.t.Errorf("%s: %v", name, err)
		}
	}
}

// turn is a program that leads once.
type turn struct {
	leads chan struct{} // closed when it does
	quit  func()        // has it stop, or die, and returns when it has
}

// turnLease is the lease of a turn.
const turnLease = 15 * time.Second

// electedTurn is that of a program with client-go's election and its usual times.
func (s *section) electedTurn(leases coordinationv1client.LeasesGetter, name string, dies bool) turn {
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: kubelocktest.Namespace, Name: "leader"}, Client: leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: name},
	}
	ctx, cancel := context.WithCancel(s.t.Context())
	leads, ended := make(chan struct{}), make(chan struct{})
	e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: turnLease, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		ReleaseOnCancel: !dies,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				s.enter("elector", name)
				close(leads)
			},
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		defer close(ended)
		e.Run(ctx)
	}()
	return turn{leads, func() {
		var until time.Time
		if dies {
			reader := &resourcelock.LeaseLock{LeaseMeta: lock.LeaseMeta, Client: leases} // The elector's own keeps what it reads.
			now, _, err := reader.Get(s.t.Context())
			if err != nil {
				s.t.Fatal(err)
			}
			until = now.RenewTime.Add(turnLease)
		}
		s.leave(until)
		cancel()
		<-ended
	}}
}

// ledTurn is that of a program that calls Lead.
func (s *section) ledTurn(c *kubelock.Client, name string, dies bool) turn {
	ctx, cancel := context.WithCancel(s.t.Context())
	leads, ended := make(chan struct{}), make(chan error, 1)
	led := sync.OnceFunc(func() { close(leads) }) // After a loss it leads again.
	go func() {
		ended <- kubelock.NewLock[int](c, "leader").Lead(ctx, func(ctx context.Context, held *kubelock.Held[int]) error {
			s.enter("kubelock", name)
			led()
			<-ctx.Done()
			if dies {
				s.leave(held.Deadline())
			} else {
				s.leave(time.Time{})
			}
			return ctx.Err()
		})
	}()
	return turn{leads, func() {
		defer cancel()
		want := kubelock.ErrClosed
		if dies {
			_ = c.Close() // Always nil. Its lease stays.
		} else {
			want = context.Canceled
			cancel()
		}
		if err := <-ended; !errors.Is(err, want) {
			s.t.Errorf("Lead of %s returned %v, want %v", name, err, want)
		}
	}}
}

// TestLeadAndElectorsExcludeEachOther has Lock.Lead and client-go's elector lead in turns by one Lease. Each waits
// for several leases while the other one leads, and leads after that has stopped, and after that has died.
func TestLeadAndElectorsExcludeEachOther(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for i, first := range []string{"elector", "kubelock"} {
		t.Run(first+" first", func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				const turns = 8
				server := kubelocktest.NewServer(t)
				leases := kubernetes.NewForConfigOrDie(server.Config()).CoordinationV1()
				s := &section{t: t, changes: map[string]int{}, done: make(chan struct{})}
				dies := func(n int) bool { return n%4 > 1 } // One turn of each kind in two.
				start := func(n int) turn {
					name := strconv.Itoa(n)
					if n%2 == i {
						return s.electedTurn(leases, name, dies(n))
					}
					c := server.NewClient(t, kubelock.Config{Backend: kubelock.Leases, Identity: name, LockDuration: turnLease})
					return s.ledTurn(c, name, dies(n))
				}
				now := start(0)
				<-now.leads
				for n := 1; n <= turns; n++ {
					next := start(n)
					<-time.After(4*turnLease + rand.N(5*time.Second))
					const tries = 5 * time.Second // An elector's are at most 4.4 seconds apart.
					limit := tries
					if dies(n - 1) {
						limit = tries + turnLease + tries // It counts from when it saw the renewal.
					}
					quit := time.Now()
					now.quit()
					<-next.leads
					if took := time.Since(quit); took > limit {
						t.Errorf("turn %d begins after %v, want at most %v", n, took, limit)
					}
					now = next
				}
				now.quit()
				if s.changes["elector to kubelock"] != turns/2 || s.changes["kubelock to elector"] != turns/2 {
					t.Errorf("changes of hands: %v, want %d in each direction", s.changes, turns/2)
				}
			})
		})
	}
}
