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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// What else runs in a cluster, on the real API server: see docs/surroundings.md.

// forBackends runs a test for each kind of object in a namespace of its own.
func forBackends(t *testing.T, f func(t *testing.T, ns string, backend kubelock.Backend)) {
	t.Helper()
	for _, backend := range backends {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			f(t, env.Namespace(t), backend)
		})
	}
}

// lockObject is an object of the backend's kind, to be read or patched.
func lockObject(backend kubelock.Backend, ns, name string) client.Object {
	obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	switch backend {
	case kubelock.Leases:
		obj.SetGroupVersionKind(coordinationv1.SchemeGroupVersion.WithKind("Lease"))
	case kubelock.ConfigMaps:
		obj.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	case kubelock.DistributedLocks:
		obj.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("DistributedLock"))
	}
	return obj
}

// addOne adds one to the lock's state by Do.
func addOne(ctx context.Context, l *kubelock.Lock[int]) error {
	_, err := l.Do(ctx, func(_ context.Context, n int) (int, error) { return n + 1, nil })
	return err
}

// contend has clients add to one lock by Do, each so often, and returns the slowest hold's wait.
func contend(t *testing.T, locks []*kubelock.Lock[int], n int) (slowest time.Duration) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, l := range locks {
		wg.Go(func() {
			for range n {
				start := time.Now()
				if err := addOne(within(t), l); err != nil {
					t.Errorf("Do: %v", err)
					return
				}
				mu.Lock()
				slowest = max(slowest, time.Since(start))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	held := acquire(t, locks[0])
	if held.Value() != n*len(locks) {
		t.Errorf("after %d additions the state is %d", n*len(locks), held.Value())
	}
	release(t, held)
	return slowest
}

// TestLabelsAreRemoved has a MutatingAdmissionPolicy remove every label.
func TestLabelsAreRemoved(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	forBackends(t, func(t *testing.T, ns string, backend kubelock.Backend) {
		t.Helper()
		removeLabels(t, ns)
		locks := make([]*kubelock.Lock[int], 3)
		for i := range locks {
			locks[i] = kubelock.NewLock[int](newClient(t, kubelock.Config{Namespace: ns, Backend: backend, LockDuration: 10 * time.Second}), "k")
		}
		if backend == kubelock.ConfigMaps {
			for range 2 { // To create it, and to find it.
				err := addOne(within(t), locks[0])
				if !errors.Is(err, kubelock.ErrInvalidKey) || !strings.Contains(err.Error(), v1alpha1.LockLabel) {
					t.Errorf("without its label: %v, want ErrInvalidKey that names the label", err)
				}
			}
			return
		}
		t.Logf("the slowest of 15 took %v", contend(t, locks, 5))
		held := acquire(t, locks[0], kubelock.WithDuration(time.Second), kubelock.WithAutoRenew())
		<-time.After(3 * time.Second)
		release(t, held)
	})
}

// removeLabels installs the policy in a namespace, and returns when it is in force.
func removeLabels(t *testing.T, ns string) {
	t.Helper()
	admissions := env.Clientset(t).AdmissionregistrationV1()
	remove := `has(object.metadata.labels) ? [JSONPatch{op: "remove", path: "/metadata/labels"}] : []`
	_, err := admissions.MutatingAdmissionPolicies().Create(t.Context(), &admissionv1.MutatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: ns + "-no-labels"},
		Spec: admissionv1.MutatingAdmissionPolicySpec{
			FailurePolicy:      new(admissionv1.Fail),
			ReinvocationPolicy: admissionv1.NeverReinvocationPolicy,
			MatchConstraints: &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionv1.RuleWithOperations{
					Operations: []admissionv1.OperationType{admissionv1.Create, admissionv1.Update},
					Rule:       admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"distributedlocks", "leases", "configmaps"}},
				},
			}}},
			Mutations: []admissionv1.Mutation{{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: remove}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = admissions.MutatingAdmissionPolicyBindings().Create(t.Context(), &admissionv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ns + "-no-labels"},
		Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{
			PolicyName:     ns + "-no-labels",
			MatchResources: &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: ns}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_ = admissions.MutatingAdmissionPolicyBindings().Delete(ctx, ns+"-no-labels", metav1.DeleteOptions{})
		_ = admissions.MutatingAdmissionPolicies().Delete(ctx, ns+"-no-labels", metav1.DeleteOptions{})
	})
	for within(t).Err() == nil {
		probe, err := env.Clientset(t).CoreV1().ConfigMaps(ns).Create(within(t), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: "probe", Labels: map[string]string{"a": "b"}},
		}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && len(probe.Labels) == 0 {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatal("the policy does not come into force")
}

