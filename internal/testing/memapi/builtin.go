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
	"encoding/base64"
	"maps"
	"reflect"
	"slices"
	"sync"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	utilvalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var namespaces = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

// builtins returns the resources that every server has. They are created on first use and then shared.
var builtins = sync.OnceValue(func() []*resource {
	scheme := runtime.NewScheme()
	utilruntime.Must(corev1.AddToScheme(scheme))
	utilruntime.Must(coordinationv1.AddToScheme(scheme))
	utilruntime.Must(eventsv1.AddToScheme(scheme))
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()

	all := []*resource{
		{
			gvr: namespaces, kind: "Namespace", singular: "namespace", shortNames: []string{"ns"},
			unconditional: true, status: true, returnsDeleted: true,
			example: &corev1.Namespace{}, prepare: prepareNamespace,
			validate: validateMetadata(false, validation.ValidateNamespaceName),
		},
		{
			gvr:  corev1.SchemeGroupVersion.WithResource("configmaps"),
			kind: "ConfigMap", singular: "configmap", shortNames: []string{"cm"}, namespaced: true,
			unconditional: true, example: &corev1.ConfigMap{},
			validate: validateConfigMap,
		},
		{
			gvr:  corev1.SchemeGroupVersion.WithResource("pods"),
			kind: "Pod", singular: "pod", shortNames: []string{"po"}, categories: []string{"all"}, namespaced: true,
			unconditional: true, status: true, generation: true, returnsDeleted: true,
			example: &corev1.Pod{}, prepare: preparePod,
			validate: validateMetadata(true, validation.NameIsDNSSubdomain),
			fields: map[string][]string{
				"spec.nodeName": {"spec", "nodeName"}, "status.phase": {"status", "phase"},
			},
		},
		{
			gvr:  corev1.SchemeGroupVersion.WithResource("events"),
			kind: "Event", singular: "event", shortNames: []string{"ev"}, namespaced: true,
			unconditional: true, createOnUpdate: true, example: &corev1.Event{},
			validate: validateMetadata(true, validation.NameIsDNSSubdomain),
			fields: map[string][]string{
				"involvedObject.kind": {"involvedObject", "kind"}, "involvedObject.name": {"involvedObject", "name"},
				"involvedObject.namespace": {"involvedObject", "namespace"}, "involvedObject.uid": {"involvedObject", "uid"},
				"reason": {"reason"}, "type": {"type"},
			},
		},
		{
			gvr:  eventsv1.SchemeGroupVersion.WithResource("events"),
			kind: "Event", singular: "event", shortNames: []string{"ev"}, namespaced: true,
			unconditional: true, createOnUpdate: true, example: &eventsv1.Event{},
			validate: validateMetadata(true, validation.NameIsDNSSubdomain),
			fields: map[string][]string{
				"regarding.kind": {"regarding", "kind"}, "regarding.name": {"regarding", "name"},
				"regarding.namespace": {"regarding", "namespace"}, "regarding.uid": {"regarding", "uid"},
				"reason": {"reason"}, "type": {"type"},
			},
		},
		{
			gvr:  coordinationv1.SchemeGroupVersion.WithResource("leases"),
			kind: "Lease", singular: "lease", namespaced: true,
			createOnUpdate: true, example: &coordinationv1.Lease{},
			validate: validateLease,
		},
	}
	for _, r := range all {
		r.listKind = r.kind + "List"
		r.keyPrefix = "/registry/" + r.gvr.Resource
		r.patchTypes = []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType}
		blank, err := runtime.DefaultUnstructuredConverter.ToUnstructured(r.example)
		utilruntime.Must(err)
		r.blank = blank
		r.decode = builtin{gvk: r.gvk(), decoder: decoder}.decode
		known := metadataFields(r.namespaced)
		maps.Copy(known, r.fields)
		r.fields = known
	}
	return all
})

// builtin decodes objects through their Go type, which drops what the type lacks.
type builtin struct {
	gvk     schema.GroupVersionKind
	decoder runtime.Decoder
}

func (b builtin) decode(body []byte) (map[string]any, schema.GroupVersionKind, error) {
	obj, gvk, err := b.decoder.Decode(body, &b.gvk, nil)
	if err != nil {
		if gvk == nil {
			gvk = &schema.GroupVersionKind{}
		}
		return nil, *gvk, err
	}
	if accessor, ok := obj.(metav1.Object); ok {
		accessor.SetManagedFields(nil)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		return nil, *gvk, err
	}
	content["kind"], content["apiVersion"] = gvk.Kind, gvk.GroupVersion().String()
	return content, *gvk, nil
}

func prepareNamespace(obj map[string]any) {
	u := &unstructured.Unstructured{Object: obj}
	labels := u.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[corev1.LabelMetadataName] = u.GetName()
	u.SetLabels(labels)
	obj["spec"] = map[string]any{"finalizers": []any{string(corev1.FinalizerKubernetes)}}
	obj["status"] = map[string]any{"phase": string(corev1.NamespaceActive)}
}

func preparePod(obj map[string]any) {
	obj["status"] = map[string]any{"phase": string(corev1.PodPending), "qosClass": string(corev1.PodQOSBestEffort)}
}

func validateMetadata(namespaced bool, name validation.ValidateNameFunc) func(obj, old map[string]any) field.ErrorList {
	return func(obj, old map[string]any) field.ErrorList {
		u, path := &unstructured.Unstructured{Object: obj}, field.NewPath("metadata")
		if old != nil {
			return validation.ValidateObjectMetaAccessorUpdate(u, &unstructured.Unstructured{Object: old}, path)
		}
		return validation.ValidateObjectMetaAccessor(u, namespaced, name, path)
	}
}

func validateLease(obj, old map[string]any) field.ErrorList {
	errs := validateMetadata(true, validation.NameIsDNSSubdomain)(obj, old)
	spec, _ := obj["spec"].(map[string]any)
	if seconds, ok := spec["leaseDurationSeconds"].(int64); ok && seconds <= 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "leaseDurationSeconds"), seconds, "must be greater than 0"))
	}
	if transitions, ok := spec["leaseTransitions"].(int64); ok && transitions < 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "leaseTransitions"), transitions, "must be greater than or equal to 0"))
	}
	return errs
}

// maxConfigMapBytes is the largest size of data and binaryData together.
const maxConfigMapBytes = 1 << 20

func validateConfigMap(obj, old map[string]any) field.ErrorList {
	errs := validateMetadata(true, validation.NameIsDNSSubdomain)(obj, old)
	size := 0
	for _, name := range []string{"data", "binaryData"} {
		data, _ := obj[name].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(data)) {
			for _, problem := range utilvalidation.IsConfigMapKey(key) {
				errs = append(errs, field.Invalid(field.NewPath(name).Key(key), key, problem))
			}
			text, _ := data[key].(string)
			if name == "binaryData" {
				size += base64.StdEncoding.DecodedLen(len(text))
			} else {
				size += len(text)
			}
		}
	}
	if size > maxConfigMapBytes {
		errs = append(errs, field.TooLong(field.NewPath(""), "", maxConfigMapBytes))
	}
	if immutable, _ := old["immutable"].(bool); !immutable {
		return errs
	}
	const message = "field is immutable when `immutable` is set"
	for _, name := range []string{"immutable", "data", "binaryData"} {
		if !reflect.DeepEqual(obj[name], old[name]) {
			errs = append(errs, field.Forbidden(field.NewPath(name), message))
		}
	}
	return errs
}
