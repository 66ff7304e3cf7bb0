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
	"iter"

	"google.golang.org/protobuf/encoding/protowire"
)

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
