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
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

func TestObjectNames(t *testing.T) {
	for key, want := range map[string]string{
		"orders":         "orders",
		"a.b-c.9":        "a.b-c.9",
		"orders/2026:eu": "orders-2026-eu-3b77844bb3def2c8",
	} {
		k, err := newKey(key)
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
		k, err := newKey(name)
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

// TestStatesAreKept checks that every kind of JSON is state, the empty ones included,
// and that none is told from no state only by its value.
func TestStatesAreKept(t *testing.T) {
	roundTrip(t, false, `false`)
	roundTrip(t, 0, `0`)
	roundTrip(t, "", `""`)
	roundTrip[*int](t, nil, `null`)
	roundTrip[any](t, nil, `null`)
	roundTrip(t, []int{}, `[]`)
	roundTrip(t, map[string]int{}, `{}`)
	roundTrip(t, "<&>", `"<&>"`)
	roundTrip(t, int64(9007199254740993), `9007199254740993`)
	roundTrip(t, json.RawMessage(`{"b":1,"a":123456789012345678901234567890}`), `{"b":1,"a":123456789012345678901234567890}`)
	roundTrip(t, struct{ A []string }{[]string{"ä\n"}}, `{"A":["ä\n"]}`)

	if v, err := decodeState[*int](key{}, nil); v != nil || err != nil {
		t.Errorf("no state gives %v, %v", v, err)
	}
	for _, bad := range []any{make(chan int), func() {}, map[bool]int{true: 1}} {
		if _, err := encodeState(bad, store.DistributedLocks.Limit()); err == nil {
			t.Errorf("%T was encoded", bad)
		}
	}
	if _, err := decodeState[int](key{name: "k"}, new(`"text"`)); err == nil || !strings.Contains(err.Error(), `"k"`) {
		t.Errorf("decoding text as a number: %v", err)
	}
}

func roundTrip[T any](t *testing.T, v T, want string) {
	t.Helper()
	text, err := encodeState(v, store.DistributedLocks.Limit())
	if err != nil || *text != want {
		t.Errorf("%v is encoded as %v, %v; want %s", v, text, err, want)
		return
	}
	back, err := decodeState[T](key{}, text)
	if err != nil {
		t.Error(err)
	}
	again, err := encodeState(back, store.DistributedLocks.Limit())
	if err != nil || *again != want {
		t.Errorf("%s comes back as %v, %v", want, again, err)
	}
}
