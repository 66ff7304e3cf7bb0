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

package v1alpha1_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/store"
)

// apply is a user's server-side apply of objectExpiry and nothing else.
func apply(t testing.TB, namespace, name, expiry string) {
	t.Helper()
	kubectl(t, fmt.Sprintf(`
apiVersion: kubelock.dev/v1alpha1
kind: DistributedLock
metadata: {name: %s, namespace: %s}
spec: {objectExpiry: %s}
`, name, namespace, expiry), "apply", "--server-side", "-f", "-")
}

// applied is the managed fields of the user's apply.
func applied(t testing.TB, lock *unstructured.Unstructured) string {
	t.Helper()
	for _, entry := range lock.GetManagedFields() {
		if entry.Operation == metav1.ManagedFieldsOperationApply {
			return entry.Manager + " " + entry.FieldsV1.GetRawString()
		}
	}
	return ""
}

func get(t testing.TB, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	lock, err := locks(t, namespace).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

// newStore returns what the library writes its objects with.
func newStore(t testing.TB, namespace string) store.Store {
	t.Helper()
	config := rest.CopyConfig(env.Config)
	config.UserAgent = "kubelock/test" // Which is where the field manager comes from.
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.DistributedLocks.Open(config, client, namespace)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const appliedExpiry = `kubectl {"f:spec":{"f:objectExpiry":{}}}`

func TestApplyOfObjectExpiryLeavesTheLockAlone(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	before := create(t, newLock(t, namespace, changes{"spec.objectExpiry": absent}))
	apply(t, namespace, before.GetName(), "5m")
	after := get(t, namespace, before.GetName())

	want := change(t, before, changes{"spec.objectExpiry": "5m"})
	if got, want := after.Object["spec"], want.Object["spec"]; !reflect.DeepEqual(got, want) {
		t.Errorf("the spec is %v, want %v", got, want)
	}
	if got, want := after.GetLabels(), before.GetLabels(); !reflect.DeepEqual(got, want) {
		t.Errorf("the labels are %v, want %v", got, want)
	}
	if got := applied(t, after); got != appliedExpiry {
		t.Errorf("applied is %s, want %s", got, appliedExpiry)
	}
}

// TestLibraryKeepsAnAppliedObjectExpiry is that the library's writes, which are whole
// objects without managed fields, do not take the field from the user, who could then
// apply it again only by force.
func TestLibraryKeepsAnAppliedObjectExpiry(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	s := newStore(t, namespace)
	name := create(t, newLock(t, namespace, changes{"spec.objectExpiry": absent})).GetName()
	apply(t, namespace, name, "5m")

	record, err := s.Get(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	record.Holder.RenewTime = record.Holder.RenewTime.Add(10 * time.Second)
	record.Value = new(`{"count": 4}`)
	if _, err := s.Update(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	lock := get(t, namespace, name)
	if got := at[string](t, lock.Object, "spec", "objectExpiry"); got != "5m" {
		t.Errorf("objectExpiry is %s, want it as it was applied", got)
	}
	if got := at[string](t, lock.Object, "spec", "value"); got != `{"count": 4}` {
		t.Errorf("the value is %s, want that of the update", got)
	}
	if got := applied(t, lock); got != appliedExpiry {
		t.Errorf("applied is %q after the update, want %q", got, appliedExpiry)
	}
	apply(t, namespace, name, "10m0s")
	if got := at[string](t, get(t, namespace, name).Object, "spec", "objectExpiry"); got != "10m0s" {
		t.Errorf("objectExpiry is %s, want what was applied last", got)
	}
}

func TestApplyCreatesAFreeLock(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	apply(t, namespace, "new", "24h")
	if spec := get(t, namespace, "new").Object["spec"]; !reflect.DeepEqual(spec, map[string]any{"objectExpiry": "24h"}) {
		t.Errorf("the spec is %v", spec)
	}
}
