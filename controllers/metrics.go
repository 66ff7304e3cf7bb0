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
		Help: "Locks that were given to the first of those who queued for them.",
	})
	objectsDeleted = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubelock_reaper_objects_deleted_total",
		Help: "Objects that were deleted because nobody used the lock for its objectExpiry.",
	})
	locksKnown = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "kubelock_reaper_locks",
		Help: "Locks that the working reaper watches, by kind of object (resource) and state: free, held, awaited (held, and somebody queues) or unreadable.",
	}, []string{"resource", "state"})
	failures = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kubelock_reaper_errors_total",
		Help: "What the reaper could not do and tries again, by the API server's reason.",
	}, []string{"reason"})
)

func init() {
	metrics.Registry.MustRegister(holdersExpired, holdersTerminated, expiryLag, locksGranted, objectsDeleted, locksKnown, failures)
}

// failed counts err, if it is one, and returns it.
func failed(err error) error {
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

// observeExpiry measures how late a hold is ended, where the clocks are the same.
func observeExpiry(h *protocol.Holder, at protocol.Stamp) {
	holdersExpired.Inc()
	if h.Source == protocol.Server && at.Source == protocol.Server {
		expiryLag.Observe(max(at.Time.Sub(h.RenewTime.Add(h.Duration)), 0).Seconds())
	}
}

// countWhile shows the locks of the cache as kubelock_reaper_locks until ctx ends, while
// the reaper works: of several replicas, one.
func (c *lockCache) countWhile(ctx context.Context) error {
	show := func(working bool, sign float64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.counting = working
		for state, n := range c.counts {
			c.known(state).Add(sign * float64(n))
		}
	}
	show(true, 1)
	<-ctx.Done()
	show(false, -1)
	return nil
}

// count counts a lock by its state.
func (c *lockCache) count(state string, n int) {
	c.counts[state] += n
	if c.counting {
		c.known(state).Add(float64(n))
	}
}

func (c *lockCache) known(state string) prometheus.Gauge {
	return locksKnown.WithLabelValues(c.kind.Resource().Resource, state)
}
