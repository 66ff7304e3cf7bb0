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
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

const (
	// A hold is overdue that is still there so many of its durations after its lease has
	// ended, and so long at least: short leases are over for that many before anybody can
	// have noticed.
	overdueDurations = 5
	overdueAtLeast   = time.Minute
	// overdueInterval is how often they are counted, which takes two milliseconds with
	// 100,000 locks.
	overdueInterval = 15 * time.Second
)

// holdsOverdue tells what expiryLag does not: that measures holds when they end.
var holdsOverdue = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "kubelock_reaper_holds_overdue",
	Help: "Holds that nobody has ended although their leases ended five of their durations ago, and a minute at least, by kind of object (resource).",
}, []string{"resource"})

func init() { metrics.Registry.MustRegister(holdsOverdue) }

// overdue counts the overdue holds. They are judged as all others, as if their leases were
// so much longer.
func (c *lockCache) overdue() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	judge, n := c.judge(), 0
	for _, e := range c.locks {
		if e.active == nil || e.active.err != nil || e.active.lock.Holder == nil {
			continue
		}
		lock, holder := e.active.lock, *e.active.lock.Holder
		if holder.Duration > math.MaxInt64/(overdueDurations+1) {
			continue // Of leases of fifty years and more this is not to be told.
		}
		holder.Duration += max(overdueDurations*holder.Duration, overdueAtLeast)
		lock.Holder = &holder
		if expired, _ := judge.Expired(lock, e.active.seen); expired {
			n++
		}
	}
	return n
}

// showOverdue shows the overdue holds as kubelock_reaper_holds_overdue until ctx ends, while
// the reaper works.
func (c *lockCache) showOverdue(ctx context.Context) error {
	gauge, shown := holdsOverdue.WithLabelValues(c.kind.Resource().Resource), 0
	show := func(n int) {
		gauge.Add(float64(n - shown)) // A process may have several reapers.
		shown = n
	}
	defer show(0)
	ticker := time.NewTicker(overdueInterval)
	defer ticker.Stop()
	for {
		show(c.overdue())
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}
