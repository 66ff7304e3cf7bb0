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

package engine

import (
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubelock/kubelock/internal/protocol"
)

func TestObjectNames(t *testing.T) {
	for key, want := range map[string]string{
		"orders":         "orders",
		"a.b-c.9":        "a.b-c.9",
		"orders/2026:eu": "orders-2026-eu-3b77844bb3def2c8",
	} {
		k, err := NewKey(key)
		if err != nil || k.object != want || k.name != key {
			t.Errorf("the key %q has the object %q, %v; want %q", key, k.object, err, want)
		}
	}
}

// FuzzKeys checks of any text that it is refused with a reason, or has a valid object
// name that is its own; and that only a valid name keeps its own form.
func FuzzKeys(f *testing.F) {
	for _, seed := range []string{"", "a", "A", "a/b", "-a", "a..b", "日本", "\xff", strings.Repeat("Ä", 130), strings.Repeat("-", 253)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		k, err := NewKey(name)
		valid := name != "" && len(name) <= 253 && utf8.ValidString(name)
		if (err == nil) != valid {
			t.Fatalf("%q: %v", name, err)
		}
		if err != nil {
			return
		}
		if bad := validation.IsDNS1123Subdomain(k.object); len(bad) > 0 {
			t.Errorf("%q has the object name %q: %v", name, k.object, bad)
		}
		if (k.object == name) != (len(validation.IsDNS1123Subdomain(name)) == 0) {
			t.Errorf("%q has the object name %q", name, k.object)
		}
		if err := k.check(protocol.Record{UID: "u", Name: k.object, Key: name}); err != nil {
			t.Errorf("%q does not accept its own object: %v", name, err)
		}
		if err := k.check(protocol.Record{UID: "u", Name: k.object, Key: name + "x"}); err == nil {
			t.Errorf("%q accepts the object of another key", name)
		}
	})
}