// TestMetadataIsOverwritten writes labels and annotations of the object 50 times a second while clients
// contend for the lock, as several loops of kubectl label and kubectl annotate with --overwrite do: one such loop
// writes about 12 times a second. A client that takes a free lock needs the object to stay as it is between its
// read and its write, so the more often others write, the longer that takes.
func TestMetadataIsOverwritten(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	forBackends(t, func(t *testing.T, ns string, backend kubelock.Backend) {
		t.Helper()
		locks := make([]*kubelock.Lock[int], 3)
		for i := range locks {
			locks[i] = kubelock.NewLock[int](newClient(t, kubelock.Config{Namespace: ns, Backend: backend}), "k")
		}
		held := acquire(t, locks[0])
		admin, obj := env.Client(t), lockObject(backend, ns, "k")
		noun := map[kubelock.Backend]string{kubelock.DistributedLocks: "distributedlock", kubelock.Leases: "lease", kubelock.ConfigMaps: "configmap"}[backend]
		for verb, pair := range map[string]string{"label": "team=a", "annotate": "note=b"} {
			if out, err := env.Kubectl(within(t), "", verb, noun, "k", pair, "--overwrite", "-n", ns); err != nil {
				t.Errorf("kubectl %s: %v: %s", verb, err, out)
			}
		}
		release(t, held)

		stop, stopped := make(chan struct{}), make(chan int)
		go func() {
			pace := time.NewTicker(20 * time.Millisecond)
			defer pace.Stop()
			for n := 0; ; n++ {
				select {
				case <-stop:
					stopped <- n
					return
				case <-pace.C:
				}
				patch := fmt.Sprintf(`{"metadata":{"labels":{"team":"%d"},"annotations":{"note":"%d"}}}`, n, n)
				if n%5 == 4 { // And takes them away.
					patch = `{"metadata":{"labels":{"team":null},"annotations":{"note":null}}}`
				}
				if err := admin.Patch(within(t), obj, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
					t.Errorf("overwriting: %v", err)
				}
			}
		}()
		slowest := contend(t, locks, 10)
		close(stop)
		t.Logf("the slowest of 30 took %v, beside %d other writes", slowest, <-stopped)
	})
}

