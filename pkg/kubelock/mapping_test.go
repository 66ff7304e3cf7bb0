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

	"github.com/kubelock/kubelock/internal/engine"
	"github.com/kubelock/kubelock/internal/store"
)

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

	if v, err := decodeState[*int](anyKey(t), nil); v != nil || err != nil {
		t.Errorf("no state gives %v, %v", v, err)
	}
	for _, bad := range []any{make(chan int), func() {}, map[bool]int{true: 1}} {
		if _, err := encodeState(bad, store.DistributedLocks.Limit()); err == nil {
			t.Errorf("%T was encoded", bad)
		}
	}
	if _, err := decodeState[int](anyKey(t), new(`"text"`)); err == nil || !strings.Contains(err.Error(), `"k"`) {
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
	back, err := decodeState[T](anyKey(t), text)
	if err != nil {
		t.Error(err)
	}
	again, err := encodeState(back, store.DistributedLocks.Limit())
	if err != nil || *again != want {
		t.Errorf("%s comes back as %v, %v", want, again, err)
	}
}

func anyKey(t *testing.T) engine.Key {
	t.Helper()
	k, err := engine.NewKey("k")
	if err != nil {
		t.Fatal(err)
	}
	return k
}
