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
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestDurationsHaveBounds checks both sides of each bound.
func TestDurationsHaveBounds(t *testing.T) {
	t.Parallel()
	server := kubelocktest.NewServer(t)
	for name, tc := range map[string]struct {
		cfg func(time.Duration) kubelock.Config
		max time.Duration
	}{
		"LockDuration": {func(d time.Duration) kubelock.Config { return kubelock.Config{LockDuration: d} }, protocol.MaxDuration},
		"ObjectExpiry": {func(d time.Duration) kubelock.Config { return kubelock.Config{ObjectExpiry: d} }, protocol.MaxObjectExpiry},
		"MaxClockSkew": {func(d time.Duration) kubelock.Config { return kubelock.Config{MaxClockSkew: d} }, protocol.MaxDuration},
	} {
		for _, d := range []time.Duration{tc.max + 1, math.MaxInt64} {
			cfg := tc.cfg(d)
			cfg.Namespace = kubelocktest.Namespace
			if _, err := kubelock.NewClient(server.Config(), cfg); err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("NewClient with a %s of %v gives %v, want an error that names the field", name, d, err)
			}
		}
		server.NewClient(t, tc.cfg(tc.max))
	}
	l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k")
	for _, d := range []time.Duration{protocol.MaxDuration + 1, math.MaxInt64, math.MinInt64} {
		_, acquire := l.Acquire(t.Context(), kubelock.WithDuration(d))
		_, try := l.TryAcquire(t.Context(), kubelock.WithDuration(d))
		_, do := l.Do(t.Context(), func(context.Context, string) (string, error) { return "", nil }, kubelock.WithDuration(d))
		expectErrors(t, map[string]error{"Acquire": acquire, "TryAcquire": try, "Do": do}, nil, "WithDuration", "8760h")
	}
}

// TestLongestLeaseExcludes has a client queue, and a third client look, beside a holder
// with the longest lease that there is, on each backend.
func TestLongestLeaseExcludes(t *testing.T) {
	t.Parallel()
	for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				lock := func() *kubelock.Lock[string] {
					return kubelock.NewLock[string](server.NewClient(t, kubelock.Config{Backend: backend, ObjectExpiry: protocol.MaxObjectExpiry}), "k")
				}
				held, err := lock().Acquire(t.Context(), kubelock.WithDuration(protocol.MaxDuration))
				if err != nil {
					t.Fatal(err)
				}
				waiter := startAcquire(t.Context(), lock(), kubelock.WithDuration(protocol.MaxDuration))
				<-time.After(time.Minute)
				if _, err := lock().TryAcquire(t.Context()); err == nil {
					t.Error("a third client has the lock while it is held")
				}
				if err := held.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := waiter.get(t).Release(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