// TestConfigMapIsAppliedByForce applies manifests of a ConfigMap while its lock is held, as Helm and Flux
// do, which take fields from others. Only what the manifest has under the state's own key is lost.
func TestConfigMapIsAppliedByForce(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	for _, c := range []struct {
		name     string
		manifest map[string]any
		during   int // the state while it is held with 5
	}{
		{"other data", map[string]any{"data": map[string]string{"settings": "x"}}, 5},
		{"labels only", map[string]any{}, 5},
		{"data.value", map[string]any{"data": map[string]string{"value": "99"}}, 99},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			apply := func() {
				t.Helper()
				manifest := map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{
					"name": "k", "namespace": ns, "labels": map[string]string{v1alpha1.LockLabel: "true", "app": "x"},
				}}
				maps.Copy(manifest, c.manifest)
				text, err := json.Marshal(manifest)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := env.Clientset(t).CoreV1().ConfigMaps(ns).Patch(within(t), "k", types.ApplyPatchType, text,
					metav1.PatchOptions{FieldManager: "helm", Force: new(true)}); err != nil {
					t.Fatal(err)
				}
			}
			apply()
			a := kubelock.NewLock[int](newClient(t, kubelock.Config{Namespace: ns, Backend: kubelock.ConfigMaps}), "k")
			b := kubelock.NewLock[int](newClient(t, kubelock.Config{Namespace: ns, Backend: kubelock.ConfigMaps}), "k")
			held := acquire(t, a).Update(5)
			if err := held.Save(within(t)); err != nil {
				t.Fatal(err)
			}
			next := make(chan *kubelock.Held[int], 1)
			go func() {
				h, err := b.Acquire(within(t))
				if err != nil {
					t.Error(err)
				}
				next <- h
			}()
			for range 3 {
				apply()
				if err := held.Renew(within(t)); err != nil {
					t.Errorf("Renew after an apply: %v", err)
				}
			}
			if s, err := b.Get(within(t)); err != nil || !s.Held || s.Value != c.during || s.Token != held.Token() {
				t.Errorf("while it is held and applied: %+v, %v", s, err)
			}
			select {
			case <-next:
				t.Fatal("another client has the lock")
			default:
			}
			if err := held.Update(6).Save(within(t)); err != nil {
				t.Errorf("Save after an apply: %v", err)
			}
			release(t, held.Update(7))
			h := <-next
			if h.Value() != 7 || h.Token() <= held.Token() {
				t.Errorf("the next has %d and token %d after %d", h.Value(), h.Token(), held.Token())
			}
			apply()
			release(t, h.Update(8))
			apply()
			want := 8
			if c.during == 99 {
				want = 99 // Applied again.
			}
			if s, err := a.Get(within(t)); err != nil || s.Held || s.Value != want {
				t.Errorf("in the end: %+v, %v", s, err)
			}
			cm, err := env.Clientset(t).CoreV1().ConfigMaps(ns).Get(within(t), "k", metav1.GetOptions{})
			if err != nil || cm.Labels["app"] != "x" {
				t.Errorf("the ConfigMap: %v, %v", cm.Labels, err)
			}
		})
	}
}

// TestUserAgentIsReplaced sends what a proxy makes of the user agent that the field manager is taken
// from: nothing, another one, one that changes.
func TestUserAgentIsReplaced(t *testing.T) {
	t.Parallel()
	for name, agent := range map[string]func(n int64) string{
		"none":        func(int64) string { return "" },
		"slash":       func(int64) string { return "/" },
		"other":       func(int64) string { return "proxy/1.2 (gateway)" },
		"long":        func(int64) string { return strings.Repeat("proxy", 60) },
		"changes":     func(n int64) string { return fmt.Sprintf("proxy-%d/1", n%3) },
		"unprintable": func(int64) string { return "pro\u00a0xy/1" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			forBackends(t, func(t *testing.T, ns string, backend kubelock.Backend) {
				t.Helper()
				var n atomic.Int64
				config := rest.CopyConfig(env.Config)
				config.Wrap(func(next http.RoundTripper) http.RoundTripper {
					return &interceptor{next, func(req *http.Request) (*http.Response, error) {
						req = req.Clone(req.Context())
						req.Header.Set("User-Agent", agent(n.Add(1)))
						return next.RoundTrip(req)
					}}
				})
				locks := []*kubelock.Lock[int]{
					kubelock.NewLock[int](newClientFor(t, config, kubelock.Config{Namespace: ns, Backend: backend}), "k"),
					kubelock.NewLock[int](newClientFor(t, config, kubelock.Config{Namespace: ns, Backend: backend}), "k"),
				}
				contend(t, locks, 3)
				held := acquire(t, locks[0])
				if err := held.Renew(within(t)); err != nil {
					t.Errorf("Renew: %v", err)
				}
				release(t, held)
				if err := locks[1].Delete(within(t)); err != nil {
					t.Errorf("Delete: %v", err)
				}
			})
		})
	}
}

