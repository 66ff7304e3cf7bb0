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

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// TestHoldsOf reads holds from what versions of a lock show of them.
func TestHoldsOf(t *testing.T) {
	began := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	version := func(holder string, since int, last string, ended int, how protocol.Reason) protocol.Record {
		r := protocol.Record{}
		if holder != "" {
			r.Holder = &protocol.Holder{LockID: holder + "-1", Identity: holder, AcquireTime: at(since)}
		}
		if last != "" {
			r.LastRelease = &protocol.LastRelease{LockID: last + "-1", Identity: last, Time: at(ended), Reason: how}
		}
		return r
	}
	versions := []protocol.Record{
		version("b", 10, "a", 10, protocol.HandedOff),
		version("b", 10, "a", 10, protocol.HandedOff), // renewed
		version("", 0, "b", 20, protocol.Released),
		version("c", 30, "b", 20, protocol.Released),
		version("d", 50, "", 0, ""), // The object was deleted while c held it, and created anew.
		version("e", 60, "d", 58, protocol.Expired),
	}
	holds := holdsOf(versions)
	want := []pastHold{
		{"a-1", "a", time.Time{}, at(10), "HandedOff"},
		{"b-1", "b", at(10), at(20), "Released"},
		{"c-1", "c", at(30), at(50), "until then at most"},
		{"d-1", "d", at(50), at(58), "Expired"},
		{"e-1", "e", at(60), time.Time{}, "holds it"},
	}
	if len(holds) != len(want) {
		t.Fatalf("%d holds, want %d: %+v", len(holds), len(want), holds)
	}
	for i, h := range holds {
		if h != want[i] {
			t.Errorf("hold %d is %+v, want %+v", i, h, want[i])
		}
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
	if holds := holdsOf(nil); len(holds) != 0 {
		t.Errorf("of nothing there are %+v", holds)
	}
	many := make([]pastHold, 0, 30)
	for i := range 30 {
		many = append(many, pastHold{"x", "x", at(i), at(i + 1), "Released"})
	}
	text.Reset()
	timeline(&text, many, at(74))
	if n := strings.Count(text.String(), "\n"); n != 1+maxHolds || !strings.HasPrefix(text.String(), "Last holds:\t54s ago") {
		t.Errorf("of many holds it shows %d lines: %s", n, text.String())
	}
}

func TestBeginnings(t *testing.T) {
	for last, want := range map[string]string{
		"20":  "1 4 12 16 18 19",
		"3":   "1 2",
		"2":   "1",
		"1":   "",
		"abc": "",
		"":    "",
	} {
		if got := strings.Join(beginnings(last), " "); got != want {
			t.Errorf("before %q it begins at %q, want %q", last, got, want)
		}
	}
}
