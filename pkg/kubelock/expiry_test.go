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
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// crashed acquires a lock for d by a client that then stops without a release, as a
// process does that is killed. It returns the end of the lease.
func crashed(t *testing.T, ns, key string, d time.Duration) time.Time {
	t.Helper()
	c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, LockDuration: d, Identity: "crashed"})
	if err != nil {
		t.Fatal(err)
	}
	held := acquire(t, kubelock.NewLock[string](c, key))
	if err := held.Save(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return held.Deadline()
}

// latency is how much longer than on an idle machine a few requests take here and
// now: what a loaded machine adds to a bound.
func latency(t *testing.T, ns string) time.Duration {
	t.Helper()
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "latency")
	var longest time.Duration
	for range 5 {
		start := time.Now()
		if _, err := l.Get(within(t)); err != nil {
			t.Fatal(err)
		}
		longest = max(longest, time.Since(start))
	}
	return 10 * longest
}

// TestCrashIsNoticedByAWaiter checks that somebody who has waited since before a
// holder died has the lock within a second after the lease's end, without a reaper,
// and not before.
func TestCrashIsNoticedByAWaiter(t *testing.T) {
	testenv.Slow(t)
	ns := env.Namespace(t)
	var rec recorder
	waiter := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "crash")
	end := crashed(t, ns, "crash", 3*time.Second)
	rec.taken()
	held := acquire(t, waiter)
	late := time.Since(end)
	t.Logf("acquired %v after the lease's end", late)
	if late < 0 {
		t.Errorf("took the lock %v before the lease's end", -late)
	}
	if bound := time.Second + latency(t, ns); late > bound {
		t.Errorf("took %v after the lease's end, want at most %v", late, bound)
	}
	t.Logf("requests while waiting: %s", rec.taken())
	release(t, held)
}

// TestCrashWithAReaper checks the same with a reaper, which may be first to see the
// lease's end, and the promptness of a latecomer, for whom the reaper has watched.
func TestCrashWithAReaper(t *testing.T) {
	testenv.Slow(t)
	ns := env.Namespace(t)
	startReaper(t, ns)
	c := newClient(t, kubelock.Config{Namespace: ns})
	end := crashed(t, ns, "waited-for", 3*time.Second)
	held := acquire(t, kubelock.NewLock[string](c, "waited-for"))
	late := time.Since(end)
	t.Logf("acquired %v after the lease's end", late)
	if bound := time.Second + latency(t, ns); late < 0 || late > bound {
		t.Errorf("took the lock %v after the lease's end, want between 0 and %v", late, bound)
	}
	release(t, held)

	end = crashed(t, ns, "come late", 3*time.Second)
	<-time.After(time.Until(end) - 500*time.Millisecond)
	held = acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "come late"))
	late = time.Since(end)
	t.Logf("a latecomer acquired %v after the lease's end", late)
	if bound := time.Second + latency(t, ns); late < 0 || late > bound {
		t.Errorf("a latecomer took the lock %v after the lease's end, want between 0 and %v", late, bound)
	}
	release(t, held)
}

// startReaper runs a reaper for one namespace until the test ends.
func startReaper(t *testing.T, ns string) {
	t.Helper()
	clock := &servertime.Clock{}
	config := rest.CopyConfig(env.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return clock.Transport(next, time.Now) })
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  env.Client(t).Scheme(),
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	reaper := &controllers.Reaper{
		Namespaces: []string{ns}, Events: mgr.GetEventRecorder("reaper"), ServerTime: clock, MaxClockSkew: time.Second,
	}
	if err := reaper.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- mgr.Start(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestCrashIsNoticedByALatecomer checks the same for somebody who comes when the
// holder is dead already: the server's time tells, within MaxClockSkew and the three
// seconds by which it is known.
func TestCrashIsNoticedByALatecomer(t *testing.T) {
	testenv.Slow(t)
	ns := env.Namespace(t)
	end := crashed(t, ns, "late", 3*time.Second)
	latecomer := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "late")
	<-time.After(time.Until(end) - time.Second)
	held := acquire(t, latecomer)
	late := time.Since(end)
	t.Logf("acquired %v after the lease's end", late)
	if bound := time.Second + 3*time.Second + latency(t, ns); late < 0 || late > bound {
		t.Errorf("took the lock %v after the lease's end, want between 0 and %v", late, bound)
	}
	release(t, held)
}

// TestLongDeadHolderIsReplacedAtOnce checks that TryAcquire of a fresh client gets a
// lock whose lease ended long ago; and that a client which must not judge by the
// server's time does not.
func TestLongDeadHolderIsReplacedAtOnce(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	end := crashed(t, ns, "dead", time.Second)
	// The skew, twice the second that a time of the server leaves open, and the second by which a
	// client stamps later that the server has told nothing yet.
	<-time.After(time.Until(end) + 4100*time.Millisecond)

	observer := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns, MaxClockSkew: -1}), "dead")
	if _, err := observer.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
		t.Errorf("without the server's time, TryAcquire of a lock just seen gives %v, want ErrNotAcquired", err)
	}
	cautious := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns, MaxClockSkew: time.Hour}), "dead")
	if _, err := cautious.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
		t.Errorf("with a skew of an hour, TryAcquire gives %v, want ErrNotAcquired", err)
	}
	fresh := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "dead")
	if got, err := fresh.Get(t.Context()); err != nil || got.Held || got.Holder != "" {
		t.Errorf("Get shows %+v, %v; want a lock that is not held", got, err)
	}
	held, err := fresh.TryAcquire(t.Context())
	if err != nil {
		t.Fatalf("TryAcquire of a lock that expired long ago: %v", err)
	}
	release(t, held)
}

