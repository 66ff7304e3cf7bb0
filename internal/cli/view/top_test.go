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
	v := Top{Where: "ns", Rows: []TopRow{{Lock{Namespace: long, Key: long, Holder: &Holder{Identity: long, AcquireTime: now.Add(-400 * time.Hour)}}, 1234.5, 400 * time.Hour, 9999999, [Slots]int64{1}, [Slots]time.Duration{1}}}}
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

// TestTopPictures draws one moment for a narrow and for a wide screen.
func TestTopPictures(t *testing.T) {
	lock := shown()
	lock.Waiters = nil
	v := Top{Where: "namespace ns", Locks: 3, Held: 1, Rate: 0.25, Rows: []TopRow{{
		Lock: lock, Rate: 0.25, Longest: 3 * time.Second, Changes: 12,
		Acquired: [Slots]int64{10: 1, 11: 2}, Waits: [Slots]time.Duration{11: time.Second},
	}}}
	head := "Locks of namespace ns at " + noon.Local().Format(time.TimeOnly) + "\n3 locks, 1 held, 0 waited for, 0.2 acquisitions/s\n\n"
	for columns, want := range map[int]string{
		80: `KEY                       HOLDER             HELD FOR  WAITERS   ACQ/S  MAX WAIT
a/Key                     bad�[31mname�Hol…       60s        0     0.2      3.0s
`,
		112: `KEY                    HOLDER           HELD FOR  WAITERS   ACQ/S  MAX WAIT  CHANGES  ACQUISITIONS  WAITS
a/Key                  bad�[31mname�H…       60s        0     0.2      3.0s       12  ··········▄█  ···········█
`,
	} {
		var out strings.Builder
		if err := plainText(&out, v.Lines(columns, noon)); err != nil {
			t.Fatal(err)
		}
		if out.String() != head+want {
			t.Errorf("in %d columns it is\n%s, want\n%s", columns, out.String(), head+want)
		}
	}
}
