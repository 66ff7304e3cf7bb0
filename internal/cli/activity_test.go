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

	"github.com/kubelock/kubelock/internal/servertime"
)

// TestActivity checks rates and waits of what is seen at given times.
func TestActivity(t *testing.T) {
	began := time.Now()
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	a := newActivity(began)
	see := func(key string, seconds float64, transitions int64, holder string, waiters ...string) {
		r := row{Kind: "DistributedLocks", Name: key, Key: key, Transitions: transitions}
		if holder != "" {
			r.Holder = &rowHolder{Identity: holder, AcquireTime: began, ExpireTime: at(1000)}
		}
		for _, id := range waiters {
			r.Waiters = append(r.Waiters, rowWaiter{LockID: id})
		}
		a.see(r, at(seconds))
	}
	find := func(seconds float64, key string) topRow {
		t.Helper()
		for _, r := range a.view(at(seconds)).rows {
			if r.Key == key {
				return r
			}
		}
		return topRow{}
	}
	see("idle", 0, 7, "")
	see("busy", 0, 100, "a")
	see("busy", 1, 101, "b", "w1")
	see("busy", 2, 103, "c", "w1", "w2")
	if r := find(4, "busy"); r.rate != 0.75 || r.longest != 3*time.Second {
		t.Errorf("after 4 s: %v acquisitions/s, longest wait %v; want 0.75, 3s", r.rate, r.longest)
	}
	see("busy", 5, 104, "d", "w2")
	if r := find(6, "busy"); r.longest != 4*time.Second {
		t.Errorf("of a wait that has ended %v is left, want 4s", r.longest)
	}
	if r := find(14, "busy"); r.rate != 0.1 || r.longest != 12*time.Second {
		t.Errorf("after 14 s: %v acquisitions/s, longest wait %v; want 0.1, 12s", r.rate, r.longest)
	}
	if r := find(20, "busy"); r.rate != 0 {
		t.Errorf("what is long ago still counts: %v acquisitions/s", r.rate)
	}
	see("held", 20, 1, "x")
	v := a.view(at(20))
	if v.locks != 3 || v.held != 2 || v.contended != 1 || len(v.rows) != 2 || v.rows[0].Key != "busy" {
		t.Errorf("the view is %+v, want the two locks that are held, the one that is waited for first", v)
	}
	a.see(row{Kind: "DistributedLocks", Name: "held", Deleted: true}, at(21))
	if v := a.view(at(21)); v.locks != 2 || len(v.rows) != 1 {
		t.Errorf("a deleted lock is left in %+v", v)
	}
}

func TestFit(t *testing.T) {
	for _, tt := range []struct {
		text    string
		columns int
		want    string
	}{
		{"abc", 5, "abc  "},
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日… "},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"},
		{"a\x1b[2Jb\n", 8, "a\ufffd[2Jb\ufffd "},
	} {
		if got := fit(tt.text, tt.columns); got != tt.want {
			t.Errorf("fit(%q, %d) is %q, want %q", tt.text, tt.columns, got, tt.want)
		}
	}
}

func TestHistory(t *testing.T) {
	h := newHistory()
	for _, tt := range []struct {
		seen            func()
		now             time.Duration
		acquired, waits string
	}{
		{func() {}, 0, "············", "············"},
		{func() { h.acquisitions(time.Second, 8) }, 2 * time.Second, "···········█", "············"},
		{func() { h.acquisitions(6*time.Second, 1) }, 6 * time.Second, "··········█▁", "············"},
		// It waits for three of the five seconds of a slot, then for eight, and at last for thirteen.
		{func() { h.wait(2*time.Second, 15*time.Second) }, 15 * time.Second, "········█▁··", "········▂▅██"},
		{func() {}, 64 * time.Second, "█···········", "▅██·········"},
		{func() {}, 2 * time.Hour, "············", "············"},
		// Of a wait that is older than the picture, what is in it.
		{func() { h.wait(0, 3*time.Hour) }, 3 * time.Hour, "············", "▇▇▇▇▇▇▇▇▇▇██"},
	} {
		tt.seen()
		if acquired, waits := h.draw(tt.now); acquired != tt.acquired || waits != tt.waits {
			t.Errorf("after %v: %q and %q, want %q and %q", tt.now, acquired, waits, tt.acquired, tt.waits)
		}
	}
	if n := len(h.acquired) + len(h.waited); n > 2*slots {
		t.Errorf("%d slots are kept, want those that are shown", n)
	}
}

// TestTopFitsItsWidth fills all columns.
func TestTopFitsItsWidth(t *testing.T) {
	now := time.Now()
	long := strings.Repeat("long", 20)
	v := topView{rows: []topRow{{row{Namespace: long, Key: long, Holder: &rowHolder{Identity: long, AcquireTime: now.Add(-400 * time.Hour)}}, 1234.5, 400 * time.Hour, strings.Repeat("█", slots), strings.Repeat("█", slots)}}}
	for _, columns := range []int{80, 81, 111, 112, 200} {
		for _, all := range []bool{false, true} {
			command := &top{all: all}
			for _, l := range command.lines(v, &reader{namespace: "ns", clock: &servertime.Clock{}}, columns, nil)[3:] {
				if n := len([]rune(l.text)); n != columns {
					t.Errorf("a line has %d columns, want %d: %q", n, columns, l.text)
				}
			}
		}
	}
}
