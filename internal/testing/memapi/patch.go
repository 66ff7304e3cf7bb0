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
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func (s *Server) patch(c *call) (answer, error) {
	t, kind := c.table, types.PatchType(mediaType(c.Header.Get("Content-Type")))
	if !slices.Contains(t.patchTypes, kind) {
		accepted := make([]string, 0, len(t.patchTypes)+1)
		for _, known := range t.patchTypes {
			accepted = append(accepted, string(known))
		}
		return answer{}, unsupportedMediaType(append(accepted, string(types.ApplyYAMLPatchType))...)
	}
	if err := c.tooLong(); err != nil {
		return answer{}, err
	}
	if c.URL.Query().Has("dryRun") {
		return answer{}, apierrors.NewBadRequest("memapi does not support dryRun")
	}
	if !json.Valid(c.body) {
		return answer{}, apierrors.NewBadRequest("invalid JSON patch")
	}
	existing := t.objects[keyOf(c.namespace, c.name)]
	if existing == nil {
		return answer{}, apierrors.NewNotFound(t.groupResource(), c.name)
	}
	patched, err := t.apply(kind, c.body, existing.raw)
	if err != nil {
		return answer{}, err
	}
	obj, gvk, err := t.decode(patched)
	if err == nil && gvk != t.gvk() && !t.custom {
		err = fmt.Errorf("unable to decode %s as %s", gvk, t.gvk())
	}
	if err != nil {
		return answer{}, apierrors.NewInvalid(schema.GroupKind{}, "", field.ErrorList{
			field.Invalid(field.NewPath("patch"), string(patched), err.Error()),
		})
	}
	if err := inNamespace(obj, c.namespace); err != nil {
		return answer{}, err
	}
	if err := c.checkName(&unstructured.Unstructured{Object: obj}); err != nil {
		return answer{}, err
	}
	updated, err := s.update(c, existing, obj, gvk)
	if err != nil {
		return answer{}, err
	}
	return jsonAnswer(http.StatusOK, updated.raw), nil
}

// jsonPatchOp is the form of each operation of a JSON patch.
type jsonPatchOp struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	From  string `json:"from"`
	Value any    `json:"value"`
}

// apply returns the object current with a patch applied to it.
func (r *resource) apply(kind types.PatchType, patch, current []byte) ([]byte, error) {
	switch kind {
	case types.JSONPatchType:
		var known []jsonPatchOp
		if err := utiljson.Unmarshal(patch, &known); err != nil {
			text := strings.ReplaceAll(err.Error(), "memapi.", "handlers.") // where a real server has the type
			return nil, apierrors.NewBadRequest("error decoding patch: " + text)
		}
		operations, err := jsonpatch.DecodePatch(patch)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		if len(operations) > maxPatchOperations {
			return nil, apierrors.NewRequestEntityTooLargeError(fmt.Sprintf(
				"The allowed maximum operations in a JSON patch is %d, got %d", maxPatchOperations, len(operations)))
		}
		patched, err := operations.Apply(current)
		if err != nil {
			return nil, apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
		}
		return patched, nil
	case types.StrategicMergePatchType:
		patched, err := strategicpatch.StrategicMergePatch(current, patch, r.example)
		if err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return patched, nil
	default:
		var fields map[string]any
		if err := utiljson.Unmarshal(patch, &fields); err != nil {
			return nil, apierrors.NewBadRequest("error decoding patch: " + err.Error())
		}
		patched, err := jsonpatch.MergePatch(current, patch)
		if errors.Is(err, jsonpatch.ErrBadJSONPatch) {
			return nil, apierrors.NewBadRequest(err.Error())
		}
		return patched, err
	}
}
