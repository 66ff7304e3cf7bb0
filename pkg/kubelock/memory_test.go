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
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// TestMemoryIsBounded checks that of free locks with large states a client remembers the
// last ones, 16 MiB in all, however often each was put there and taken; and of those without
// a state so many.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	large, at := new(strings.Repeat("x", 1<<20)), time.Unix(1, 0)
	for name, tc := range map[string]struct {
		value       *string
		locks, want int
	}{
		"large":         {large, 40, 16},
		"without state": {nil, 2000, maxRemembered},
	} {
		m := newMemory()
		for i := range tc.locks {
			for version := range 3 {
				m.put(strconv.Itoa(i), protocol.Record{Value: tc.value, Transitions: int64(version)}, at)
			}
			if r, ok := m.take(strconv.Itoa(i)); !ok || r.record.Transitions != 2 || !r.at.Equal(at) {
				t.Errorf("%s: took %+v, %v", name, r, ok)
			}
			if r, ok := m.take(strconv.Itoa(i)); ok {
				t.Errorf("%s: took %+v once more", name, r)
			}
			m.put(strconv.Itoa(i), protocol.Record{Value: tc.value}, at)
		}
		for i := range tc.locks {
			if _, ok := m.take(strconv.Itoa(i)); ok != (i >= tc.locks-tc.want) {
				t.Errorf("%s: of %d the one with number %d is remembered: %v", name, tc.locks, i, ok)
			}
		}
		if m.bytes != 0 || m.records.Len() != 0 {
			t.Errorf("%s: in the end %d bytes of %d records are left", name, m.bytes, m.records.Len())
		}
	}
}
