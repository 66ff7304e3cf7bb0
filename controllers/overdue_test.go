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

package controllers

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// shownOverdue returns the value of the gauge.
func shownOverdue(t *testing.T) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	must(t, err)
	for _, f := range families {
		if f.GetName() == "kubelock_reaper_holds_overdue" && len(f.GetMetric()) == 1 {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("the metric is not there")
	return 0
}

// TestOverdueHolds checks which holds count as overdue, and that the gauge shows them only while
// the reaper works.
func TestOverdueHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		c := newLockCache(store.DistributedLocks, []string{""}, func() protocol.Judge {
			return protocol.Judge{Now: time.Now(), ServerTime: time.Now(), MaxClockSkew: time.Second}
		})
		lasting := func(name string, d time.Duration) *v1alpha1.DistributedLock {
			lock := held(name, start)
			lock.Spec.Holder.Duration = metav1.Duration{Duration: d}
			lock.Spec.Holder.RenewTimeSource = v1alpha1.TimeSourceServer
			return lock
		}
		long := lasting("long", time.Minute)
		long.Spec.Holder.RenewTime = metav1.NewMicroTime(start.Add(-time.Minute))
		observed := lasting("observed", time.Minute) // Stamped by a node's clock: the reaper judges it by observation.
		observed.Spec.Holder.RenewTime = metav1.NewMicroTime(start.Add(-time.Hour))
		observed.Spec.Holder.RenewTimeSource = v1alpha1.TimeSourceNode
		p := namespaceStore{c, ""}
		must(t, p.Replace([]any{lasting("short", time.Second), long, observed, unused("a", "idle", start, time.Hour)}, "1"))

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan error)
		go func() { ended <- c.exportOverdue(ctx) }()
		for _, step := range []struct {
			after time.Duration
			want  float64
		}{
			{0, 0},
			{61 * time.Second, 0}, // The short lease ended a minute ago, but clocks may be a second apart.
			{77 * time.Second, 1},
			{5 * time.Minute, 1},
			{5*time.Minute + 17*time.Second, 2}, // The long hold is overdue by the server's time.
			{6*time.Minute - time.Second, 2},
			{6*time.Minute + time.Second, 3}, // The reaper has seen the hold unchanged for six minutes.
		} {
			<-time.After(time.Until(start.Add(step.after)))
			synctest.Wait()
			if got := shownOverdue(t); got != step.want {
				t.Errorf("after %v %v holds are shown as overdue, want %v", step.after, got, step.want)
			}
		}
		must(t, p.Update(lasting("short", time.Hour))) // Another hold, with a longer lease.
		must(t, p.Delete(observed))
		<-time.After(overdueInterval)
		synctest.Wait()
		if got := shownOverdue(t); got != 1 {
			t.Errorf("%v holds are shown, want one", got)
		}
		cancel()
		must(t, <-ended)
		if got := shownOverdue(t); got != 0 {
			t.Errorf("after its end the reaper shows %v holds", got)
		}
	})
}
