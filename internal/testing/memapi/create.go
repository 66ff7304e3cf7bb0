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
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (s *Server) post(c *call) (answer, error) {
	obj, gvk, err := c.decodeBody()
	if err != nil {
		return answer{}, err
	}
	created, err := s.create(c.table, c.namespace, obj, gvk, len(c.body))
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusCreated, created.raw), nil
}

// create stores the new object obj. The caller must not use obj any more.
func (s *Server) create(t *table, namespace string, obj map[string]any, gvk schema.GroupVersionKind, size int) (*object, error) {
	u := &unstructured.Unstructured{Object: obj}
	u.SetDeletionTimestamp(nil)
	u.SetDeletionGracePeriodSeconds(nil)
	u.SetSelfLink("")
	if err := inNamespace(obj, namespace); err != nil {
		return nil, err
	}
	if t.namespaced && s.namespaces().objects[namespace] == nil {
		return nil, apierrors.NewNotFound(namespaces.GroupResource(), namespace)
	}
	s.stamp(u)
	if t.status {
		delete(obj, "status")
	}
	if t.generation {
		u.SetGeneration(1)
	}
	if t.prepare != nil {
		t.prepare(obj)
	}
	errs := t.validate(obj, nil)
	if len(errs) == 0 {
		errs = validation.ValidateObjectMetaAccessor(u, t.namespaced, pathSegment, field.NewPath("metadata"))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(gvk.GroupKind(), u.GetName(), errs)
	}
	if version, err := versionOf(u); err != nil || version != 0 {
		return nil, errors.New("resourceVersion should not be set on objects to be created")
	}
	key := keyOf(namespace, u.GetName())
	if t.objects[key] != nil {
		return nil, apierrors.NewAlreadyExists(t.groupResource(), u.GetName())
	}
	s.managed(u, nil, t.gvr.GroupVersion())
	if err := checkSize(obj, size); err != nil {
		return nil, err
	}
	return s.commit(t, key, obj), nil
}

func pathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}
