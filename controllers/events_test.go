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

package controllers_test

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/kubelock/kubelock/controllers"
)

type countedEvents map[string]int

func (c countedEvents) Eventf(_, _ runtime.Object, _, reason, _, _ string, _ ...any) { c[reason]++ }

// TestEventsAreLimited writes more Events than the limit, at once and again two seconds later.
func TestEventsAreLimited(t *testing.T) {
	now := clocktesting.NewFakePassiveClock(time.Now())
	got := countedEvents{}
	limited := controllers.LimitEventsAt(got, now)
	const metric = "kubelock_reaper_events_dropped_total"
	dropped := counter(t, metric)
	for range 300 {
		limited.Eventf(nil, nil, "Warning", "First", "FreeLock", "note")
	}
	now.SetTime(now.Now().Add(2 * time.Second))
	for range 100 {
		limited.Eventf(nil, nil, "Warning", "Later", "FreeLock", "note")
	}
	if got["First"] != 100 || got["Later"] != 20 {
		t.Errorf("%v were passed on, want 100 and 20", got)
	}
	if n := counter(t, metric) - dropped; n != 280 {
		t.Errorf("%v were counted as dropped, want 280", n)
	}
}
