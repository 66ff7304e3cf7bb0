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
	"maps"
	"testing"
	"time"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
)

// TestStateOutlivesTheCache checks that the reaper writes the object that it has read from the API
// server, and not the part of it that its cache has.
func TestStateOutlivesTheCache(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}}.start(t)
	die(t, ns, "orders", 4*time.Second)
	change(t, ns, "orders", func(obj *v1alpha1.DistributedLock) {
		obj.Labels["team"] = "shipping"
		obj.Annotations = map[string]string{"note": "mine"}
		obj.Finalizers = []string{"example.com/keep"}
	})
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
