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

package store

import (
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
)

// ConfigMaps that have the label v1alpha1.LockLabel. The state is in their data, under
// ValueKey; other data is not kubelock's. The API server takes 1 MiB of data.
var ConfigMaps Kind = &kind[*corev1.ConfigMap, *corev1.ConfigMapList]{
	codec:       configMapCodec{},
	resource:    corev1.SchemeGroupVersion.WithResource("configmaps"),
	role:        "kubelock-configmaps-user",
	selector:    v1alpha1.LockLabel + "=" + marked,
	limit:       Limit{Bytes: 900 << 10},
	apiPath:     "/api",
	contentType: runtime.ContentTypeProtobuf,
	addToScheme: func(s *runtime.Scheme) error {
		return addTypes(s, corev1.SchemeGroupVersion, &corev1.ConfigMap{}, &corev1.ConfigMapList{})
	},
	newObject: func() *corev1.ConfigMap { return &corev1.ConfigMap{} },
	newList:   func() *corev1.ConfigMapList { return &corev1.ConfigMapList{} },
}

// ValueKey is the key in a ConfigMap's data under which the state is.
const ValueKey = "value"

const dataPath = "/data"

type configMapCodec struct{}

func (configMapCodec) decode(obj *corev1.ConfigMap) (protocol.Record, error) {
	switch {
	case obj.Labels[v1alpha1.LockLabel] != marked:
		return protocol.Record{}, &UnusableError{"the ConfigMap " + obj.Name + " is not a lock's: use another key, or label it " +
			v1alpha1.LockLabel + "=" + marked + " to keep a lock beside its data"}
	case obj.Immutable != nil && *obj.Immutable:
		return protocol.Record{}, &UnusableError{"the ConfigMap " + obj.Name + " is immutable, its state could never change: use another key, or delete it"}
	}
	r, err := annotated(&obj.ObjectMeta)
	if err != nil {
		return protocol.Record{}, err
	}
	if value, ok := obj.Data[ValueKey]; ok {
		r.Value = &value
	}
	r.Stored = obj
	return r, nil
}

func (configMapCodec) encode(stored *corev1.ConfigMap, r protocol.Record) *corev1.ConfigMap {
	obj := &corev1.ConfigMap{ObjectMeta: stored.ObjectMeta, Data: withValue(stored.Data, r.Value), BinaryData: stored.BinaryData, Immutable: stored.Immutable}
	obj.Labels = withMark(withHolder(stored.Labels, r.Holder))
	obj.Annotations = annotate(stored.Annotations, r)
	obj.Annotations[transitionsAnnotation] = strconv.FormatInt(r.Transitions, 10)
	return obj
}

// withValue is a ConfigMap's data with that state; nil: with none.
func withValue(stored map[string]string, value *string) map[string]string {
	if was, ok := stored[ValueKey]; ok == (value != nil) && (!ok || was == *value) {
		return stored
	}
	data := maps.Clone(stored)
	delete(data, ValueKey)
	if value != nil {
		if data == nil {
			data = map[string]string{}
		}
		data[ValueKey] = *value
	}
	return data
}

func (c configMapCodec) amend(p *patch, stored *corev1.ConfigMap, _, to protocol.Record) {
	testAnnotation(p, stored.Annotations, holderAnnotation)
	testQueue(p, stored.Annotations, to.Waiters)
	obj := c.encode(stored, to)
	p.change(labelsPath, stored.Labels, obj.Labels)
	p.change(annotationsPath, stored.Annotations, obj.Annotations)
	p.change(dataPath, stored.Data, obj.Data)
}

func (configMapCodec) enqueue(p *patch, stored *corev1.ConfigMap, text string) {
	annotatedEnqueue(p, &stored.ObjectMeta, text)
}

func (configMapCodec) dequeue(p *patch, stored *corev1.ConfigMap, place int) {
	annotatedDequeue(p, &stored.ObjectMeta, place)
}

// ends is nothing: what belongs to a hold is in annotations.
func (configMapCodec) ends(*corev1.ConfigMap, protocol.Record) ending { return nil }

// remains keeps a ConfigMap that has other data.
func (configMapCodec) remains(stored *corev1.ConfigMap) (*corev1.ConfigMap, bool) {
	data := maps.Clone(stored.Data)
	delete(data, ValueKey)
	if len(data) == 0 && len(stored.BinaryData) == 0 {
		return nil, false
	}
	left := stored.DeepCopy()
	left.Data = data
	left.Annotations = unannotate(stored.Annotations)
	left.Labels = withHolder(stored.Labels, nil)
	return left, true
}

// addTypes registers the types of one group and version that are needed.
func addTypes(s *runtime.Scheme, version schema.GroupVersion, types ...runtime.Object) error {
	s.AddKnownTypes(version, types...)
	metav1.AddToGroupVersion(s, version)
	return nil
}
