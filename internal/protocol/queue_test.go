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

package protocol

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"
)

// heldWith is a lock that the client "h" holds, at version 20, with that queue.
func heldWith(waiters ...string) Record {
	value := "1"
	r := stored(Record{Name: "k", Key: "k", Value: &value, Waiters: waiters, Transitions: 3}, 20)
	r.Holder = &Holder{Identity: "holder", Client: "h", LockID: "h-1", Token: 15, Duration: 30 * time.Second}
	return r
}

func entry(client string, d time.Duration) string {
	return Waiter{LockID: LockID(client, 7), Duration: d, Identity: "who is " + client}.String()
}

func TestWaitersAreReadAsTheyWereWritten(t *testing.T) {
	for _, w := range []Waiter{
		{LockID: LockID("abc", 40), Duration: 90 * time.Second, Identity: "worker-1"},
		{LockID: "a-b-c-1", Duration: 1, Identity: "  with spaces "},
		{LockID: "x-0", Duration: time.Hour, Identity: "\u00fcber"},
	} {
		got, ok := ParseWaiter(w.String())
		if !ok || got != w {
			t.Errorf("%q was read as %+v, %v", w.String(), got, ok)
		}
	}
	if c := (Waiter{LockID: "a-b-c-1"}).Client(); c != "a-b-c" {
		t.Errorf("the client is %q", c)
	}
	for _, text := range []string{"", "x", "a-1", "a-1 30s", "a-1 30s ", "-1 30s me", "a1 30s me", "a-1 x me", "a-1 0s me", "a-1 -5s me", " a-1 30s me",
		// What could not be granted:
		"a/b-1 30s me", "-a-1 30s me", "a--1 30s me", "\u00fc-1 30s me", "a- 30s me", "a-1- 30s me",
		strings.Repeat("a", MaxLockIDBytes-1) + "-1 30s me",
		"a-1 30s " + strings.Repeat("i", MaxIdentityBytes+1), "a-1 30s \xff",
		"a-1 8760h0m1s me", "a-1 2562047h47m16.854775807s me", "a-1 99999999999h me",
	} {
		if w, ok := ParseWaiter(text); ok {
			t.Errorf("%q was read as %+v", text, w)
		}
	}
}

func FuzzParseWaiter(f *testing.F) {
	f.Add("a-1 30s me")
	f.Add("a-1 5\u00b5s \u00fcber me")
	f.Add(strings.Repeat("a", MaxLockIDBytes-2) + "-1 8760h " + strings.Repeat("i", MaxIdentityBytes))
	f.Fuzz(func(t *testing.T, text string) {
		w, ok := ParseWaiter(text)
		if !ok {
			return
		}
		for _, label := range []string{w.LockID, w.Client()} {
			if problems := validation.IsValidLabelValue(label); label == "" || len(problems) > 0 {
				t.Errorf("%q was read as %+v: %q is no label: %q", text, w, label, problems)
			}
		}
		if !utf8.ValidString(w.Identity) || len(w.Identity) > MaxIdentityBytes || w.Duration > MaxDuration {
			t.Errorf("%q was read as %+v, which cannot be granted", text, w)
		}
		if again, ok := ParseWaiter(w.String()); !ok || again != w || w.Client() == "" || w.Duration <= 0 {
			t.Errorf("%q was read as %+v and that as %+v", text, w, again)
		}
	})
}

