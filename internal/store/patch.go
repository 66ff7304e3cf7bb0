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
	"slices"
	"strings"

	"github.com/kubelock/kubelock/internal/protocol"
)

// patch is a JSON patch in the making.
type patch []operation

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// null is a value that is present as null. An absent field passes a test for it.
var null = json.RawMessage("null")

func (p *patch) test(path string, value any) { *p = append(*p, operation{"test", path, value}) }
func (p *patch) add(path string, value any)  { *p = append(*p, operation{"add", path, value}) }
func (p *patch) remove(path string)          { *p = append(*p, operation{Op: "remove", Path: path}) }

// stays tests that the object is not being deleted, unless from shows that it is: what is
// written into it then vanishes with it.
func (p *patch) stays(from protocol.Record) {
	if !from.Terminating {
		p.test("/metadata/deletionTimestamp", null)
	}
}

// set adds or replaces a field, or removes it if it was there and shall not be.
func (p *patch) set(path string, was, is bool, value any) {
	switch {
	case is:
		p.add(path, value)
	case was:
		p.remove(path)
	}
}

// escape makes a key part of a path (RFC 6901).
var escape = strings.NewReplacer("~", "~0", "/", "~1").Replace

// entry is the path of a map's entry.
func entry(path, key string) string { return path + "/" + escape(key) }

// change makes wanted of a map that was read as stored. Keys in which they do not
// differ are left alone.
func (p *patch) change(path string, stored, wanted map[string]string) {
	if len(stored) == 0 {
		if len(wanted) > 0 {
			p.test(path, null)
			p.add(path, wanted)
		}
		return
	}
	for _, key := range slices.Sorted(maps.Keys(stored)) {
		if _, ok := wanted[key]; !ok {
			p.remove(entry(path, key))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if was, ok := stored[key]; !ok || was != wanted[key] {
			p.add(entry(path, key), wanted[key])
		}
	}
}

// encode is the patch as JSON. Its text is not for a web page, and each escape would
// cost space.
func (p *patch) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(p)
	return b.Bytes(), err
}
