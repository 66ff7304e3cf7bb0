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

package view

import (
	"strings"
	"testing"
	"time"
)

// TestTopFitsItsWidth fills all columns.
func TestTopFitsItsWidth(t *testing.T) {
	now := time.Now()
	long := strings.Repeat("long", 20)
	v := Top{Where: "ns", Rows: []TopRow{{Lock{Namespace: long, Key: long, Holder: &Holder{Identity: long, AcquireTime: now.Add(-400 * time.Hour)}}, 1234.5, 400 * time.Hour, [Slots]int64{1}, [Slots]time.Duration{1}}}}
	for _, columns := range []int{80, 81, 111, 112, 200} {
		for _, all := range []bool{false, true} {
			v.Namespaces = all
			for _, l := range v.Lines(columns, now)[3:] {
				if n := len([]rune(l.text)); n != columns {
					t.Errorf("a line has %d columns, want %d: %q", n, columns, l.text)
				}
			}
		}
	}
}