// TestQuotaIsFull has a quota refuse the creation of the object.
func TestQuotaIsFull(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	forBackends(t, func(t *testing.T, ns string, backend kubelock.Backend) {
		t.Helper()
		name := map[kubelock.Backend]corev1.ResourceName{
			kubelock.DistributedLocks: "count/distributedlocks.kubelock.dev", kubelock.Leases: "count/leases.coordination.k8s.io", kubelock.ConfigMaps: "count/configmaps",
		}[backend]
		quotas := env.Clientset(t).CoreV1().ResourceQuotas(ns)
		full := corev1.ResourceList{name: resource.MustParse("0")}
		quota, err := quotas.Create(t.Context(), &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "full"}, Spec: corev1.ResourceQuotaSpec{Hard: full}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		quota.Status = corev1.ResourceQuotaStatus{Hard: full, Used: full} // As the controller that does not run here.
		if _, err := quotas.UpdateStatus(t.Context(), quota, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		l := kubelock.NewLock[int](newClient(t, kubelock.Config{Namespace: ns, Backend: backend}), "k")
		for denied := false; !denied; { // The API server learns of the quota soon.
			held, err := l.TryAcquire(within(t))
			switch {
			case err == nil:
				release(t, held)
				if err := l.Delete(within(t)); err != nil {
					t.Fatal(err)
				}
			case !strings.Contains(err.Error(), "exceeded quota"), strings.Contains(err.Error(), "bind the ClusterRole"), errors.Is(err, kubelock.ErrNotAcquired):
				t.Fatalf("a full quota gives %v", err)
			default:
				denied = true
			}
		}
		start := time.Now()
		if err := addOne(within(t), l); err == nil || !strings.Contains(err.Error(), "exceeded quota") {
			t.Errorf("Do with a full quota: %v", err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("it was told after %v", took)
		}
		if err := quotas.Delete(t.Context(), "full", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		for {
			err := addOne(within(t), l)
			if err == nil {
				break
			}
			if !strings.Contains(err.Error(), "exceeded quota") {
				t.Fatalf("after the quota: %v", err)
			}
		}
	})
}

// stripLabels is what a mutating admission that removes labels does to requests in JSON.
func stripLabels(req *http.Request, next http.RoundTripper) (*http.Response, error) {
	if req.Method == http.MethodGet || req.Method == http.MethodDelete {
		return next.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if req.Method == http.MethodPatch {
		var ops []map[string]any
		if err := json.Unmarshal(body, &ops); err != nil {
			return nil, err
		}
		kept := []map[string]any{}
		for _, op := range ops {
			if !strings.HasPrefix(op["path"].(string), "/metadata/labels") {
				kept = append(kept, op)
			}
		}
		body, err = json.Marshal(kept)
	} else {
		var obj map[string]any
		if err := json.Unmarshal(body, &obj); err != nil {
			return nil, err
		}
		delete(obj["metadata"].(map[string]any), "labels")
		body, err = json.Marshal(obj)
	}
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return next.RoundTrip(req)
}

// TestWaitersWithoutLabels checks how late waiters have the lock when labels are removed, and that the
// program learns of it, once for each client.
func TestWaitersWithoutLabels(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		server.Intercept(stripLabels)
		var told atomic.Int64
		log := funcr.New(func(_, args string) {
			if strings.Contains(args, v1alpha1.HolderLabel) {
				told.Add(1)
			}
		}, funcr.Options{})
		locks := make([]*kubelock.Lock[int], 3)
		for i := range locks {
			locks[i] = kubelock.NewLock[int](server.NewClient(t, kubelock.Config{Logger: log}), "k")
		}
		if slowest := contend(t, locks, 10); slowest > 5*time.Second {
			t.Errorf("the slowest of 30 took %v", slowest)
		}
		if n := told.Load(); n != 3 {
			t.Errorf("3 clients were told %d times", n)
		}
	})
}
