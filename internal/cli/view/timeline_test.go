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
	"bytes"
	"strings"
	"testing"
	"time"
)

// TestTimeline draws holds of which the first began, and the last ends, at an unknown time.
func TestTimeline(t *testing.T) {
	began := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	holds := []PastHold{
		{"a-1", "a", time.Time{}, at(10), "HandedOff"},
		{"b-1", "b", at(10), at(20), "Released"},
		{"c-1", "c", at(30), at(50), "until then at most"},
		{"d-1", "d", at(50), at(58), "Expired"},
		{"e-1", "e", at(60), time.Time{}, "holds it"},
	}
	var text bytes.Buffer
	timeline(&text, holds, at(74))
	for i, line := range []string{
		"Last holds:\t64s ago                      now",
		"  a\t╌·······························  HandedOff",
		"  b\t━━━━━━··························  10s, Released",
		"  c\t··········━━━━━━━━━━━···········  20s, until then at most",
		"  d\t····················━━━━━·······  8.0s, Expired",
		"  e\t·························━━━━━━━  14s, holds it",
		"",
	} {
		if got := strings.Split(text.String(), "\n")[i]; got != line {
			t.Errorf("line %d is\n%q, want\n%q", i, got, line)
		}
	}

	text.Reset()
	timeline(&text, nil, at(74))
	if text.String() != "Last holds:\t<none>\n" {
		t.Errorf("without holds it is %q", text.String())
	}
	many := make([]PastHold, 0, 30)
	for i := range 30 {
		many = append(many, PastHold{"x", "x", at(i), at(i + 1), "Released"})
	}
	text.Reset()
	timeline(&text, many, at(74))
	if n := strings.Count(text.String(), "\n"); n != 1+maxHolds || !strings.HasPrefix(text.String(), "Last holds:\t54s ago") {
		t.Errorf("of many holds it shows %d lines: %s", n, text.String())
	}
}
