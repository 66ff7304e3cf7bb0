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
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/kubelock/kubelock/api/v1alpha1"
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

// TestMetrics checks that the reaper counts its actions. It runs alone, since the reapers of other
// tests use the same counters.
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
	// The reaper counts an action before it writes the Event.
	env.Event(t, patience, ns, "second", "HolderExpired")
	env.Event(t, patience, ns, "unused", "ObjectExpired")
	if n := counter(t, holders) - wasHolders; n != 2 {
		t.Errorf("%s has grown by %v, want 2", holders, n)
	}
	if n := counter(t, objects) - wasObjects; n != 1 {
		t.Errorf("%s has grown by %v, want 1", objects, n)
	}
}

// TestKeptObjectIsNotReportedAsDeleted has a finalizer keep an unused lock after the reaper has asked for its
// deletion: neither the metric, nor the log, nor the Event say that it is deleted. It runs alone, too.
func TestKeptObjectIsNotReportedAsDeleted(t *testing.T) {
	const (
		finalizer = "example.com/keeps"
		objects   = "kubelock_reaper_objects_deleted_total"
		summary   = "Deleted locks that were not used"
		asked     = "Asked for the deletion of a lock"
	)
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	wasObjects, wasSummaries := counter(t, objects), len(logs.With(summary))
	obj := &v1alpha1.DistributedLock{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "kept", Finalizers: []string{finalizer}},
		Spec:       v1alpha1.DistributedLockSpec{ObjectExpiry: &v1alpha1.Duration{Duration: time.Second}},
	}
	if err := env.Client(t).Create(soon(t), obj); err != nil {
		t.Fatal(err)
	}
	t.Run("reaper", func(t *testing.T) { // At its end the reaper has ended, and has logged what it has deleted.
		reaper{namespaces: []string{ns}}.start(t)
		e := env.Event(t, patience, ns, "kept", "ObjectExpired")
		if want := "not used for 1s, will be deleted with its state when these finalizers are removed: " + finalizer; e.Note != want {
			t.Errorf("the event says %q, want %q", e.Note, want)
		}
		if object(t, ns, "kept").DeletionTimestamp.IsZero() {
			t.Error("the object is not being deleted")
		}
		reapAnother(t, ns, "orders", history)
	})
	if n := counter(t, objects) - wasObjects; n != 0 {
		t.Errorf("%s has grown by %v while the object is there", objects, n)
	}
	if said := logs.With(summary)[wasSummaries:]; len(said) > 0 {
		t.Errorf("while the object is there, the log says %q", said)
	}
	lines := slices.DeleteFunc(logs.With(asked), func(line string) bool { return !strings.Contains(line, ns) })
	if len(lines) != 1 || !strings.Contains(lines[0], finalizer) {
		t.Errorf("the log says %q, want one line that names the finalizer", lines)
	}
	change(t, ns, "kept", func(obj *v1alpha1.DistributedLock) { obj.Finalizers = nil })
	history.Until(patience, "kept", "deleted", deleted)
}

// series returns the value of one series of a metric of the reaper, and 0 if there is none. For a
// histogram it returns the number of observations.
func series(t *testing.T, name string, labels map[string]string) float64 {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			has := map[string]string{}
			for _, l := range m.GetLabel() {
				has[l.GetName()] = l.GetValue()
			}
			if maps.Equal(has, labels) {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return 0
}

// TestMetricsOfLocks checks the metrics that show the states of locks, how late the reaper ends
// holds, and which of its attempts fail. It runs alone, too.
func TestMetricsOfLocks(t *testing.T) {
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	const lag, errs = "kubelock_reaper_expiry_lag_seconds", "kubelock_reaper_errors_total"
	internal := map[string]string{"reason": "InternalError"}
	wasLag, wasErrors := series(t, lag, nil), series(t, errs, internal)

	free := newLock(t, "free", kubelock.Config{Namespace: ns})
	release(t, acquire(t, free))
	held := acquire(t, newLock(t, "held", kubelock.Config{Namespace: ns, LockDuration: time.Minute}))
	awaited := acquire(t, newLock(t, "awaited", kubelock.Config{Namespace: ns, LockDuration: time.Minute}))
	change(t, ns, "awaited", func(obj *v1alpha1.DistributedLock) { obj.Spec.Waiters = []string{waiter("first", time.Hour)} })

	var failing atomic.Bool
	failing.Store(true)
	t.Run("working", func(t *testing.T) {
		reaper{namespaces: []string{ns}, wrap: func(next http.RoundTripper) http.RoundTripper {
			return refusal(func(req *http.Request) (*http.Response, error) {
				if req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, "/dead") && failing.Swap(false) {
					return nil, apierrors.NewInternalError(errors.New("planted"))
				}
				return next.RoundTrip(req)
			})
		}}.start(t)
		expect := func(state string, want float64) {
			t.Helper()
			labels := map[string]string{"resource": "distributedlocks", "state": state}
			err := wait.PollUntilContextCancel(soon(t), 10*time.Millisecond, true, func(context.Context) (bool, error) {
				return series(t, "kubelock_reaper_locks", labels) == want, nil
			})
			if err != nil {
				t.Errorf("%v locks are shown as %s, want %v", series(t, "kubelock_reaper_locks", labels), state, want)
			}
		}
		expect("free", 1)
		expect("held", 1)
		expect("awaited", 1)
		release(t, held)
		expect("free", 2)
		expect("held", 0)

		die(t, ns, "dead", time.Second)
		history.Until(patience, "dead", "freed", expired)
		env.Event(t, patience, ns, "dead", "HolderExpired") // The reaper counts before it writes the Event.
		if n := series(t, lag, nil) - wasLag; n != 1 {
			t.Errorf("%s has %v more observations, want 1", lag, n)
		}
		if n := series(t, errs, internal) - wasErrors; n != 1 {
			t.Errorf("%s has grown by %v, want 1", errs, n)
		}
		expect("free", 3)
		if err := free.Delete(soon(t)); err != nil {
			t.Fatal(err)
		}
		expect("free", 2)
	})
	for _, state := range []string{"free", "held", "awaited"} {
		if n := series(t, "kubelock_reaper_locks", map[string]string{"resource": "distributedlocks", "state": state}); n != 0 {
			t.Errorf("after its end the reaper shows %v locks as %s", n, state)
		}
	}
	release(t, awaited)
}

// refusal is a transport that may answer a request itself.
type refusal func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f refusal) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
