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
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metajson "k8s.io/apimachinery/pkg/runtime/serializer/json"
)

// deleteOptions returns the options in the body.
func (c *call) deleteOptions() (*metav1.DeleteOptions, error) {
	options := &metav1.DeleteOptions{}
	if c.URL.Query().Has("dryRun") {
		return nil, apierrors.NewBadRequest("memapi does not support dryRun")
	}
	if len(c.body) == 0 {
		return options, nil
	}
	switch mediaType(c.Header.Get("Content-Type")) {
	case runtime.ContentTypeJSON:
		if err := json.Unmarshal(c.body, options); err != nil {
			if _, unrecognized := metajson.DefaultMetaFactory.Interpret(c.body); unrecognized != nil {
				err = unrecognized
			}
			return nil, apierrors.NewBadRequest(err.Error())
		}
	case typeProtobuf:
		unknown := runtime.Unknown{}
		const magic = 4 // bytes before the message
		if len(c.body) < magic || unknown.Unmarshal(c.body[magic:]) != nil || options.Unmarshal(unknown.Raw) != nil {
			return nil, apierrors.NewBadRequest("the body is no DeleteOptions")
		}
	default:
		return nil, unsupportedMediaType(runtime.ContentTypeJSON, typeYAML, typeProtobuf)
	}
	if len(options.DryRun) > 0 {
		return nil, apierrors.NewBadRequest("memapi does not support dryRun")
	}
	return options, nil
}

func (s *Server) remove(c *call) (answer, error) {
	options, err := c.deleteOptions()
	if err != nil {
		return answer{}, err
	}
	t := c.table
	existing := t.objects[keyOf(c.namespace, c.name)]
	if existing == nil {
		return answer{}, apierrors.NewNotFound(t.groupResource(), c.name)
	}
	meta := existing.meta()
	if want := options.Preconditions; want != nil {
		conflict := func(message string, want, have any) error {
			return apierrors.NewConflict(schema.GroupResource{Group: t.gvr.Group, Resource: t.kind}, c.name, fmt.Errorf(message, want, have))
		}
		if want.UID != nil && *want.UID != meta.GetUID() {
			return answer{}, conflict("the UID in the precondition (%s) does not match the UID in record (%s). The object might have been deleted and then recreated", *want.UID, meta.GetUID())
		}
		if want.ResourceVersion != nil && *want.ResourceVersion != meta.GetResourceVersion() {
			return answer{}, conflict("the ResourceVersion in the precondition (%s) does not match the ResourceVersion in record (%s). The object might have been modified", *want.ResourceVersion, meta.GetResourceVersion())
		}
	}
	left, gone := s.deleteObject(t, existing)
	if !gone || t.returnsDeleted {
		return jsonAnswer(http.StatusOK, left.raw), nil
	}
	return jsonAnswer(http.StatusOK, encode(&metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusSuccess,
		Details:  &metav1.StatusDetails{Name: c.name, Group: t.gvr.Group, Kind: t.gvr.Resource, UID: meta.GetUID()},
	})), nil
}

// deleteObject deletes an object, or marks it as being deleted if it has finalizers.
func (s *Server) deleteObject(t *table, existing *object) (left *object, gone bool) {
	if len(existing.meta().GetFinalizers()) == 0 {
		if t.gvr == namespaces {
			s.empty(existing.key)
		}
		return s.commit(t, existing.key, nil), true
	}
	if existing.meta().GetDeletionTimestamp() != nil {
		return existing, false
	}
	u := existing.meta().DeepCopy()
	if generation := u.GetGeneration(); generation > 0 {
		u.SetGeneration(generation + 1)
	}
	u.SetDeletionTimestamp(new(metav1.NewTime(s.now())))
	u.SetDeletionGracePeriodSeconds(new(int64(0)))
	return s.commit(t, existing.key, u.Object), false
}

// empty deletes all objects in a namespace.
func (s *Server) empty(namespace string) {
	for _, t := range s.tables {
		for _, key := range slices.Clone(t.under(namespace)) {
			if t.namespaced {
				s.commit(t, key, nil)
			}
		}
	}
}

func (s *Server) deleteCollection(c *call) (answer, error) {
	if _, err := c.deleteOptions(); err != nil {
		return answer{}, err
	}
	options, err := c.listOptions()
	if err != nil {
		return answer{}, err
	}
	found := c.table.selectFrom(c.table.objects, c.table.under(c.namespace), options)
	listed := &metav1.ListMeta{ResourceVersion: strconv.FormatInt(s.revision, 10)}
	for _, obj := range found {
		s.deleteObject(c.table, obj)
	}
	return jsonAnswer(http.StatusOK, c.table.encodeList(found, listed)), nil
}
