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
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/store"
)

// TestStripForCache checks what the reaper's cache leaves out and what it keeps.
func TestStripForCache(t *testing.T) {
	t.Parallel()
	lock := &v1alpha1.DistributedLock{
		ObjectMeta: metav1.ObjectMeta{
			Name: "orders", UID: "uid", ResourceVersion: "7", Labels: map[string]string{"a": "b", v1alpha1.HolderLabel: "c"},
			Annotations:   map[string]string{"kubectl.kubernetes.io/last-applied-configuration": "large", controllers.KeepAnnotation: "true"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "somebody"}},
		},
		Spec: v1alpha1.DistributedLockSpec{Value: new(`"secret"`), Transitions: 3, Holder: &v1alpha1.Holder{LockID: "l"}},
	}
	got, err := controllers.StripForCache(store.DistributedLocks)(lock.DeepCopy())
	if err != nil {
		t.Fatal(err)
	}
	stripped, ok := got.(*v1alpha1.DistributedLock)
	if !ok || stripped.Spec.Value != nil || stripped.ManagedFields != nil || len(stripped.Labels) != 1 || len(stripped.Annotations) != 1 {
		t.Errorf("the cache has %+v, want neither value nor managed fields, nor the labels and annotations of others", got)
	}
	if stripped.UID != "uid" || stripped.ResourceVersion != "7" || stripped.Labels[v1alpha1.HolderLabel] != "c" || stripped.Annotations[controllers.KeepAnnotation] != "true" || stripped.Spec.Transitions != 3 || stripped.Spec.Holder.LockID != "l" {
		t.Errorf("the cache has %+v, which lacks what deciding needs", stripped)
	}
	if got, err := controllers.StripForCache(store.DistributedLocks)(&corev1.Pod{}); err == nil {
		t.Errorf("a Pod is cached as %+v", got)
	}
}

// TestStateOutlivesTheCache checks that the reaper writes what it has read from the API
// server, and not what its cache left over.
func TestStateOutlivesTheCache(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	mgr := reaper{namespaces: []string{ns}}.start(t)
	die(t, ns, "orders", 4*time.Second)
	change(t, ns, "orders", func(obj *v1alpha1.DistributedLock) {
		obj.Labels["team"] = "shipping"
		obj.Annotations = map[string]string{"note": "mine"}
		obj.Finalizers = []string{"example.com/keep"}
	})
	before := object(t, ns, "orders")
	cached := &v1alpha1.DistributedLock{}
	err := wait.PollUntilContextCancel(soon(t), 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := mgr.GetClient().Get(ctx, client.ObjectKeyFromObject(before), cached)
		return cached.ResourceVersion == before.ResourceVersion, client.IgnoreNotFound(err)
	})
	if err != nil {
		t.Fatal(err)
	}
	if cached.Spec.Value != nil || cached.ManagedFields != nil {
		t.Errorf("the cache has the value %v and %d managed fields", cached.Spec.Value, len(cached.ManagedFields))
	}

	after := history.Until(patience, "orders", "freed", expired)
	if after.Spec.Value == nil || *after.Spec.Value != `"of orders"` {
		t.Errorf("freeing the lock left the state %v", after.Spec.Value)
	}
	if !maps.Equal(after.Labels, map[string]string{"team": "shipping"}) || after.Annotations["note"] != "mine" || len(after.Finalizers) != 1 {
		t.Errorf("freeing the lock changed what others put into its metadata: %+v", after.ObjectMeta)
	}
	managers := map[string]bool{}
	for _, f := range after.ManagedFields {
		managers[f.Manager] = true
	}
	if !managers["kubelock"] || !managers[controllers.FieldManager] {
		t.Errorf("the lock's fields are managed by %v, want the library and the reaper", managers)
	}
	change(t, ns, "orders", func(obj *v1alpha1.DistributedLock) { obj.Finalizers = nil })
}
