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

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// counter reads one of the reaper's counters, as it is served.
func counter(t *testing.T, name string) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			if len(f.GetMetric()) != 1 || len(f.GetMetric()[0].GetLabel()) != 0 || f.GetHelp() == "" {
				t.Errorf("%s is %v, want one number with a help text and without labels", name, f)
			}
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no %s", name)
	return 0
}

// TestMetrics checks that the reaper counts what it has done. It runs alone, since
// other tests' reapers count, too.
func TestMetrics(t *testing.T) {
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)
	const holders, objects = "kubelock_reaper_holders_expired_total", "kubelock_reaper_objects_deleted_total"
	wasHolders, wasObjects := counter(t, holders), counter(t, objects)

	reapAnother(t, ns, "first", history)
	release(t, acquire(t, newLock(t, "unused", kubelock.Config{Namespace: ns, ObjectExpiry: time.Second})))
	die(t, ns, "second", time.Second)
	history.Until(patience, "second", "freed", expired)
	history.Until(patience, "unused", "deleted", deleted)
	// Counted before they are told.
	env.Event(t, patience, ns, "second", "HolderExpired")
	env.Event(t, patience, ns, "unused", "ObjectExpired")
	if n := counter(t, holders) - wasHolders; n != 2 {
		t.Errorf("%s has grown by %v, want 2", holders, n)
	}
	if n := counter(t, objects) - wasObjects; n != 1 {
		t.Errorf("%s has grown by %v, want 1", objects, n)
	}
}
