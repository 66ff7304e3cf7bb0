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

package cli

import "testing"

func TestCompareKeys(t *testing.T) {
	t.Parallel()
	// Each is less than the next.
	for _, keys := range [][]any{
		{int64(9), int64(10), 10.5, int64(11), nil},
		{"9s", "1m0s", "1h0m0s", nil},
		{"2026-11-29T09:00:00Z", "2026-11-29T09:00:00.000001Z", "2026-11-29T10:30:00+01:00", "2026-11-29T09:45:00Z"},
		{"10", "9", "a", "b"},
		{false, true, nil},
	} {
		for i := range keys {
			for j := range keys {
				want := 0
				if i < j {
					want = -1
				} else if i > j {
					want = 1
				}
				if got := compareKeys(keys[i], keys[j]); got != want {
					t.Errorf("comparing %v with %v gives %d, want %d", keys[i], keys[j], got, want)
				}
			}
		}
	}
}
