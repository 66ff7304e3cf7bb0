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
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// unknown is what this version of the library does not know of an object that it has read: an
// object that has these fields and no others.
type unknown struct {
	format string // a content type
	text   []byte
}

// unknownManager is the manager of the entry of an object's managed fields that holds what is
// unknown of it. There it is beside the object wherever that goes, whatever its type
// and through informers and copies, and is not sent by mistake: no write has managed fields.
// The API server's own entries have an operation, and this has none.
const unknownManager = "unknown-fields.kubelock.dev"

// attach puts what is unknown of an object beside it.
func (u *unknown) attach(obj metav1.Object) {
	entry := metav1.ManagedFieldsEntry{Manager: unknownManager, FieldsType: u.format, FieldsV1: &metav1.FieldsV1{}}
	if u.format == runtime.ContentTypeJSON {
		entry.FieldsV1.SetRawBytes(u.text)
	} else { // It has to be JSON, for programs that print the object.
		entry.FieldsV1.SetRawString(`"` + base64.StdEncoding.EncodeToString(u.text) + `"`)
	}
	obj.SetManagedFields(append(slices.Clip(obj.GetManagedFields()), entry))
}

// unknownOf returns what was put beside an object, nil if that is nothing.
func unknownOf(obj metav1.Object) *unknown {
	entries := obj.GetManagedFields()
	for i := range entries {
		entry := &entries[i]
		if entry.Manager != unknownManager || entry.Operation != "" {
			continue
		}
		text := entry.FieldsV1.GetRawBytes()
		if entry.FieldsType != runtime.ContentTypeJSON {
			var err error
			if text, err = base64.StdEncoding.DecodeString(strings.Trim(string(text), `"`)); err != nil {
				return nil // It was not put there by attach.
			}
		}
		return &unknown{entry.FieldsType, text}
	}
	return nil
}

// keeping are serializers whose decoders put beside each object of the type T, and each in a
// list of the type L, what they do not know of it.
type keeping[T Object, L runtime.Object] struct {
	runtime.NegotiatedSerializer
	infos []runtime.SerializerInfo
}

func newKeeping[T Object, L runtime.Object](inner runtime.NegotiatedSerializer) keeping[T, L] {
	known := fieldsOf(reflect.TypeFor[T]().Elem())
	infos := slices.Clone(inner.SupportedMediaTypes())
	for i := range infos { // Objects in a watch are decoded by these, too.
		infos[i].Serializer = keeper[T, L]{infos[i].Serializer, infos[i].MediaType, known}
	}
	return keeping[T, L]{inner, infos}
}

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (k keeping[T, L]) SupportedMediaTypes() []runtime.SerializerInfo { return k.infos }

type keeper[T Object, L runtime.Object] struct {
	runtime.Serializer
	format string
	known  *fieldSet
}

// Decode implements runtime.Decoder.
func (k keeper[T, L]) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	obj, kind, err := k.Serializer.Decode(data, defaults, into)
	if err != nil {
		return obj, kind, err
	}
	switch decoded := obj.(type) {
	case T:
		err = k.object(data, decoded)
	case L:
		err = k.list(data, decoded)
	}
	return obj, kind, err
}

func (k keeper[T, L]) object(data []byte, obj T) error {
	var text []byte
	var err error
	switch k.format {
	case runtime.ContentTypeJSON:
		text, err = k.known.unknownJSON(data)
	case runtime.ContentTypeProtobuf:
		text, err = k.known.unknownProtobuf(unwrap(data))
	}
	if text != nil {
		(&unknown{k.format, text}).attach(obj)
	}
	return err
}

func (k keeper[T, L]) list(data []byte, list L) error {
	var texts [][]byte
	var err error
	switch k.format {
	case runtime.ContentTypeJSON:
		texts, err = k.known.unknownItems(data)
	case runtime.ContentTypeProtobuf:
		texts, err = k.known.unknownMessages(unwrap(data))
	}
	if err != nil || texts == nil {
		return err
	}
	i := 0
	return meta.EachListItem(list, func(item runtime.Object) error {
		obj, ok := item.(T)
		if !ok || i >= len(texts) {
			return fmt.Errorf("the list has %d items, and not all are a %T", len(texts), obj)
		}
		if texts[i] != nil {
			(&unknown{k.format, texts[i]}).attach(obj)
		}
		i++
		return nil
	})
}

// ending are paths in an object's JSON of what ends with a write.
type ending [][]string

// encode is obj, which has its apiVersion and kind, as a request's body with the fields that are
// unknown, except those at paths that end.
func (u *unknown) encode(obj Object, ends ending) ([]byte, error) {
	if u.format == runtime.ContentTypeProtobuf {
		return u.protobuf(obj)
	}
	text, err := json.Marshal(obj)
	if err != nil {
		return nil, err
	}
	kept := u.text
	for _, path := range ends {
		if kept, err = without(kept, path); err != nil {
			return nil, err
		}
	}
	return merged(text, kept)
}

// merged is a JSON object with the fields of another that it does not have.
func merged(text, others []byte) ([]byte, error) {
	var object, more map[string]json.RawMessage
	if err := errors.Join(json.Unmarshal(text, &object), json.Unmarshal(others, &more)); err != nil {
		return nil, err
	}
	if object == nil {
		object = map[string]json.RawMessage{}
	}
	for key, value := range more {
		if own, ok := object[key]; ok && isObject(own) && isObject(value) {
			var err error
			if value, err = merged(own, value); err != nil {
				return nil, err
			}
		}
		object[key] = value
	}
	return json.Marshal(object)
}

// without is a JSON object without what is at a path.
func without(text []byte, path []string) ([]byte, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	if len(path) == 0 {
		return text, nil
	}
	key, rest := path[0], path[1:]
	value, ok := object[key]
	switch {
	case !ok:
		return text, nil
	case len(rest) == 0:
		delete(object, key)
	default:
		inner, err := without(value, rest)
		if err != nil {
			return nil, err
		}
		object[key] = inner
	}
	return json.Marshal(object)
}

// protobuf is encode for a protobuf object. Fields that a message has twice are merged when it is
// decoded, if they are messages themselves.
func (u *unknown) protobuf(obj Object) ([]byte, error) {
	typed, ok := obj.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return nil, fmt.Errorf("a %T has no protobuf encoding", obj)
	}
	message, err := typed.Marshal()
	if err != nil {
		return nil, err
	}
	version, kind := obj.GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
	wrapped, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: version, Kind: kind}, Raw: append(message, u.text...)}).Marshal()
	return append([]byte(protobufPrefix), wrapped...), err
}
