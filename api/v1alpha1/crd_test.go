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
	"maps"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// definition returns the CRD as the server has it.
func definition(t testing.TB) map[string]any {
	t.Helper()
	c, err := dynamic.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	resource := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	crd, err := c.Resource(resource).Get(t.Context(), "distributedlocks.kubelock.dev", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return crd.Object
}

// at returns a part of an untyped object.
func at[T any](t testing.TB, object map[string]any, path ...string) T {
	t.Helper()
	value, _, err := unstructured.NestedFieldNoCopy(object, path...)
	if err != nil {
		t.Fatal(err)
	}
	typed, ok := value.(T)
	if !ok {
		t.Fatalf("%v is %v, want a %T", path, value, typed)
	}
	return typed
}

// version returns the definition's only version.
func version(t testing.TB) map[string]any {
	t.Helper()
	versions := at[[]any](t, definition(t), "spec", "versions")
	if len(versions) != 1 {
		t.Fatalf("there are %d versions, want one", len(versions))
	}
	return versions[0].(map[string]any)
}

// eachField calls visit for each field of the schema, the items of lists included.
func eachField(t testing.TB, visit func(path string, field map[string]any)) {
	t.Helper()
	var walk func(path string, field map[string]any)
	walk = func(path string, field map[string]any) {
		if path != "" {
			visit(path, field)
			path += "."
		}
		properties, _ := field["properties"].(map[string]any)
		for _, name := range slices.Sorted(maps.Keys(properties)) {
			walk(path+name, properties[name].(map[string]any))
		}
		if items, ok := field["items"].(map[string]any); ok {
			walk(path[:len(path)-1]+"[]", items)
		}
	}
	walk("", at[map[string]any](t, version(t), "schema", "openAPIV3Schema"))
}

func TestDefinitionIsEstablishedAndStructural(t *testing.T) {
	t.Parallel()
	conditions := map[any]any{}
	for _, c := range at[[]any](t, definition(t), "status", "conditions") {
		c := c.(map[string]any)
		conditions[c["type"]] = c["status"]
	}
	if conditions["Established"] != "True" || conditions["NamesAccepted"] != "True" {
		t.Errorf("the conditions are %v, want Established and NamesAccepted", conditions)
	}
	if status, found := conditions["NonStructuralSchema"]; found {
		t.Errorf("the condition NonStructuralSchema is %v, want none", status)
	}
}

func TestDefinitionHasItsNames(t *testing.T) {
	t.Parallel()
	crd := definition(t)
	for _, want := range []struct {
		path  []string
		value string
	}{
		{[]string{"spec", "group"}, "kubelock.dev"},
		{[]string{"spec", "scope"}, "Namespaced"},
		{[]string{"status", "acceptedNames", "kind"}, "DistributedLock"},
		{[]string{"status", "acceptedNames", "listKind"}, "DistributedLockList"},
		{[]string{"status", "acceptedNames", "plural"}, "distributedlocks"},
		{[]string{"status", "acceptedNames", "singular"}, "distributedlock"},
	} {
		if got := at[string](t, crd, want.path...); got != want.value {
			t.Errorf("%v is %q, want %q", want.path, got, want.value)
		}
	}
	if got := at[[]any](t, crd, "status", "acceptedNames", "shortNames"); !slices.Equal(got, []any{"dlock"}) {
		t.Errorf("the short names are %v", got)
	}
	if got := at[[]any](t, crd, "status", "acceptedNames", "categories"); !slices.Equal(got, []any{"kubelock"}) {
		t.Errorf("the categories are %v", got)
	}
	if got := at[[]any](t, crd, "status", "storedVersions"); !slices.Equal(got, []any{"v1alpha1"}) {
		t.Errorf("the stored versions are %v", got)
	}
}

func TestDefinitionServesAndStoresOneVersionWithoutStatus(t *testing.T) {
	t.Parallel()
	v := version(t)
	if at[string](t, v, "name") != "v1alpha1" || !at[bool](t, v, "served") || !at[bool](t, v, "storage") {
		t.Errorf("version %v is served: %v, stored: %v", v["name"], v["served"], v["storage"])
	}
	if subresources, _ := v["subresources"].(map[string]any); len(subresources) > 0 {
		t.Errorf("the subresources are %v, want none: each transition is one write", subresources)
	}
}

// TestListsAndHoldersAreAtomic is about server-side apply: what one writer always
// writes as a whole is atomic, and the spec is not, because people own a part of it.
func TestListsAndHoldersAreAtomic(t *testing.T) {
	t.Parallel()
	var atomic []string
	eachField(t, func(path string, field map[string]any) {
		list, isList := field["x-kubernetes-list-type"]
		if field["type"] == "array" && !isList {
			t.Errorf("%s has no list type", path)
		}
		if list == "atomic" || field["x-kubernetes-map-type"] == "atomic" {
			atomic = append(atomic, path)
		}
	})
	if want := []string{"spec.holder", "spec.lastRelease", "spec.waiters"}; !slices.Equal(atomic, want) {
		t.Errorf("atomic are %v, want %v", atomic, want)
	}
}

func TestEachFieldHasADescription(t *testing.T) {
	t.Parallel()
	if at[string](t, version(t), "schema", "openAPIV3Schema", "description") == "" {
		t.Error("the kind has no description")
	}
	eachField(t, func(path string, field map[string]any) {
		switch path {
		case "metadata", "spec.waiters[]": // The server describes the one, spec.waiters the other.
			return
		}
		if text, _ := field["description"].(string); text == "" {
			t.Errorf("%s has no description", path)
		}
	})
}

func TestEachFieldHasABound(t *testing.T) {
	t.Parallel()
	bounds := map[any][]string{
		"string": {"maxLength", "enum", "format"}, "integer": {"minimum"}, "array": {"maxItems"}, "object": {"properties"},
	}
	eachField(t, func(path string, field map[string]any) {
		if path == "apiVersion" || path == "kind" || path == "metadata" {
			return
		}
		for _, bound := range bounds[field["type"]] {
			if _, bounded := field[bound]; bounded {
				return
			}
		}
		t.Errorf("%s, of type %v, has no bound", path, field["type"])
	})
}

func TestEachPrinterColumnHasADescription(t *testing.T) {
	t.Parallel()
	for _, column := range at[[]any](t, version(t), "additionalPrinterColumns") {
		column := column.(map[string]any)
		if text, _ := column["description"].(string); text == "" {
			t.Errorf("the column %v has no description", column["name"])
		}
	}
}
