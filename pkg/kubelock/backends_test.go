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
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// lease reads a Lease as an administrator.
func lease(t *testing.T, ns, name string) *coordinationv1.Lease {
	t.Helper()
	got, err := env.Clientset(t).CoordinationV1().Leases(ns).Get(within(t), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestForeignLeaseIsJudgedByObservation checks Leases that others hold, whose times come
// from clocks that are hours off: nobody has the lock before the holder was seen
// unchanged for its duration, and somebody does then. What is not kubelock's stays.
func TestForeignLeaseIsJudgedByObservation(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for name, off := range map[string]time.Duration{"past": -5 * time.Hour, "future": 5 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			leases := env.Clientset(t).CoordinationV1().Leases(ns)
			at := metav1.NewMicroTime(time.Now().Add(off))
			foreign := &coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{
					Name: "leader", Labels: map[string]string{"team": "shipping"}, Annotations: map[string]string{"note": "mine"},
				},
				Spec: coordinationv1.LeaseSpec{
					HolderIdentity: new("somebody"), LeaseDurationSeconds: new(int32(2)), AcquireTime: &at, RenewTime: &at,
					LeaseTransitions: new(int32(7)),
				},
			}
			if _, err := leases.Create(t.Context(), foreign, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			seen := time.Now()
			l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns, Backend: kubelock.Leases, Identity: "worker"}), "leader")
			if _, err := l.TryAcquire(within(t)); !errors.Is(err, kubelock.ErrNotAcquired) || !strings.Contains(err.Error(), "somebody") {
				t.Errorf("TryAcquire of a Lease that somebody holds: %v", err)
			}
			if s, err := l.Get(within(t)); err != nil || !s.Held || s.Holder != "somebody" || s.Exists {
				t.Errorf("Get: %+v, %v", s, err)
			}
			held := acquire(t, l)
			if waited := time.Since(seen); waited < 2*time.Second {
				t.Errorf("acquired after %v, while the holder may renew for 2s", waited)
			}
			if err := held.Update("state").Save(within(t)); err != nil {
				t.Fatal(err)
			}
			got := lease(t, ns, "leader")
			if got.Labels["team"] != "shipping" || got.Annotations["note"] != "mine" {
				t.Errorf("what is not kubelock's has become %v, %v", got.Labels, got.Annotations)
			}
			if *got.Spec.LeaseTransitions != 8 || !strings.HasPrefix(*got.Spec.HolderIdentity, "worker_") {
				t.Errorf("the Lease tells %v transitions and the holder %s", *got.Spec.LeaseTransitions, *got.Spec.HolderIdentity)
			}
			release(t, held)
			got = lease(t, ns, "leader")
			if got.Labels["team"] != "shipping" || got.Annotations["note"] != "mine" || got.Spec.HolderIdentity != nil || got.Spec.RenewTime != nil {
				t.Errorf("released, the Lease is %+v", got)
			}
		})
	}
}

// TestLeaseShowsItsHolder checks what Kubernetes' own programs read of a held Lease.
func TestLeaseShowsItsHolder(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns, Backend: kubelock.Leases, Identity: "worker-1"}), "report")
	before := time.Now().Add(-2 * time.Second) // The server's time comes in whole seconds.
	held := acquire(t, l, kubelock.WithDuration(20300*time.Millisecond))
	got := lease(t, ns, "report")
	if seconds := *got.Spec.LeaseDurationSeconds; seconds != 21 {
		t.Errorf("a lease of 20.3s is shown as %ds, want it rounded up", seconds)
	}
	if renewed := got.Spec.RenewTime.Time; renewed.Before(before) || renewed.After(time.Now().Add(2*time.Second)) {
		t.Errorf("renewed at %v, now it is %v", renewed, time.Now())
	}
	if out, err := env.Kubectl(t.Context(), "", "get", "leases", "-n", ns); err != nil || !strings.Contains(out, "worker-1_"+held.ID()) {
		t.Errorf("kubectl get leases shows no holder worker-1: %v\n%s", err, out)
	}
	release(t, held)
}

