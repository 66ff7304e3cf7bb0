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

package kubelock

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/kubelock/kubelock/internal/engine"
	"github.com/kubelock/kubelock/internal/store"
)

// encodeState turns a state into the JSON text that is stored.
func encodeState[T any](v T, limit store.Limit) (*string, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // The text is not for a web page, and each escape costs space.
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("kubelock: the state cannot be written as JSON: %w", err)
	}
	text := strings.TrimSuffix(b.String(), "\n")
	if !utf8.ValidString(text) { // Of a MarshalJSON, or a json.RawMessage.
		return nil, errors.New("kubelock: the state cannot be written as JSON: its text is not valid UTF-8, and would be changed on its way")
	}
	if len(text) > limit.Bytes {
		return nil, fmt.Errorf("%w: it has %d bytes of JSON, at most %d are stored", ErrValueTooLarge, len(text), limit.Bytes)
	}
	if size := storedBytes(text); limit.Escaped > 0 && size > limit.Escaped {
		return nil, fmt.Errorf("%w: it has %d bytes of JSON, which take %d in the object because of the quotes and other "+
			"characters to escape; at most %d fit", ErrValueTooLarge, len(text), size, limit.Escaped)
	}
	return &text, nil
}

// storedBytes is the length of text as a JSON string in an object.
func storedBytes(text string) int {
	size := len(text)
	for i := range len(text) {
		switch text[i] {
		case '"', '\\':
			size++
		case '<', '>', '&':
			size += len(`\u003c`) - 1
		}
	}
	return size
}

// decodeState reads stored JSON text; nil gives the zero T.
func decodeState[T any](k engine.Key, text *string) (T, error) {
	var v T
	if text == nil {
		return v, nil
	}
	if err := json.Unmarshal([]byte(*text), &v); err != nil {
		return v, fmt.Errorf("kubelock: the state of %q is not a %T: %w", k.Name(), v, err)
	}
	return v, nil
}
