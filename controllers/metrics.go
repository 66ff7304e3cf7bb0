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
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

var (
	holdersExpired = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubelock_reaper_holders_expired_total",
		Help: "Holds that were ended because their holders did not renew them.",
	})
	locksGranted = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubelock_reaper_locks_granted_total",
		Help: "Locks that were given to the first of those who queued for them.",
	})
	objectsDeleted = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kubelock_reaper_objects_deleted_total",
		Help: "Objects that were deleted because nobody used the lock for its objectExpiry.",
	})
)

func init() {
	metrics.Registry.MustRegister(holdersExpired, locksGranted, objectsDeleted)
}