// TestConfigMapKeepsOtherData checks a ConfigMap that keeps a lock beside data of its
// own, through every kind of write.
func TestConfigMapKeepsOtherData(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	configMaps := env.Clientset(t).CoreV1().ConfigMaps(ns)
	data, binary := map[string]string{"colour": "blue"}, map[string][]byte{"logo": {0, 255}}
	_, err := configMaps.Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: "settings", Annotations: map[string]string{"note": "mine"}, Labels: map[string]string{"kubelock.dev/lock": "true", "team": "shipping"},
		},
		Data: data, BinaryData: binary,
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string, state *string) {
		t.Helper()
		got, err := configMaps.Get(t.Context(), "settings", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		value, ok := got.Data["value"]
		if ok != (state != nil) || state != nil && value != *state {
			t.Errorf("%s, the state is %q", when, value)
		}
		delete(got.Data, "value")
		if !maps.Equal(got.Data, data) || string(got.BinaryData["logo"]) != string(binary["logo"]) ||
			got.Annotations["note"] != "mine" || got.Labels["team"] != "shipping" {
			t.Errorf("%s, the ConfigMap has %v, %v, %v, %v", when, got.Data, got.BinaryData, got.Annotations, got.Labels)
		}
	}
	c := newClient(t, kubelock.Config{Namespace: ns, Backend: kubelock.ConfigMaps})
	l := kubelock.NewLock[string](c, "settings")
	held := acquire(t, l)
	check("acquired", nil)
	if err := held.Update("a").Save(within(t)); err != nil {
		t.Fatal(err)
	}
	check("saved", new(`"a"`))
	release(t, held.Update("b"))
	check("released", new(`"b"`))
	if err := l.Delete(within(t)); err != nil {
		t.Fatal(err)
	}
	check("deleted", nil)
	left, err := configMaps.Get(t.Context(), "settings", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range []map[string]string{left.Annotations, left.Labels} {
		for name := range names {
			if strings.HasPrefix(name, "kubelock.dev/") && name != "kubelock.dev/lock" {
				t.Errorf("after Delete there is still %s", name)
			}
		}
	}
	release(t, acquire(t, l))
}

// TestConfigMapThatIsNoLock checks ConfigMaps in which no lock can be kept: each call
// says so and what to do, and changes nothing.
func TestConfigMapThatIsNoLock(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		labels    map[string]string
		immutable *bool
		remedy    string
	}{
		"somebody-elses": {nil, nil, "kubelock.dev/lock=true"},
		"immutable":      {map[string]string{"kubelock.dev/lock": "true"}, new(true), "immutable"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			configMaps := env.Clientset(t).CoreV1().ConfigMaps(ns)
			before, err := configMaps.Create(t.Context(), &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: name, Labels: tc.labels}, Data: map[string]string{"colour": "blue"}, Immutable: tc.immutable,
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns, Backend: kubelock.ConfigMaps}), name)
			expectErrors(t, calls(t, l), kubelock.ErrInvalidKey, name, tc.remedy)
			after, err := configMaps.Get(t.Context(), name, metav1.GetOptions{})
			if err != nil || after.ResourceVersion != before.ResourceVersion {
				t.Errorf("the ConfigMap has become %+v, %v", after, err)
			}
		})
	}
}

// TestUnreadableAnnotations checks a Lease whose annotations somebody has broken: it is
// not taken for free, and nothing is written over them.
func TestUnreadableAnnotations(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	c := newClient(t, kubelock.Config{Namespace: ns, Backend: kubelock.Leases})
	l := kubelock.NewLock[string](c, "broken")
	release(t, acquire(t, l).Update("x"))
	if out, err := env.Kubectl(t.Context(), "", "annotate", "lease", "broken", "-n", ns, "--overwrite",
		"kubelock.dev/last-release={", "kubelock.dev/object-expiry=soon", "kubelock.dev/waiter-x=y"); err != nil {
		t.Fatal(out)
	}
	before := lease(t, ns, "broken").ResourceVersion
	other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns, Backend: kubelock.Leases}), "broken")
	expectErrors(t, calls(t, other), kubelock.ErrInvalidKey, "broken", "kubelock.dev/last-release", "kubelock.dev/object-expiry", "repair")
	if after := lease(t, ns, "broken").ResourceVersion; after != before {
		t.Error("the Lease was written")
	}
}

// TestMoveBetweenBackends checks what docs/backends.md says about moving a lock.
func TestMoveBetweenBackends(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	lock := func(backend kubelock.Backend) *kubelock.Lock[counter] {
		return kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns, Backend: backend}), "orders")
	}
	before, after := lock(kubelock.DistributedLocks), lock(kubelock.Leases)
	held := acquire(t, before)
	token := held.Token()
	release(t, held.Update(counter{7}))
	_, err := before.Do(within(t), func(ctx context.Context, s counter) (counter, error) {
		_, err := after.Do(ctx, func(context.Context, counter) (counter, error) { return s, nil })
		return s, err
	})
	if err != nil {
		t.Fatal(err)
	}
	moved := acquire(t, after)
	if moved.Value().Count != 7 || moved.Token() <= token {
		t.Errorf("moved: %+v with token %d after %d", moved.Value(), moved.Token(), token)
	}
	release(t, moved)
}

// TestShippedRolesSuffice checks that the roles which errors name are all that a program
// needs, and that without them it is told so.
func TestShippedRolesSuffice(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	for backend, tc := range map[kubelock.Backend]struct{ resource, group, role string }{
		kubelock.Leases:     {"leases", "coordination.k8s.io", "kubelock-leases-user"},
		kubelock.ConfigMaps: {"configmaps", "", "kubelock-configmaps-user"},
	} {
		t.Run(tc.resource, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			manifest, err := os.ReadFile(filepath.Join(env.Root, "config", "components", tc.resource, "user_role.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if out, err := env.Kubectl(t.Context(), string(manifest), "apply", "-f", "-"); err != nil {
				t.Fatal(out)
			}
			config := env.AccountIn(t, ns, tc.role, authorizationv1.ResourceAttributes{Verb: "create", Group: tc.group, Resource: tc.resource})
			l := kubelock.NewLock[string](newClientFor(t, config, kubelock.Config{Namespace: ns, Backend: backend}), "key")
			other := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns, Backend: backend}), "key")
			acquire(t, other, kubelock.WithDuration(time.Second))
			held := acquire(t, l) // Waits: needs the watch, too.
			if err := held.Save(within(t)); err != nil {
				t.Error(err)
			}
			release(t, held)
			for call, err := range calls(t, l) {
				if err != nil {
					t.Errorf("with the role %s, %s gives %v", tc.role, call, err)
				}
			}
			elsewhere := kubelock.NewLock[string](newClientFor(t, config, kubelock.Config{Namespace: env.Namespace(t), Backend: backend}), "key")
			expectErrors(t, calls(t, elsewhere), nil, "no permission to get "+tc.resource, "ClusterRole "+tc.role)
		})
	}
}
