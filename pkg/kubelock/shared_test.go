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
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// oldElector competes for a Lease as client-go before 0.27 does with its default settings:
// it judges a holder by its own LeaseDuration, whatever the holder's is.
type oldElector struct {
	t        *testing.T
	leases   coordinationclient.LeaseInterface
	name     string
	seen     coordinationv1.LeaseSpec
	observed time.Time
}

const oldLeaseDuration, oldRetryPeriod = 15 * time.Second, 2 * time.Second

func newOldElector(t *testing.T, server *kubelocktest.Server, name string) *oldElector {
	t.Helper()
	cs, err := kubernetes.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	return &oldElector{t: t, leases: cs.CoordinationV1().Leases(kubelocktest.Namespace), name: name}
}

// try takes the Lease, or renews it, and reports whether the elector leads then.
func (e *oldElector) try(ctx context.Context) bool {
	lease, err := e.leases.Get(ctx, "k", metav1.GetOptions{})
	if err != nil {
		lease, err = e.leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "k"}}, metav1.CreateOptions{})
	}
	if err != nil {
		return false
	}
	if fmt.Sprint(lease.Spec.HolderIdentity == nil, lease.Spec.RenewTime) != fmt.Sprint(e.seen.HolderIdentity == nil, e.seen.RenewTime) {
		e.seen, e.observed = lease.Spec, time.Now()
	}
	holder := ""
	if lease.Spec.HolderIdentity != nil {
		holder = *lease.Spec.HolderIdentity
	}
	if holder != "" && holder != e.name && e.observed.Add(oldLeaseDuration).After(time.Now()) {
		return false
	}
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = &e.name, new(int32(oldLeaseDuration/time.Second))
	lease.Spec.RenewTime = new(metav1.NowMicro())
	if holder != e.name {
		lease.Spec.AcquireTime = lease.Spec.RenewTime
	}
	_, err = e.leases.Update(ctx, lease, metav1.UpdateOptions{})
	return err == nil
}

// resign gives the Lease up.
func (e *oldElector) resign(ctx context.Context) {
	lease, err := e.leases.Get(ctx, "k", metav1.GetOptions{})
	if err != nil {
		e.t.Fatal(err)
	}
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds, lease.Spec.RenewTime = new(""), new(int32(1)), new(metav1.NowMicro())
	if _, err := e.leases.Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		e.t.Fatal(err)
	}
}

// TestOldElectorsLeaveAHoldAlone has electors that judge by their own duration wait for a
// Lease that a client holds for longer than that: for as long as it has asked for, with and
// without WithAutoRenew, as the first after an elector and through hand-offs.
func TestOldElectorsLeaveAHoldAlone(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for name, resigns := range map[string]bool{"after an elector that resigned": true, "after one that died": false} {
		for _, auto := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, renewing %v", name, auto), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { sharedLease(t, resigns, auto) })
			})
		}
	}
}

func sharedLease(t *testing.T, resigns, auto bool) {
	t.Helper()
	server := kubelocktest.NewServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	first := newOldElector(t, server, "first")
	if !first.try(ctx) {
		t.Fatal("an elector does not get a Lease that nobody has")
	}
	if resigns {
		first.resign(ctx)
	}
	const lease = 50 * time.Second
	cfg := kubelock.Config{Backend: kubelock.Leases, LockDuration: lease}
	var opts []kubelock.Option
	if auto {
		opts = append(opts, kubelock.WithAutoRenew())
	}
	l := kubelock.NewLock[string](server.NewClient(t, cfg), "k")
	held := acquire(t, l, opts...)
	begun := time.Now()

	// From here on two electors wait for their chance.
	var led atomic.Pointer[string]
	for i := range 2 {
		e := newOldElector(t, server, fmt.Sprint("waiting-", i))
		go func() {
			<-time.After(517 * time.Millisecond) // It does not look at the moment in which the lock is free.
			for ctx.Err() == nil {
				if e.try(ctx) {
					led.CompareAndSwap(nil, &e.name)
				}
				select {
				case <-time.After(oldRetryPeriod):
				case <-ctx.Done():
				}
			}
		}()
	}
	alive := func(held *kubelock.Held[string], d time.Duration) {
		t.Helper()
		<-time.After(d)
		if who := led.Load(); who != nil {
			t.Fatalf("%s leads %v after a hold of %v began", *who, time.Since(begun), lease)
		}
		if cause := context.Cause(held.Context()); cause != nil {
			t.Fatalf("the hold is over after %v: %v", time.Since(begun), cause)
		}
	}
	alive(held, lease-5*time.Second)
	if err := held.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	alive(held, lease-5*time.Second)

	// Handed over, and taken by one that has never seen an elector's name in it.
	next := startAcquire(ctx, kubelock.NewLock[string](server.NewClient(t, cfg), "k"))
	synctest.Wait()
	release(t, held)
	given := next.get(t)
	alive(given, lease-10*time.Second)
	release(t, given)
	held = acquire(t, kubelock.NewLock[string](server.NewClient(t, cfg), "k"), opts...)
	begun = time.Now()
	alive(held, lease-time.Second)
	if auto {
		alive(held, 2*lease)
		release(t, held)
	} else { // It is not kept for longer than its owner has asked for.
		<-held.Context().Done()
		if lived := time.Since(begun); lived < lease-time.Second || lived > lease+time.Second {
			t.Errorf("a hold of %v has lived for %v", lease, lived)
		}
	}
	<-time.After(2 * oldLeaseDuration)
	if led.Load() == nil {
		t.Error("no elector leads after the hold has ended")
	}
	cancel()
	synctest.Wait()
}

// TestLeaseOfClientsAloneIsRenewedAsEver counts the writes of a hold in a Lease that no
// elector has used.
func TestLeaseOfClientsAloneIsRenewedAsEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		var rec recorder
		l := kubelock.NewLock[string](newClientFor(t, rec.wrap(server.Config()), kubelock.Config{
			Backend: kubelock.Leases, Namespace: kubelocktest.Namespace, LockDuration: time.Minute,
		}), "k")
		held := acquire(t, l)
		<-time.After(time.Minute - time.Second)
		release(t, held)
		if got := rec.taken(); got != "get create update" {
			t.Errorf("sent %q", got)
		}
		held = acquire(t, l, kubelock.WithAutoRenew())
		<-time.After(10 * time.Minute)
		release(t, held)
		if got := strings.Count(rec.taken(), "patch"); got < 25 || got > 33 {
			t.Errorf("a lease of a minute was renewed %d times in ten minutes, want every twenty seconds", got)
		}
	})
}
