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
	"iter"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// A newer version of the CustomResourceDefinition, or of the API server, may have fields that the
// types of this version lack. Decoding drops them, and a write of the whole object would drop
// them from the server. Two files keep them:
//
//   - this one finds in the text of an object what its type does not know,
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

// scanner looks for unknown keys in JSON text that a decoder has accepted. What it makes of other
// text does not matter, but that it comes to its end.
type scanner struct {
	text []byte
	at   int
}

// value goes past a value, and reports whether it has an unknown key. It stops at the first.
func (s *scanner) value(f *fieldSet) bool {
	switch c := s.next(); {
	case c == '{' && f != nil:
		return s.object(f)
	case c == '{' || c == '[':
		s.skip()
	case c == '"':
		s.string()
	default:
		s.literal()
	}
	return false
}

func (s *scanner) object(f *fieldSet) bool {
	for key, ok := s.enter(); ok; key, ok = s.key() {
		within, known := f.key(key)
		if !known || s.value(within) {
			return true
		}
	}
	return false
}

// list is value for each of a list's items.
func (s *scanner) list(f *fieldSet) bool {
	if s.next() != '{' {
		return false
	}
	for key, ok := s.enter(); ok; key, ok = s.key() {
		if string(key) != "items" || s.next() != '[' {
			s.value(nil)
			continue
		}
		s.at++
		for c := s.next(); c != ']' && c != 0; c = s.next() {
			if c == ',' {
				s.at++
			} else if s.value(f) {
				return true
			}
		}
		s.at++
	}
	return false
}

// next goes to what is next and no space; 0 is the end.
func (s *scanner) next() byte {
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// enter goes into an object, and past its first key, which ok says that there is.
func (s *scanner) enter() (key []byte, ok bool) {
	s.at++
	return s.key()
}

// key goes past the next key of an object or, if there is none, past the object.
func (s *scanner) key() (key []byte, ok bool) {
	c := s.next()
	if c == ',' {
		s.at++
		c = s.next()
	}
	if c != '"' {
		s.at++
		return nil, false
	}
	key = s.string()
	s.next() // It is a colon.
	s.at++
	return key, true
}

// string goes past a string, and returns what is between its quotes.
func (s *scanner) string() []byte {
	start := s.at + 1
	for end := start; end < len(s.text); end++ {
		i := bytes.IndexByte(s.text[end:], '"')
		if i < 0 {
			break
		}
		end += i
		escapes := end
		for escapes > start && s.text[escapes-1] == '\\' {
			escapes--
		}
		if (end-escapes)%2 == 0 {
			s.at = end + 1
			return s.text[start:end]
		}
	}
	s.at = len(s.text)
	return nil
}

// literal goes past a number, or a word.
func (s *scanner) literal() {
	for s.at++; s.at < len(s.text); s.at++ {
		switch s.text[s.at] {
		case ',', ']', '}', ' ', '\t', '\r', '\n':
			return
		}
	}
}

// skip goes past an object or an array.
func (s *scanner) skip() {
	for depth := 0; s.at < len(s.text); {
		switch s.text[s.at] {
		case '"':
			s.string()
			continue
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		}
		s.at++
		if depth == 0 {
			return
		}
	}
}

// unknownProtobuf returns what of a protobuf message the fields do not know, as a message that has
// nothing else: added to the end of the one that a type encodes, it is a part of that. It is nil
// if there is nothing.
func (f *fieldSet) unknownProtobuf(message []byte) ([]byte, error) {
	var unknown []byte
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeField(message)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		field := message[:n]
		message = message[n:]
		within, known := f.numbers[number]
		switch {
		case !known:
			unknown = append(unknown, field...)
		case within != nil && kind == protowire.BytesType:
			_, _, n := protowire.ConsumeTag(field)
			inner, _ := protowire.ConsumeBytes(field[n:])
			inner, err := within.unknownProtobuf(inner)
			if err != nil {
				return nil, err
			}
			if inner != nil {
				unknown = protowire.AppendTag(unknown, number, protowire.BytesType)
				unknown = protowire.AppendBytes(unknown, inner)
			}
		}
	}
	return unknown, nil
}

// unknownMessages is unknownProtobuf for each object in a list. It returns nil if no object has
// anything unknown.
func (f *fieldSet) unknownMessages(list []byte) ([][]byte, error) {
	var all [][]byte
	n := 0
	for message := range each(list, protobufItems) {
		text, err := f.unknownProtobuf(message)
		if err != nil {
			return nil, err
		}
		if text != nil {
			all = append(all, make([][]byte, n-len(all))...)
			all = append(all, text)
		}
		n++
	}
	if all == nil {
		return nil, nil
	}
	return append(all, make([][]byte, n-len(all))...), nil
}

// The message that API servers put around a protobuf object, runtime.Unknown, and what is
// before that.
const (
	protobufPrefix = "k8s\x00"
	protobufObject = protowire.Number(2)
	protobufItems  = protowire.Number(2) // of each list of Kubernetes
)

// unwrap is the object in what an API server has sent as protobuf.
func unwrap(data []byte) []byte {
	message, ok := bytes.CutPrefix(data, []byte(protobufPrefix))
	if !ok {
		return nil
	}
	return lastOf(message, protobufObject)
}

// lastOf is a field of a message that has it once.
func lastOf(message []byte, wanted protowire.Number) (value []byte) {
	for v := range each(message, wanted) {
		value = v
	}
	return value
}

// each are the values of a repeated field that is a message.
func each(message []byte, wanted protowire.Number) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for len(message) > 0 {
			number, kind, n := protowire.ConsumeField(message)
			if n < 0 {
				return
			}
			if number == wanted && kind == protowire.BytesType {
				_, _, tag := protowire.ConsumeTag(message)
				value, _ := protowire.ConsumeBytes(message[tag:])
				if !yield(value) {
					return
				}
			}
			message = message[n:]
		}
	}
}