// TestDurations checks that a hold's own duration counts, shorter and longer than
// the client's.
func TestDurations(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	c := newClient(t, kubelock.Config{Namespace: ns, LockDuration: 10 * time.Second})
	for _, d := range []time.Duration{2 * time.Second, 10 * time.Second, time.Minute} {
		before := time.Now()
		held := acquire(t, kubelock.NewLock[string](c, "durations"), kubelock.WithDuration(d))
		if end := held.Deadline(); end.Before(before.Add(d)) || end.After(time.Now().Add(d)) {
			t.Errorf("with a duration of %v the deadline is %v after the call began", d, end.Sub(before))
		}
		release(t, held)
	}
	held := acquire(t, kubelock.NewLock[string](c, "durations"))
	if left := time.Until(held.Deadline()); left > 10*time.Second || left < 5*time.Second {
		t.Errorf("without WithDuration %v are left, want the client's 10 s", left)
	}
	release(t, held)

	short := acquire(t, kubelock.NewLock[string](c, "short"), kubelock.WithDuration(time.Second))
	other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "short")
	next := acquire(t, other)
	if early := time.Until(short.Deadline()); early > 0 {
		t.Errorf("another client has the lock %v before the end of its short lease", early)
	}
	<-short.Context().Done()
	if cause := context.Cause(short.Context()); !errors.Is(cause, kubelock.ErrLost) {
		t.Errorf("the cause of the lost hold's context is %v, want ErrLost", cause)
	}
	release(t, next)
}

// TestWithoutDateHeaders checks the client of an API server whose responses do not
// tell the time, on a node whose clock is a day behind: others judge its hold only by
// watching it.
func TestWithoutDateHeaders(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	var rec recorder
	rec.on(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			resp.Header.Del("Date")
		}
		return resp, err
	})
	c, err := kubelock.NewClientAt(rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: 3 * time.Second},
		func() time.Time { return time.Now().Add(-24 * time.Hour) })
	if err != nil {
		t.Fatal(err)
	}
	acquire(t, kubelock.NewLock[string](c, "dateless"))
	acquired := time.Now()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if source := object(t, ns, "dateless").Spec.Holder.RenewTimeSource; source != v1alpha1.TimeSourceNode {
		t.Errorf("renewTimeSource is %q, want Node", source)
	}
	other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "dateless")
	if _, err := other.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
		t.Errorf("a hold with an old stamp of a node's clock: %v, want ErrNotAcquired", err)
	}
	release(t, acquire(t, other))
	if early := time.Until(acquired.Add(3*time.Second - time.Second)); early > 0 {
		t.Errorf("the hold was taken over %v before its end", early)
	}
}

// TestSuspendedMachine checks a client whose monotonic clock stood still for a while
// before it acquires, or renews: what it stamps must not let others take the hold for
// expired.
func TestSuspendedMachine(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var behind atomic.Int64
	c, err := kubelock.NewClientAt(env.Config, kubelock.Config{Namespace: ns, LockDuration: 20 * time.Second},
		func() time.Time { return time.Now().Add(-time.Duration(behind.Load())) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	l := kubelock.NewLock[string](c, "suspended")
	other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "suspended")
	release(t, acquire(t, l))
	check := func(after string) {
		t.Helper()
		if _, err := other.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Errorf("after a suspension and %s another client gets %v, want ErrNotAcquired", after, err)
		}
	}
	behind.Add(int64(time.Hour))
	held := acquire(t, l)
	check("an acquisition")
	behind.Add(int64(time.Hour))
	if err := held.Renew(t.Context()); err != nil {
		t.Error(err)
	}
	check("a renewal")
	release(t, held)
}

// TestAnHourApart checks that clients on nodes whose clocks are an hour apart exclude
// each other, and that none of them loses a lock early or waits long for a dead one.
func TestAnHourApart(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	client := func(offset time.Duration) *kubelock.Client {
		c, err := kubelock.NewClientAt(env.Config, kubelock.Config{Namespace: ns, LockDuration: 20 * time.Second},
			func() time.Time { return time.Now().Add(offset) })
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	offsets := []time.Duration{0, time.Hour, -time.Hour}
	for _, a := range offsets {
		held := acquire(t, kubelock.NewLock[string](client(a), "apart"))
		for _, b := range offsets {
			other := kubelock.NewLock[string](client(b), "apart")
			if got, err := other.TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
				t.Errorf("holder at %v, other at %v: got %v, %v; want ErrNotAcquired", a, b, got, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			if _, err := other.Acquire(ctx); !errors.Is(err, kubelock.ErrNotAcquired) {
				t.Errorf("holder at %v, other at %v: acquired a held lock: %v", a, b, err)
			}
			cancel()
		}
		if err := held.Context().Err(); err != nil {
			t.Errorf("holder at %v lost its lock early: %v", a, err)
		}
		if err := held.Renew(t.Context()); err != nil {
			t.Errorf("holder at %v cannot renew: %v", a, err)
		}
		release(t, held)
	}

	end := crashed(t, ns, "apart", time.Second)
	held := acquire(t, kubelock.NewLock[string](client(-time.Hour), "apart"))
	if time.Until(end) > 0 {
		t.Error("a client whose clock is an hour behind took the lock before the lease's end")
	}
	release(t, held)
}
