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
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kubelock/kubelock/internal/protocol"
)

var (
	holdersExpired = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubelock_reaper_holders_expired_total",
		Help: "Holds that were ended because their holders did not renew them.",
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
	metrics.Registry.MustRegister(holdersExpired, expiryLag, locksGranted, objectsDeleted, locksKnown, failures)
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

func (r *Reaper) state(obj any) string {
	lock, err := r.Kind.Decode(obj)
	switch {
	case err != nil:
		return stateUnreadable
	case len(lock.Waiters) > 0:
		return stateAwaited
	case lock.Holder != nil:
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

// count keeps kubelock_reaper_locks while the reaper works. It counts changes, so that it
// needs to remember nothing of a lock.
func (r *Reaper) count(mgr ctrl.Manager) error {
	return mgr.Add(manager.RunnableFunc(func(ctx context.Context) error {
		informer, err := mgr.GetCache().GetInformer(ctx, r.Kind.New(), cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("counting locks: %w", err)
		}
		c := counting{resource: r.Kind.Resource().Resource, counts: map[string]float64{}}
		handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { c.add(r.state(obj), 1) },
			UpdateFunc: func(old, obj any) { c.add(r.state(old), -1); c.add(r.state(obj), 1) },
			DeleteFunc: func(obj any) {
				if last, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
					obj = last.Obj
				}
				c.add(r.state(obj), -1)
			},
		})
		if err != nil {
			return fmt.Errorf("counting locks: %w", err)
		}
		<-ctx.Done()
		err = informer.RemoveEventHandler(handler)
		c.end()
		return err
	}))
}

// counting is one reaper's part of kubelock_reaper_locks.
type counting struct {
	resource string

	mu     sync.Mutex // protects the fields below
	counts map[string]float64
	ended  bool
}

func (c *counting) add(state string, n float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.counts[state] += n
		locksKnown.WithLabelValues(c.resource, state).Add(n)
	}
}

// end takes back what this reaper has counted: another may work from now on.
func (c *counting) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for state, n := range c.counts {
		locksKnown.WithLabelValues(c.resource, state).Sub(n)
	}
}
