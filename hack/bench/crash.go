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

package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// noEvents drops the reaper's events.
type noEvents struct{}

// Eventf implements events.EventRecorder.
func (noEvents) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}

// reap runs the reaper until stop is called.
func (b *bench) reap(ctx context.Context) (stop func(), err error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	config, clock := rest.CopyConfig(b.config), &servertime.Clock{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return clock.Transport(next, time.Now) })
	ctrl.SetLogger(logr.Discard())
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
	})
	if err != nil {
		return nil, err
	}
	reaper := &controllers.Reaper{
		Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: noEvents{}, ServerTime: clock, MaxClockSkew: time.Second,
	}
	if err := reaper.SetupWithManager(mgr); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = mgr.Start(ctx) }) // What it does not do shows.
	return func() { cancel(); running.Wait() }, nil
}

// crash measures how long after the end of its lease the lock of a dead holder is the
// first waiter's; and, if the head is dead, how long after the grace it is the next
// one's.
func (b *bench) crash(ctx context.Context, withReaper, deadHead bool) (late time.Duration, err error) {
	const lease = 3 * time.Second
	if withReaper {
		stop, err := b.reap(ctx)
		if err != nil {
			return 0, err
		}
		defer stop()
	}
	key := b.key()
	acquire := func(d time.Duration) (*kubelock.Client, func() (*kubelock.Held[int], error), error) {
		c, err := kubelock.NewClient(b.config, kubelock.Config{Namespace: namespace})
		if err != nil {
			return nil, nil, err
		}
		return c, func() (*kubelock.Held[int], error) {
			return kubelock.NewLock[int](c, key).Acquire(ctx, kubelock.WithDuration(d))
		}, nil
	}
	holder, hold, err := acquire(lease)
	if err != nil {
		return 0, err
	}
	held, err := hold()
	if err != nil {
		return 0, err
	}
	if deadHead {
		head, wait, err := acquire(time.Minute)
		if err != nil {
			return 0, err
		}
		go func() { _, _ = wait() }() // It is closed below.
		if err := b.queued(ctx, key, 1); err != nil {
			return 0, err
		}
		_ = head.Close() // Always nil.
	}
	next, wait, err := acquire(time.Minute)
	if err != nil {
		return 0, err
	}
	defer func() { _ = next.Close() }() // Always nil.
	type got struct {
		held *kubelock.Held[int]
		at   time.Time
		err  error
	}
	results := make(chan got, 1)
	go func() {
		held, err := wait()
		results <- got{held, time.Now(), err}
	}()
	waiting := 1
	if deadHead {
		waiting = 2
	}
	if err := b.queued(ctx, key, waiting); err != nil {
		return 0, err
	}
	due := held.Deadline()
	if deadHead {
		if err := held.Release(ctx); err != nil {
			return 0, err
		}
		due = time.Now().Add(protocol.Grace)
	}
	_ = holder.Close() // Always nil.
	r := <-results
	if r.err != nil {
		return 0, r.err
	}
	return r.at.Sub(due), r.held.Release(ctx)
}

// queued waits until that many clients queue for a key.
func (b *bench) queued(ctx context.Context, key string, n int) error {
	s, err := b.store(b.config)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		r, err := s.Get(ctx, key)
		if err != nil {
			return err
		}
		if len(r.Waiters) == n {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// crashes measures every kind of crash several times.
func (b *bench) crashes(ctx context.Context) error {
	if _, err := b.crash(ctx, true, false); err != nil { // A server that was just started is slow.
		return err
	}
	for _, c := range []struct {
		name             string
		reaper, deadHead bool
	}{
		{"the holder dies, with the reaper: after the lease's end", true, false},
		{"the holder dies, without it: after the lease's end", false, false},
		{"the first waiter dies, with the reaper: after the grace", true, true},
		{"the first waiter dies, without it: after the grace", false, true},
	} {
		var worst time.Duration
		const times = 3
		for range times {
			late, err := b.crash(ctx, c.reaper, c.deadHead)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			worst = max(worst, late)
		}
		_, _ = fmt.Fprintf(b.table, "%s\tthe worst of %d: %v\n", c.name, times, worst.Round(time.Millisecond))
	}
	return nil
}
