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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// At most eventBurst Events are written at once, and eventsPerSecond after that. If a node
// fails, thousands of holds may expire together. Without a limit each of them would cost one
// more write, and one more object in etcd.
const (
	eventBurst      = 100
	eventsPerSecond = 10
)

var eventsDropped = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "kubelock_reaper_events_dropped_total",
	Help: "Events that were dropped because there were too many at once. What they would have reported was done and counted.",
})

func init() { metrics.Registry.MustRegister(eventsDropped) }

// limitedEvents drops Events above a rate.
type limitedEvents struct {
	events.EventRecorder

	limiter flowcontrol.PassiveRateLimiter
}

// LimitEvents returns a recorder that passes on a burst of 100 Events and then 10 per second,
// and drops the others. The reapers of all kinds in a process share one recorder.
func LimitEvents(to events.EventRecorder) events.EventRecorder {
	return limitEvents(to, clock.RealClock{})
}

func limitEvents(to events.EventRecorder, now clock.PassiveClock) events.EventRecorder {
	return limitedEvents{to, flowcontrol.NewTokenBucketPassiveRateLimiterWithClock(eventsPerSecond, eventBurst, now)}
}

// Eventf implements events.EventRecorder.
func (l limitedEvents) Eventf(regarding, related runtime.Object, eventtype, reason, action, note string, args ...any) {
	if !l.limiter.TryAccept() {
		eventsDropped.Inc()
		return
	}
	l.EventRecorder.Eventf(regarding, related, eventtype, reason, action, note, args...)
}
