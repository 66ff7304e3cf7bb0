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
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/kubelock/kubelock/pkg/kubelock"
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
