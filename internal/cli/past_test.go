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
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/cli/view"
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
	want := []view.PastHold{
		{LockID: "a-1", Identity: "a", Until: at(10), How: "HandedOff"},
		{LockID: "b-1", Identity: "b", From: at(10), Until: at(20), How: "Released"},
		{LockID: "c-1", Identity: "c", From: at(30), Until: at(50), How: "until then at most"},
		{LockID: "d-1", Identity: "d", From: at(50), Until: at(58), How: "Expired"},
		{LockID: "e-1", Identity: "e", From: at(60), How: "holds it"},
	}
	if len(holds) != len(want) {
		t.Fatalf("%d holds, want %d: %+v", len(holds), len(want), holds)
	}
	for i, h := range holds {
		if h != want[i] {
			t.Errorf("hold %d is %+v, want %+v", i, h, want[i])
		}
	}
	if holds := holdsOf(nil); len(holds) != 0 {
		t.Errorf("of nothing there are %+v", holds)
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