func TestPassingTheLockOn(t *testing.T) {
	a, b, own := entry("a", 30*time.Second), entry("b", 2*time.Second), entry("h", time.Minute)
	next := Claim{Identity: "next", Client: "h", LockID: "h-9", Duration: time.Minute}
	for _, tc := range []struct {
		name      string
		waiters   []string
		successor *Claim
		holder    string // lock ID
		duration  time.Duration
		queue     []string
		reason    Reason // of a release
	}{
		{"nobody waits", nil, nil, "", 0, nil, Released},
		{"to the head, for the grace", []string{a, b}, nil, "a-7", Grace, []string{b}, HandedOff},
		{"for less than the grace, if it asked for less", []string{b, a}, nil, "b-7", 2 * time.Second, []string{a}, HandedOff},
		{"the successor queues behind others", []string{a, b}, &next, "a-7", Grace, []string{b, next.Waiter().String()}, HandedOff},
		{"the successor has it if nobody else waits", nil, &next, "h-9", time.Minute, nil, HandedOff},
		{"not to an entry of the same client", []string{own, a}, nil, "a-7", Grace, nil, HandedOff},
		{"nor if that is alone", []string{own}, nil, "", 0, nil, Released},
		{"what nobody can read is dropped", []string{"?", a}, nil, "a-7", Grace, nil, HandedOff},
		{"and does not keep the successor waiting", []string{"?", own}, &next, "h-9", time.Minute, nil, HandedOff},
	} {
		r := heldWith(tc.waiters...)
		before := fmt.Sprint(r.Waiters)
		check := func(how string, got Record, err error, reason Reason) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s, %s: %v", tc.name, how, err)
			}
			lockID, duration := "", time.Duration(0)
			if h := got.Holder; h != nil {
				lockID, duration = h.LockID, h.Duration
				if h.Token != 21 || h.Client == "" || h.Identity == "" || !h.RenewTime.Equal(epoch) || got.Transitions != 4 {
					t.Errorf("%s, %s: the hold is %+v", tc.name, how, h)
				}
			}
			if lockID != tc.holder || duration != tc.duration || !slices.Equal(got.Waiters, tc.queue) {
				t.Errorf("%s, %s: %q has it for %v, queue %q; want %q for %v, %q", tc.name, how, lockID, duration, got.Waiters, tc.holder, tc.duration, tc.queue)
			}
			if l := got.LastRelease; l.LockID != "h-1" || l.Token != 15 || l.Reason != reason {
				t.Errorf("%s, %s: noted as %+v", tc.name, how, l)
			}
		}
		got, err := Release(r, Claim{LockID: "h-1"}, 15, Change{}, tc.successor, at(0))
		check("released", got, err, tc.reason)
		got, err = Expire(r, tc.successor, at(0))
		check("expired", got, err, Expired)
		if fmt.Sprint(r.Waiters) != before {
			t.Fatalf("%s: the record that was given has changed", tc.name)
		}
	}
}

func TestGrant(t *testing.T) {
	a, b := entry("a", 30*time.Second), entry("b", time.Second)
	free := heldWith("?", a, b)
	free.Holder = nil
	got, err := Grant(free, at(0))
	if err != nil || !got.HeldBy("a-7", 21) || got.Holder.Duration != Grace || !slices.Equal(got.Waiters, []string{b}) || got.Transitions != 4 {
		t.Errorf("granted to %+v, queue %q, %v", got.Holder, got.Waiters, err)
	}
	free.Waiters = []string{"?", "!"}
	if got, err := Grant(free, at(0)); err != nil || got.Holder != nil || len(got.Waiters) != 0 {
		t.Errorf("a queue that cannot be read became %q, held by %+v, %v", got.Waiters, got.Holder, err)
	}
	if _, err := Grant(heldWith(a), at(0)); err == nil {
		t.Error("granted a lock that is held")
	}
}

func TestTakeDropsThoseWhoHadTheirChance(t *testing.T) {
	a, b, c := entry("a", time.Second), entry("b", time.Second), entry("c", time.Second)
	r := heldWith(a, b, c)
	got, err := Take(r, Claim{Client: "b", LockID: "b-7"}, 2, at(0))
	if err != nil || !slices.Equal(got.Waiters, []string{c}) || len(r.Waiters) != 3 {
		t.Errorf("the queue is %q, %v", got.Waiters, err)
	}
}

