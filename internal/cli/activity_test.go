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
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/cli/view"
)

// TestActivity checks rates and waits of what is seen at given times.
func TestActivity(t *testing.T) {
	began := time.Now()
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	a := newActivity(began)
	see := func(key string, seconds float64, transitions int64, holder string, waiters ...string) {
		r := view.Lock{Kind: "DistributedLocks", Name: key, Key: key, Transitions: transitions}
		if holder != "" {
			r.Holder = &view.Holder{Identity: holder, AcquireTime: began, ExpireTime: at(1000)}
		}
		for _, id := range waiters {
			r.Waiters = append(r.Waiters, view.Waiter{LockID: id})
		}
		a.see(r, at(seconds))
	}
	find := func(seconds float64, key string) view.TopRow {
		t.Helper()
		for _, r := range a.view(at(seconds)).Rows {
			if r.Key == key {
				return r
			}
		}
		return view.TopRow{}
	}
	see("idle", 0, 7, "")
	see("busy", 0, 100, "a")
	see("busy", 1, 101, "b", "w1")
	see("busy", 2, 103, "c", "w1", "w2")
	if r := find(4, "busy"); r.Changes != 3 {
		t.Errorf("the holder changed %d times, want 3", r.Changes)
	}
	if r := find(4, "busy"); r.Rate != 0.75 || r.Longest != 3*time.Second {
		t.Errorf("after 4 s: %v acquisitions/s, longest wait %v; want 0.75, 3s", r.Rate, r.Longest)
	}
	see("busy", 5, 104, "d", "w2")
	if r := find(6, "busy"); r.Longest != 4*time.Second {
		t.Errorf("of a wait that has ended %v is left, want 4s", r.Longest)
	}
	if r := find(14, "busy"); r.Rate != 0.1 || r.Longest != 12*time.Second {
		t.Errorf("after 14 s: %v acquisitions/s, longest wait %v; want 0.1, 12s", r.Rate, r.Longest)
	}
	if r := find(20, "busy"); r.Rate != 0 {
		t.Errorf("what is long ago still counts: %v acquisitions/s", r.Rate)
	}
	// Two holds, and the rest after them.
	a.see(view.Lock{Kind: "DistributedLocks", Name: "busy", Key: "busy", Transitions: 107, Resting: true, Holder: &view.Holder{ExpireTime: at(1000)}}, at(20))
	if r := find(20, "busy"); r.Changes != 6 {
		t.Errorf("the holder changed %d times, want 6: a rest has none", r.Changes)
	}
	see("busy", 20, 2, "e", "w2") // The object was made anew.
	see("busy", 20, 3, "f", "w2")
	if r := find(20, "busy"); r.Changes != 7 {
		t.Errorf("the holder changed %d times, want 7", r.Changes)
	}
	see("held", 20, 1, "x")
	if r := find(20, "held"); r.Changes != 0 {
		t.Errorf("the holder changed %d times before it was seen, want 0", r.Changes)
	}
	v := a.view(at(20))
	if v.Locks != 3 || v.Held != 2 || v.Contended != 1 || len(v.Rows) != 2 || v.Rows[0].Key != "busy" {
		t.Errorf("the view is %+v, want the two locks that are held, the one that is waited for first", v)
	}
	a.see(view.Lock{Kind: "DistributedLocks", Name: "held", Deleted: true}, at(21))
	if v := a.view(at(21)); v.Locks != 2 || len(v.Rows) != 1 {
		t.Errorf("a deleted lock is left in %+v", v)
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
		drawn, longest := h.last(tt.now)
		if acquired, waits := view.Bars(drawn), view.Bars(longest); acquired != tt.acquired || waits != tt.waits {
			t.Errorf("after %v: %q and %q, want %q and %q", tt.now, acquired, waits, tt.acquired, tt.waits)
		}
	}
	if n := len(h.acquired) + len(h.waited); n > 2*view.Slots {
		t.Errorf("%d slots are kept, want those that are shown", n)
	}
}
