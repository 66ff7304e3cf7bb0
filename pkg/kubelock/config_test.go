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

package kubelock_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

func TestWrongConfigurationListsEverything(t *testing.T) {
	t.Setenv("POD_NAMESPACE", "")
	_, err := kubelock.NewClient(env.Config, kubelock.Config{
		Namespace:    "Not Valid",
		LockDuration: -time.Second,
		ObjectExpiry: -time.Minute,
		Backend:      "Redis",
		Identity:     strings.Repeat("i", 254),
		Labels:       map[string]string{"kubelock.dev/holder": "x", "team": "not valid"},
		Annotations:  map[string]string{"sub.kubelock.dev/x": "", "a/b/c": "", "text": "\xff", "long": strings.Repeat("x", 8<<10)},
	})
	expectErrors(t, map[string]error{"NewClient": err}, nil, `Labels: "kubelock.dev/holder"`, `"not valid" of "team"`,
		`Annotations: "sub.kubelock.dev/x"`, `"a/b/c"`, `"text"`, "8192 bytes", "Namespace", "LockDuration", "-1s", "ObjectExpiry", "-1m0s", "Backend", "Redis", "Identity")
	_, err = kubelock.NewClient(env.Config, kubelock.Config{})
	expectErrors(t, map[string]error{"NewClient": err}, nil, "Namespace must be set")
	_, err = kubelock.NewClient(nil, kubelock.Config{Namespace: "default"})
	expectErrors(t, map[string]error{"NewClient": err}, nil, "no configuration")
	for _, b := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: "default", Backend: b})
		if err != nil {
			t.Error(err)
		} else if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func object(t *testing.T, ns, name string) *v1alpha1.DistributedLock {
	t.Helper()
	obj := &v1alpha1.DistributedLock{}
	if err := env.Client(t).Get(t.Context(), types.NamespacedName{Namespace: ns, Name: name}, obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

func TestDefaultsInAPod(t *testing.T) {
	ns := env.Namespace(t)
	t.Setenv("POD_NAMESPACE", ns)
	t.Setenv("POD_NAME", "worker-1")
	t.Setenv("POD_UID", "0d6f")
	held := acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{}), "pod"))
	h := object(t, ns, "pod").Spec.Holder
	if h.Identity != "worker-1" || h.Pod == nil || h.Pod.Name != "worker-1" || h.Pod.UID != "0d6f" || h.Duration.Duration != 30*time.Second {
		t.Errorf("the holder is %+v in %+v, want the pod and 30 s", h, h.Pod)
	}
	release(t, held)
	// Not in the lock's namespace, the Pod's name would be that of another.
	other := env.Namespace(t)
	held = acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: other, Identity: "me"}), "pod"))
	if h := object(t, other, "pod").Spec.Holder; h.Identity != "me" || h.Pod != nil {
		t.Errorf("the holder is %+v in %+v, want the given identity and no pod", h, h.Pod)
	}
	release(t, held)
}

// TestObjectExpiry checks that a client with an ObjectExpiry writes it, and one
// without leaves what is there.
func TestObjectExpiry(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	expiry := func() any {
		if d := object(t, ns, "expiry").Spec.ObjectExpiry; d != nil {
			return d.Duration
		}
		return nil
	}
	without := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "expiry")
	release(t, acquire(t, without))
	if got := expiry(); got != nil {
		t.Errorf("objectExpiry is %v, want none", got)
	}
	for _, d := range []time.Duration{time.Hour, 2 * time.Hour} {
		release(t, acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns, ObjectExpiry: d}), "expiry")))
		release(t, acquire(t, without))
		if got := expiry(); got != d {
			t.Errorf("objectExpiry is %v, want %v", got, d)
		}
	}
}