// TestDeadInARow checks that the grace becomes shorter when one grant after the other
// expires unused, and that the lock is freed then rather than granted again.
func TestDeadInARow(t *testing.T) {
	a, b, c, d := entry("a", time.Minute), entry("b", time.Minute), entry("c", time.Minute), entry("d", time.Minute)
	r, err := Release(heldWith(a, b, c, d), Claim{LockID: "h-1"}, 15, Change{}, nil, at(0))
	expire := func(lockID string, lease time.Duration, queue ...string) {
		t.Helper()
		if err != nil || !r.HeldBy(lockID, 0) || r.Holder.Duration != lease || !slices.Equal(r.Waiters, queue) {
			t.Fatalf("held by %+v, queue %q, %v; want %s for %v, %q", r.Holder, r.Waiters, err, lockID, lease, queue)
		}
		r, err = Expire(r, nil, at(0))
	}
	expire("a-7", Grace, b, c, d)
	expire("b-7", Grace, c, d)
	last := r
	expire("c-7", Grace/2, d)
	if err != nil || r.Holder != nil || !slices.Equal(r.Waiters, []string{d}) {
		t.Errorf("held by %+v, queue %q, %v", r.Holder, r.Waiters, err)
	}
	// A holder that has renewed was alive: the next waiter has the whole grace again.
	r, err = Renew(last, Claim{LockID: "c-7", Duration: time.Minute}, 0, Change{}, at(time.Second))
	expire("c-7", time.Minute, d)
	expire("d-7", Grace)
}

// TestDeadThatWantShortLeases has the dead want leases that are shorter than the grace: what one that did not
// answer is given is no other than what the next one is, and still not all of them are given the lock.
func TestDeadThatWantShortLeases(t *testing.T) {
	for _, lease := range []time.Duration{time.Millisecond, time.Second, Grace / 2, 4 * time.Second} {
		queue := make([]string, 0, MaxWaiters)
		for i := range MaxWaiters {
			queue = append(queue, entry("dead"+strconv.Itoa(i), lease))
		}
		r, err := Release(heldWith(queue...), Claim{LockID: "h-1"}, 15, Change{}, nil, at(0))
		grants := 0
		for ; err == nil && r.Holder != nil; grants++ {
			r, err = Expire(r, nil, at(0))
		}
		if err != nil || grants > 3 || len(r.Waiters) != MaxWaiters-grants {
			t.Errorf("with leases of %v: %d grants, %d in the queue, %v", lease, grants, len(r.Waiters), err)
		}
	}
}

// TestGrantable checks when the reaper grants a free lock.
func TestGrantable(t *testing.T) {
	a, b, c := entry("a", 1), entry("b", 1), entry("c", 1)
	for _, tc := range []struct {
		name    string
		waiters []string
		reason  Reason
		wait    time.Duration
	}{
		{"the head has its chance", []string{a, b, c}, Forced, Grace},
		{"behind what cannot be read, too", []string{"?", a, b}, Forced, Grace},
		{"nobody who can be read waits", []string{"?", "!"}, Forced, 0},
		{"after an expiry all have, and time to notice it", []string{a, "?", b, c}, Expired, 2*Grace + haste + 2*Grace},
	} {
		r := heldWith(tc.waiters...)
		r.Holder, r.LastRelease = nil, &LastRelease{Reason: tc.reason, Source: Node}
		judge := Judge{Now: epoch}
		seen := Observation{}.Observe(r, epoch)
		if ok, wait := judge.Grantable(r, seen); ok != (tc.wait == 0) || wait != tc.wait {
			t.Errorf("%s: %v, wait %v; want %v", tc.name, ok, wait, tc.wait)
		}
	}
}

func TestPlace(t *testing.T) {
	r := heldWith(entry("a", 1), "?", entry("b", 1), entry("b", 1))
	for client, want := range map[string]int{"a": 0, "b": 2, "c": 4} {
		if got := r.Place(func(lockID string) bool { return strings.HasPrefix(lockID, client+"-") }); got != want {
			t.Errorf("%s has the place %d, want %d", client, got, want)
		}
	}
}

