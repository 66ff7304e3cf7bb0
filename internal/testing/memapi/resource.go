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
	"mime"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// resource describes one resource and how its objects are handled. It does not change, so servers share it.
type resource struct {
	gvr        schema.GroupVersionResource
	kind       string
	listKind   string
	singular   string
	shortNames []string
	categories []string
	namespaced bool
	keyPrefix  string // prefix of keys in etcd, which some messages have

	custom         bool // It is defined by a CRD.
	generation     bool // Objects have a metadata.generation.
	status         bool // There is a status subresource.
	createOnUpdate bool // A PUT of an absent object creates it.
	unconditional  bool // A PUT need not have a resourceVersion.
	returnsDeleted bool // DELETE answers with the object.
	patchTypes     []types.PatchType

	// decode decodes a request's body. It drops unknown fields and sets defaults. It returns the body's kind;
	// if that is not the resource's kind, it need not decode the rest.
	decode func(body []byte) (map[string]any, schema.GroupVersionKind, error)
	// example is an object of the Go type, for strategic merge patches.
	example runtime.Object
	// blank is the content of example, for bookmarks.
	blank map[string]any
	// prepare completes an object that is about to be created. It may be nil.
	prepare func(obj map[string]any)
	// validate returns what is wrong with obj. obj replaces old, unless old is nil.
	validate func(obj, old map[string]any) field.ErrorList
	// fields are the fields that field selectors may use, with their paths.
	fields map[string][]string
}

func metadataFields(namespaced bool) map[string][]string {
	paths := map[string][]string{"metadata.name": {"metadata", "name"}}
	if namespaced {
		paths["metadata.namespace"] = []string{"metadata", "namespace"}
	}
	return paths
}

func (r *resource) groupResource() schema.GroupResource { return r.gvr.GroupResource() }
func (r *resource) gvk() schema.GroupVersionKind        { return r.gvr.GroupVersion().WithKind(r.kind) }

// apiPath returns the path of the resource's group and version.
func (r *resource) apiPath() string {
	if r.gvr.Group == "" {
		return "/api/" + r.gvr.Version
	}
	return "/apis/" + r.gvr.Group + "/" + r.gvr.Version
}

func (r *resource) storageKey(key string) string { return r.keyPrefix + "/" + key }

// selectable returns obj's values of the fields that selector uses.
func (r *resource) selectable(obj *object, selector fields.Selector) fields.Set {
	set := fields.Set{}
	for _, requirement := range selector.Requirements() {
		value, _, _ := unstructured.NestedFieldNoCopy(obj.content, r.fields[requirement.Field]...)
		text, _ := value.(string)
		set[requirement.Field] = text
	}
	return set
}

// mediaType returns the first element of a Content-Type header.
func mediaType(header string) string {
	if header == "" {
		return runtime.ContentTypeJSON
	}
	parsed, _, err := mime.ParseMediaType(header)
	if err != nil {
		return header
	}
	return parsed
}

// acceptsJSON reports whether an Accept header allows an answer in JSON.
func acceptsJSON(header string) bool {
	if header == "" {
		return true
	}
	return slices.ContainsFunc(strings.Split(header, ","), func(element string) bool {
		accepted, parameters, _ := strings.Cut(strings.TrimSpace(element), ";")
		switch accepted {
		case "*/*", "application/*":
			return true
		case runtime.ContentTypeJSON:
			return !strings.Contains(parameters, "as=")
		default:
			return false
		}
	})
}

func join(names []string) string { return strings.Join(names, ", ") }