// TestObjectWhileHeldAndFree checks what the object shows.
func TestObjectWhileHeldAndFree(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns, Identity: "me", LockDuration: 7 * time.Second}), "a/b")
	start := time.Now()
	held := acquire(t, l)
	list := &v1alpha1.DistributedLockList{}
	if err := env.Client(t).List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	var obj *v1alpha1.DistributedLock
	for i := range list.Items {
		if list.Items[i].Namespace == ns {
			obj = &list.Items[i]
		}
	}
	h := obj.Spec.Holder
	if obj.Spec.Key != "a/b" || h == nil || h.Identity != "me" || h.LockID != held.ID() || h.Duration.Duration != 7*time.Second ||
		obj.Labels[v1alpha1.HolderLabel] != h.Client || h.RenewTimeSource != v1alpha1.TimeSourceServer || held.Key() != "a/b" {
		t.Errorf("held, the object is %+v with the holder %+v", obj, h)
	}
	// The API server's clock is this machine's; the stamp is at most the Date header's second ahead.
	if h.RenewTime.Time.Before(start) || h.RenewTime.Time.After(time.Now().Add(2*time.Second)) {
		t.Errorf("renewTime is %v, at %v", h.RenewTime, time.Now())
	}
	release(t, held)
	obj = object(t, ns, obj.Name)
	last := obj.Spec.LastRelease
	if obj.Spec.Holder != nil || len(obj.Labels) > 0 || last == nil || last.LockID != held.ID() || last.Token != held.Token() ||
		last.Reason != v1alpha1.ReasonReleased || last.Identity != "me" {
		t.Errorf("free, the object is %+v with the last release %+v", obj, last)
	}
}

// TestLoggerAndMetrics checks that both are used, and that clients share metrics.
func TestLoggerAndMetrics(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	lines := make(chan string, 100)
	logger := funcr.New(func(_, args string) { lines <- args }, funcr.Options{})
	registry := prometheus.NewRegistry()
	a := newClient(t, kubelock.Config{Namespace: ns, Metrics: registry, Logger: logger})
	b := newClient(t, kubelock.Config{Namespace: ns, Metrics: registry})

	l := kubelock.NewLock[string](a, "seen")
	held := acquire(t, l, kubelock.WithDuration(300*time.Millisecond))
	<-held.Context().Done()
	if line := <-lines; !strings.Contains(line, "Lost a lock") || !strings.Contains(line, "seen") || !strings.Contains(line, held.ID()) {
		t.Errorf("a lost hold is logged as %q", line)
	}
	held = acquire(t, l)
	if err := held.Renew(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := kubelock.NewLock[string](b, "seen").TryAcquire(t.Context()); !errors.Is(err, kubelock.ErrNotAcquired) {
		t.Error(err)
	}
	release(t, held)
	// A change of the free object that the client does not know of costs it a conflict.
	if out, err := env.Kubectl(t.Context(), "", "annotate", "dlock", "seen", "-n", ns, "by=hand"); err != nil {
		t.Fatal(out)
	}
	release(t, acquire(t, l))

	held = acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "handed-on"))
	history := env.Watch(t, ns)
	waiting := startAcquire(within(t), kubelock.NewLock[string](b, "handed-on"))
	queued(history, "handed-on", 1)
	release(t, held)
	release(t, waiting.get(t))

	got := samples(t, registry)
	want := map[string]float64{
		"kubelock_acquire_seconds acquired":     4,
		"kubelock_acquire_seconds not_acquired": 1,
		"kubelock_hold_seconds":                 4,
		"kubelock_renew_seconds":                1,
		"kubelock_lost_holds_total":             1,
		"kubelock_conflicts_total":              1,
		"kubelock_handoffs_total":               1,
		"kubelock_queue_length":                 1,
	}
	for name, n := range want {
		if got[name] != n {
			t.Errorf("%s is %v, want %v", name, got[name], n)
		}
	}

	clash := prometheus.NewRegistry()
	clash.MustRegister(prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubelock_hold_seconds", Help: "How long locks were held until they were released or lost."}))
	if _, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, Metrics: clash}); err == nil {
		t.Error("a metric that the program uses for something else gives no error")
	}
}
