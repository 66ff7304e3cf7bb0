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
	// A hold is overdue if it still exists overdueDurations times its duration after its lease
	// has ended, and at least overdueAtLeast after it. The minimum is for short leases: several
	// of them may pass before any observer can notice the first.
	overdueDurations = 5
	overdueAtLeast   = time.Minute
	// overdueInterval is how often overdue holds are counted. With 100,000 locks a count takes
	// two milliseconds.
	overdueInterval = 15 * time.Second
)

// holdsOverdue shows the holds that expiryLag cannot show, for that measures a hold only when
// it ends.
var holdsOverdue = prometheus.NewGaugeVec(prometheus.GaugeOpts{
	Name: "kubelock_reaper_holds_overdue",
	Help: "Holds that still exist although their leases ended five lease durations ago, and at least a minute ago, by kind of object (resource).",
}, []string{"resource"})

func init() { metrics.Registry.MustRegister(holdsOverdue) }

// overdue returns the number of overdue holds. It judges expiry as the reaper does, as if each
// lease were longer by the allowance above.
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
			continue // The sum would overflow: the lease takes more than 48 years.
		}
		holder.Duration += max(overdueDurations*holder.Duration, overdueAtLeast)
		lock.Holder = &holder
		if expired, _ := judge.Expired(lock, e.active.seen); expired {
			n++
		}
	}
	return n
}

// exportOverdue exports the number of overdue holds as kubelock_reaper_holds_overdue until ctx
// ends.
func (c *lockCache) exportOverdue(ctx context.Context) error {
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
