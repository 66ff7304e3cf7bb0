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
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kubelock/kubelock/internal/protocol"
)

var (
	holdersExpired = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubelock_reaper_holders_expired_total",
		Help: "Holds that were ended because their holders did not renew them.",
	})
	holdersTerminated = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubelock_reaper_holders_terminated_total",
		Help: "Holds that were ended because the Pods of their holders had terminated.",
	})
	expiryLag = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "kubelock_reaper_expiry_lag_seconds",
		Help:    "How long after the end of their leases holds were ended, by the API server's time.",
		Buckets: []float64{0.5, 1, 1.5, 2, 2.5, 3, 5, 10, 30, 60, 300},
	})
	locksGranted = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubelock_reaper_locks_granted_total",
		Help: "Locks that were granted to their first waiter.",
	})
	objectsDeleted = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubelock_reaper_objects_deleted_total",
		Help: "Objects that were deleted because the lock was unused for its objectExpiry.",
	})
	locksKnown = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kubelock_reaper_locks",
		Help: "Locks that the working reaper watches, by kind of object (resource) and state: free, held, awaited (with waiters) or unreadable.",
	}, []string{"resource", "state"})
	failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kubelock_reaper_errors_total",
		Help: "Failed attempts of the reaper, by the API server's reason. The reaper tries again.",
	}, []string{"reason"})
)

func init() {
	metrics.Registry.MustRegister(holdersExpired, holdersTerminated, expiryLag, locksGranted, objectsDeleted, locksKnown, failures)
}

// countError counts err in kubelock_reaper_errors_total and returns it. It does not count nil
// or a cancellation.
func countError(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	reason := apierrors.ReasonForError(err)
	switch {
	case errors.Is(err, reconcile.TerminalError(nil)):
		reason = "Unreadable"
	case reason == metav1.StatusReasonUnknown:
		reason = "Unknown"
	}
	failures.WithLabelValues(string(reason)).Inc()
	return err
}

// States of kubelock_reaper_locks.
const (
	stateFree       = "free"
	stateHeld       = "held"
	stateAwaited    = "awaited"
	stateUnreadable = "unreadable"
)

func (e entry) state() string {
	switch {
	case e.active == nil:
		return stateFree
	case e.active.err != nil:
		return stateUnreadable
	case len(e.active.lock.Waiters) > 0:
		return stateAwaited
	case e.active.lock.Holder != nil:
		return stateHeld
	}
	return stateFree
}

// observeExpiry counts a hold that the reaper has ended at that time. It also measures how late
// that was, if both times are the API server's.
func observeExpiry(h *protocol.Holder, at protocol.Stamp) {
	holdersExpired.Inc()
	if h.Source == protocol.Server && at.Source == protocol.Server {
		expiryLag.Observe(max(at.Time.Sub(h.RenewTime.Add(h.Duration)), 0).Seconds())
	}
}

// exportCounts exports the locks of the cache as kubelock_reaper_locks until ctx ends. Of
// several replicas only the leader does so.
func (c *lockCache) exportCounts(ctx context.Context) error {
	export := func(counting bool, sign float64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.counting = counting
		for state, n := range c.counts {
			c.gauge(state).Add(sign * float64(n))
		}
	}
	export(true, 1)
	<-ctx.Done()
	export(false, -1)
	return nil
}

// count adds n to the number of locks in that state.
func (c *lockCache) count(state string, n int) {
	c.counts[state] += n
	if c.counting {
		c.gauge(state).Add(float64(n))
	}
}

func (c *lockCache) gauge(state string) prometheus.Gauge {
	return locksKnown.WithLabelValues(c.kind.Resource().Resource, state)
}
