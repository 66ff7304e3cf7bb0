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
	"bytes"
	"encoding/json"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// A newer version of the CustomResourceDefinition, or of the API server, may have fields that the
// types of this version lack. Decoding drops them, and a write of the whole object would drop
// them from the server. These files keep them:
//
//   - this one finds in the text of an object what its type does not know, with scanner.go, and
//     unknownproto.go in a protobuf message,
//   - keep.go puts that beside each object that is read, and into what is written.

// fieldSet is what this version knows of an object that a struct describes: the keys of its JSON,
// the numbers of its protobuf message. What a known field has within it is nil where it
// is no struct, and is not looked into then.
type fieldSet struct {
	keys    map[string]*fieldSet
	numbers map[protowire.Number]*fieldSet
	fold    bool // keys are the same in any case, as encoding/json takes them
}

var unmarshalers = reflect.TypeFor[json.Unmarshaler]()

// fieldsOf are the fields of a struct.
func fieldsOf(t reflect.Type) *fieldSet {
	f := &fieldSet{keys: map[string]*fieldSet{}, numbers: map[protowire.Number]*fieldSet{}}
	f.collect(t)
	return f
}

// collect adds the fields of a struct.
func (f *fieldSet) collect(t reflect.Type) {
	for field := range t.Fields() {
		inner := field.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case key == "-":
			continue
		case key == "" && field.Anonymous: // In JSON, its fields are those of the object.
			maps.Copy(f.keys, fieldsOf(inner).keys)
			continue
		case key == "":
			key = field.Name
		}
		var within *fieldSet
		if inner.Kind() == reflect.Struct && !reflect.PointerTo(inner).Implements(unmarshalers) {
			within = fieldsOf(inner)
		}
		f.keys[key] = within
		if parts := strings.SplitN(field.Tag.Get("protobuf"), ",", 3); len(parts) > 1 {
			if n, err := strconv.ParseInt(parts[1], 10, 32); err == nil {
				f.numbers[protowire.Number(n)] = within
			}
		}
	}
}

// folded has keys be the same in any case.
func (f *fieldSet) folded() {
	f.fold = true
	for _, within := range f.keys {
		if within != nil {
			within.folded()
		}
	}
}

// key looks a key up, as it stands in the text.
func (f *fieldSet) key(text []byte) (within *fieldSet, known bool) {
	if within, known = f.keys[string(text)]; known || !f.fold {
		return within, known
	}
	for key, within := range f.keys {
		if strings.EqualFold(key, string(text)) {
			return within, true
		}
	}
	return nil, false
}

// unknownJSON returns what of an object's JSON the fields do not know, as an object that has
// nothing else; nil if there is nothing. Where that is so, it allocates nothing.
func (f *fieldSet) unknownJSON(text []byte) ([]byte, error) {
	if !f.lacks(text) {
		return nil, nil
	}
	return f.extract(text)
}

// unknownText is unknownJSON for JSON in a string.
func (f *fieldSet) unknownText(text string) ([]byte, error) {
	// Most writes look into two texts and find nothing: there is to be no copy of them for that.
	if !f.lacks(unsafe.Slice(unsafe.StringData(text), len(text))) { //nolint:gosec // The scanner only reads.
		return nil, nil
	}
	return f.extract([]byte(text))
}

// lacks reports whether an object's JSON may have something unknown.
func (f *fieldSet) lacks(text []byte) bool {
	s := scanner{text: text}
	return s.value(f)
}

// extract is unknownJSON for an object that has something unknown.
func (f *fieldSet) extract(text []byte) ([]byte, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return nil, err
	}
	for key, value := range object {
		within, known := f.key([]byte(key))
		if !known {
			continue
		}
		delete(object, key)
		if within == nil || !isObject(value) {
			continue
		}
		inner, err := within.extract(value)
		if err != nil {
			return nil, err
		}
		if inner != nil {
			object[key] = inner
		}
	}
	if len(object) == 0 {
		return nil, nil
	}
	return json.Marshal(object)
}

func isObject(text []byte) bool {
	text = bytes.TrimLeft(text, " \t\r\n")
	return len(text) > 0 && text[0] == '{'
}

// unknownItems is unknownJSON for each object in the items of a list. It returns nil if no item
// has anything unknown.
func (f *fieldSet) unknownItems(text []byte) ([][]byte, error) {
	s := scanner{text: text}
	if !s.list(f) {
		return nil, nil
	}
	var list struct {
		Items []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	unknown := make([][]byte, len(list.Items))
	for i, item := range list.Items {
		var err error
		if unknown[i], err = f.unknownJSON(item); err != nil {
			return nil, err
		}
	}
	return unknown, nil
}
