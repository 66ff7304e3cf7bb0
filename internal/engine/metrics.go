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

package engine

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are what a client counts. None has the key as a label: keys are without
// number. What belongs to one call has the name that the caller gives it: see series.
type metrics struct {
	acquire   *prometheus.HistogramVec
	apply     *prometheus.HistogramVec
	batch     prometheus.Histogram
	hold      *prometheus.HistogramVec
	renew     *prometheus.HistogramVec
	lost      *prometheus.CounterVec
	conflicts prometheus.Counter
	handoffs  *prometheus.CounterVec
	queue     prometheus.Histogram

	names names
}

// Values of the label "result" of kubelock_acquire_seconds.
const (
	resultAcquired    = "acquired"
	resultNotAcquired = "not_acquired"
	resultError       = "error"
)

// newMetrics makes the metrics and registers them, if there is a registerer. Where
// another client has registered them already, both count in the same.
func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	seconds := prometheus.ExponentialBuckets(0.001, 2, 16) // 1 ms to 33 s
	m := &metrics{
		acquire: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kubelock_acquire_seconds",
			Help:    "How long calls that acquire a lock took, by result.",
			Buckets: seconds,
		}, []string{"result", "name"}),
		apply: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kubelock_apply_seconds",
			Help:    "How long calls of Apply took, by result.",
			Buckets: seconds,
		}, []string{"result", "name"}),
		batch: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kubelock_apply_batch_calls",
			Help:    "How many calls of Apply shared one write.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 11), // 1 to 1024
		}),
		hold: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kubelock_hold_seconds",
			Help:    "How long locks were held until they were released or lost.",
			Buckets: seconds,
		}, []string{"name"}),
		renew: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "kubelock_renew_seconds",
			Help:    "How long renewals of holds took, retries included.",
			Buckets: seconds,
		}, []string{"name"}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubelock_lost_holds_total",
			Help: "Holds that ended before they were released.",
		}, []string{"name"}),
		conflicts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kubelock_conflicts_total",
			Help: "Writes that were refused because the lock had changed.",
		}),
		handoffs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "kubelock_handoffs_total",
			Help: "Holds that began because another client, or the reaper, gave the lock to this one.",
		}, []string{"name"}),
		queue: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "kubelock_queue_length",
			Help:    "How many clients queued for a lock already when this one joined them.",
			Buckets: []float64{0, 1, 2, 4, 8, 16, 32, 64, 128},
		}),
	}
	if registerer == nil {
		m.names.unnamed = m.newSeries("")
		return m, nil
	}
	err := errors.Join(
		register(registerer, &m.acquire),
		register(registerer, &m.apply),
		register(registerer, &m.batch),
		register(registerer, &m.hold),
		register(registerer, &m.renew),
		register(registerer, &m.lost),
		register(registerer, &m.conflicts),
		register(registerer, &m.handoffs),
		register(registerer, &m.queue),
	)
	if err != nil {
		return nil, fmt.Errorf("kubelock: registering the metrics: %w", err)
	}
	m.names.unnamed = m.newSeries("")
	return m, nil
}

// register registers *c, or replaces it by the same metric that is registered
// already.
func register[C prometheus.Collector](registerer prometheus.Registerer, c *C) error {
	err := registerer.Register(*c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		existing, same := already.ExistingCollector.(C)
		if !same {
			return err
		}
		*c = existing
		return nil
	}
	return err
}

// resultOf is how a call ended that wants the lock.
func resultOf(err error) string {
	switch {
	case errors.Is(err, ErrNotAcquired):
		return resultNotAcquired
	case err != nil:
		return resultError
	}
	return resultAcquired
}
