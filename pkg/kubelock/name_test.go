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
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// samples is how often each metric has counted, by the values of its labels in the order of their names.
func samples(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, label := range m.GetLabel() {
				if label.GetValue() != "" { // For Prometheus, that is no label.
					name += " " + label.GetValue()
				}
			}
			got[name] = m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return got
}

// TestNames looks at the label of each metric, of two clients that share them.
func TestNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry, server := prometheus.NewRegistry(), kubelocktest.NewServer(t)
		a := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{Metrics: registry}), "k")
		b := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{Metrics: registry}), "k")
		report, cleanup := kubelock.WithName("report"), kubelock.WithName("clean-up_2.b")

		held := acquire(t, a, report)
		if err := held.Renew(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := b.TryAcquire(t.Context(), cleanup); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Error(err)
		}
		waiting := startAcquire(t.Context(), b, cleanup)
		<-time.After(10 * time.Second)
		release(t, held)
		release(t, waiting.get(t))
		<-time.After(time.Second) // What is remembered of the hand-over is old then.
		held = acquire(t, a, report, kubelock.WithDuration(time.Second))
		<-held.Context().Done()
		held = acquire(t, a, report, kubelock.WithDuration(3*time.Second), kubelock.WithAutoRenew())
		<-time.After(5 * time.Second)
		release(t, held)
		if _, err := a.Apply(t.Context(), func(s string) (string, error) { return s, nil }, cleanup); err != nil {
			t.Error(err)
		}
		release(t, acquire(t, b))

		got := samples(t, registry)
		for name, want := range map[string]float64{
			"kubelock_acquire_seconds report acquired":           3,
			"kubelock_acquire_seconds clean-up_2.b acquired":     1,
			"kubelock_acquire_seconds clean-up_2.b not_acquired": 1,
			"kubelock_acquire_seconds acquired":                  1,
			"kubelock_apply_seconds clean-up_2.b acquired":       1,
			"kubelock_hold_seconds report":                       3,
			"kubelock_hold_seconds clean-up_2.b":                 1,
			"kubelock_hold_seconds":                              1,
			"kubelock_lost_holds_total report":                   1,
			"kubelock_lost_holds_total":                          0,
			"kubelock_handoffs_total clean-up_2.b":               1,
			"kubelock_handoffs_total report":                     0,
			"kubelock_queue_length":                              1,
		} {
			if got[name] != want {
				t.Errorf("%s is %v, want %v", name, got[name], want)
			}
		}
		if n := got["kubelock_renew_seconds report"]; n < 3 {
			t.Errorf("%v renewals were counted, want those in the background, too", n)
		}
	})
}

// TestTooManyNames counts them together, and says so once.
func TestTooManyNames(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	synctest.Test(t, func(t *testing.T) {
		registry, server := prometheus.NewRegistry(), kubelocktest.NewServer(t)
		var lines []string
		log := funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
		c := server.NewClient(t, kubelock.Config{Metrics: registry, Logger: log})
		for range 2 {
			for i := range 70 {
				release(t, acquire(t, kubelock.NewLock[int](c, "k"), kubelock.WithName(fmt.Sprint("key-", i))))
			}
		}
		got := samples(t, registry)
		if one, other := got["kubelock_hold_seconds key-63"], got["kubelock_hold_seconds _other"]; one != 2 || other != 12 {
			t.Errorf("the last name was counted %v times, the others %v times", one, other)
		}
		if _, ok := got["kubelock_hold_seconds key-64"]; ok {
			t.Error("a 65th name is in the metrics")
		}
		if len(lines) != 1 || !strings.Contains(lines[0], "Too many different names") || !strings.Contains(lines[0], "key-64") {
			t.Errorf("the log has %q", lines)
		}
	})
}

func TestWrongNames(t *testing.T) {
	t.Parallel()
	lock := kubelock.NewLock[int](kubelocktest.NewServer(t).NewClient(t, kubelock.Config{}), "k")
	for _, name := range []string{"", "a/b", "_other", "-a", "ä", strings.Repeat("a", 64)} {
		_, err := lock.Do(t.Context(), func(context.Context, int) (int, error) {
			t.Errorf("the name %q is taken", name)
			return 0, nil
		}, kubelock.WithName(name))
		if err == nil || !strings.Contains(err.Error(), "WithName") || !strings.Contains(err.Error(), "name the kind of work") {
			t.Errorf("the name %q: %v", name, err)
		}
	}
	release(t, acquire(t, lock, kubelock.WithName(strings.Repeat("a", 63))))
}
