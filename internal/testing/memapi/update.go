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

package memapi

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (s *Server) put(c *call) (answer, error) {
	obj, gvk, err := c.decodeBody()
	if err != nil {
		return answer{}, err
	}
	if err := inNamespace(obj, c.namespace); err != nil {
		return answer{}, err
	}
	u := &unstructured.Unstructured{Object: obj}
	if err := c.checkName(u); err != nil {
		return answer{}, err
	}
	t, key := c.table, keyOf(c.namespace, c.name)
	existing := t.objects[key]
	create := existing == nil && t.createOnUpdate && c.subresource == ""
	if existing == nil && !create {
		return answer{}, apierrors.NewNotFound(t.groupResource(), c.name)
	}
	var stored types.UID
	if existing != nil {
		stored = existing.meta().GetUID()
	}
	if want := u.GetUID(); want != "" && want != stored {
		return answer{}, storageConflict(t.groupResource(), c.name, t.storageKey(key),
			fmt.Sprintf("UID in precondition: %s, UID in object meta: %s", want, stored))
	}
	if create {
		u.SetResourceVersion("") // A PUT that creates an object ignores its resourceVersion.
		created, err := s.create(t, c.namespace, obj, gvk, len(c.body))
		if err != nil {
			return answer{}, err
		}
		return jsonAnswer(http.StatusCreated, created.raw), nil
	}
	updated, err := s.update(c, existing, obj, gvk)
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, updated.raw), nil
}

func (c *call) checkName(u *unstructured.Unstructured) error {
	switch u.GetName() {
	case c.name:
		return nil
	case "":
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", c.name))
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", u.GetName(), c.name))
	}
}

// update replaces existing by obj. The caller must not use obj any more.
func (s *Server) update(c *call, existing *object, obj map[string]any, gvk schema.GroupVersionKind) (*object, error) {
	t, u, old := c.table, &unstructured.Unstructured{Object: obj}, existing.meta()
	version, err := versionOf(u)
	switch {
	case err != nil:
		return nil, err
	case version == 0 && t.unconditional:
		u.SetResourceVersion(old.GetResourceVersion())
	case version == 0:
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: t.gvr.Group, Kind: t.gvr.Resource}, c.name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "resourceVersion"), 0, "must be specified for an update"),
		})
	case version != existing.version:
		return nil, apierrors.NewConflict(t.groupResource(), c.name, errors.New(staleMessage))
	}
	if c.subresource == "status" {
		status, ok := obj["status"]
		obj = maps.Clone(existing.content)
		obj["metadata"] = maps.Clone(old.Object["metadata"].(map[string]any)) // Each object has it.
		delete(obj, "status")
		if ok {
			obj["status"] = status
		}
		u = &unstructured.Unstructured{Object: obj}
	} else {
		t.keepOwn(obj, existing.content)
	}
	u.SetCreationTimestamp(old.GetCreationTimestamp())
	if u.GetUID() == "" {
		u.SetUID(old.GetUID())
	}
	if deletion := old.GetDeletionTimestamp(); deletion != nil {
		u.SetDeletionTimestamp(deletion)
		if u.GetDeletionGracePeriodSeconds() == nil {
			u.SetDeletionGracePeriodSeconds(old.GetDeletionGracePeriodSeconds())
		}
	}
	path := field.NewPath("metadata")
	errs := validation.ValidateObjectMetaAccessor(u, t.namespaced, pathSegment, path)
	errs = append(errs, validation.ValidateObjectMetaAccessorUpdate(u, old, path)...)
	errs = append(errs, t.validate(obj, existing.content)...)
	if len(errs) > 0 {
		if t.example != nil { // A built-in kind.
			errs = withoutRepeats(errs)
		}
		return nil, apierrors.NewInvalid(gvk.GroupKind(), u.GetName(), errs)
	}
	if old.GetDeletionTimestamp() != nil && len(u.GetFinalizers()) == 0 {
		s.commit(t, existing.key, nil)
		return newObject(existing.key, existing.version, obj), nil
	}
	u.SetManagedFields(old.GetManagedFields())
	if reflect.DeepEqual(obj, existing.content) {
		return existing, nil
	}
	s.managed(u, old, t.gvr.GroupVersion())
	if err := checkSize(obj, len(existing.raw)+len(c.body)); err != nil {
		return nil, err
	}
	return s.commit(t, existing.key, obj), nil
}

// withoutRepeats returns errs without duplicates, which several checks may find.
func withoutRepeats(errs field.ErrorList) field.ErrorList {
	var all field.ErrorList
	for _, err := range errs {
		if !slices.ContainsFunc(all, func(other *field.Error) bool { return other.Error() == err.Error() }) {
			all = append(all, err)
		}
	}
	return all
}

// keepOwn copies the fields that an update cannot change from old to obj.
func (t *table) keepOwn(obj, old map[string]any) {
	u := &unstructured.Unstructured{Object: obj}
	if t.status {
		delete(obj, "status")
		if status, ok := old["status"]; ok {
			obj["status"] = status
		}
	}
	before := (&unstructured.Unstructured{Object: old}).GetGeneration()
	if before != u.GetGeneration() {
		u.SetGeneration(before)
		if before == 0 {
			unstructured.RemoveNestedField(obj, "metadata", "generation")
		}
	}
	if t.generation && !equalBesidesMetadata(obj, old) {
		u.SetGeneration(before + 1)
	}
}

func equalBesidesMetadata(a, b map[string]any) bool {
	count := func(m map[string]any) int {
		if _, ok := m["metadata"]; ok {
			return len(m) - 1
		}
		return len(m)
	}
	if count(a) != count(b) {
		return false
	}
	for name, value := range a {
		if other, ok := b[name]; name != "metadata" && (!ok || !reflect.DeepEqual(value, other)) {
			return false
		}
	}
	return true
}