func TestNewcomers(t *testing.T) {
	t.Parallel()
	entry := func(client string, number uint64) string {
		return Waiter{LockID(client, number), time.Minute, "host-" + client}.String()
	}
	before := Record{Holder: &Holder{Client: "a", LockID: LockID("a", 1)}, Waiters: []string{entry("b", 1), entry("c", 1)}}
	for name, c := range map[string]struct {
		waiters []string
		want    int
	}{
		"nobody waits":              {nil, 0},
		"the same as before":        {before.Waiters, 0},
		"the holder has come back":  {[]string{entry("c", 1), entry("a", 2)}, 0},
		"a waiter with a new entry": {[]string{entry("c", 2)}, 0},
		"two, one of them twice":    {[]string{entry("c", 1), entry("d", 1), entry("e", 1), entry("e", 2)}, 2},
		"what nobody can read":      {[]string{"?", entry("d", 1)}, 1},
	} {
		if got := (Record{Waiters: c.waiters}).Newcomers(before); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestHoldsOfOneLockID is why a token belongs to a hold's identity.
func TestHoldsOfOneLockID(t *testing.T) {
	r := heldWith()
	for _, tc := range []struct {
		token, stored int64
		want          bool
	}{{15, 15, true}, {15, 0, true}, {0, 15, true}, {14, 15, false}, {16, 15, false}} {
		r.Holder.Token = tc.stored
		if got := r.HeldBy("h-1", tc.token); got != tc.want {
			t.Errorf("token %d of a record with %d: %v", tc.token, tc.stored, got)
		}
	}
}

func TestAvailable(t *testing.T) {
	local := time.Date(1999, 9, 9, 9, 9, 9, 0, time.UTC)
	held := heldWith(entry("a", 1), entry("b", 1))
	held.Holder.RenewTime, held.Holder.Source = epoch, Server // lease of 30 s
	free := held
	free.Holder, free.LastRelease = nil, &LastRelease{Time: epoch, Source: Server}
	crowd, garbage, rubbish := free, held, free
	crowd.Waiters = slices.Repeat([]string{entry("a", 1)}, 102)
	garbage.Waiters, rubbish.Waiters = []string{"?", entry("a", 1), "a-1 x y"}, []string{"?", "!"}
	long := held
	longest := *held.Holder
	longest.Duration = MaxDuration
	long.Holder = &longest
	byNode := free
	byNode.LastRelease = &LastRelease{Time: epoch, Source: Node}
	for _, tc := range []struct {
		name      string
		record    Record
		place     int
		seenFor   time.Duration
		server    time.Duration // after the renewal or release
		available bool
		wait      time.Duration
	}{
		{"held, for the head", held, 0, 10 * time.Second, 0, false, 20 * time.Second},
		{"expired, for the head", held, 0, 30 * time.Second, 0, true, 0},
		{"expired, for the next", held, 1, 30 * time.Second, 0, false, Grace},
		{"expired for the grace, for the next", held, 1, 35 * time.Second, 0, true, 0},
		{"expired for the grace, for who does not queue", held, 2, 35 * time.Second, 0, false, Grace},
		{"expired by the server's time, for the next", held, 1, 0, 36*time.Second + 1, true, 0},
		{"free, for the head", free, 0, 0, 0, true, 0},
		{"free, for the next", free, 1, time.Second, 0, false, Grace - time.Second},
		{"free for the grace, for the next", free, 1, Grace, 0, true, 0},
		{"free for the grace by the server's time, for the next", free, 1, 0, 6*time.Second + 1, true, 0},
		{"freed by a node's time, for the next", byNode, 1, 0, time.Hour, false, Grace},
		{"free, for who does not queue", free, 2, 2 * Grace, 0, true, 0},
		{"free, for who does not queue behind many", crowd, 102, 0, 0, false, 2*Grace + 100*haste},
		{"expired, behind what cannot be read", garbage, 3, 30 * time.Second, 0, false, Grace},
		{"free, behind nothing but what cannot be read", rubbish, 2, 0, 0, true, 0},
		{"the longest lease, for the next", long, 1, MaxDuration, 0, false, Grace},
	} {
		seen := Observation{}.Observe(tc.record, local)
		judge := Judge{Now: local.Add(tc.seenFor), ServerTime: epoch.Add(tc.server), MaxClockSkew: time.Second}
		if available, wait := judge.Available(tc.record, seen, tc.place); available != tc.available || wait != tc.wait {
			t.Errorf("%s: %v, wait %v; want %v, %v", tc.name, available, wait, tc.available, tc.wait)
		}
	}
}
