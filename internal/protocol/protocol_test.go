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
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(d time.Duration) Stamp { return Stamp{Time: epoch.Add(d), Source: Server} }

// claimOf is a claim of the client "client-" + lockID.
func claimOf(lockID string, d time.Duration) Claim {
	return Claim{Identity: "who-" + lockID, Client: "client-" + lockID, LockID: lockID, Duration: d}
}

func mustTake(t *testing.T, r Record, lockID string, s Stamp) Record {
	t.Helper()
	next, err := Take(r, claimOf(lockID, 30*time.Second), 0, s)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func stored(r Record, version int64) Record {
	r.UID, r.ResourceVersion = "uid", strconv.FormatInt(version, 10)
	return r
}

func TestTakeOfAFreeLock(t *testing.T) {
	value := `{"n":1}`
	free := stored(Record{Name: "k", Key: "k", Value: &value, Transitions: 4, Waiters: []string{"w"}, ObjectExpiry: time.Hour,
		LastRelease: &LastRelease{LockID: "before", Reason: Released}}, 41)
	got := mustTake(t, free, "a", at(time.Second))
	if got.Holder == nil || got.Holder.Token != 42 || !got.Holder.AcquireTime.Equal(epoch.Add(time.Second)) || !got.Holder.RenewTime.Equal(got.Holder.AcquireTime) {
		t.Errorf("holder is %+v, want token 42 and both times from the stamp", got.Holder)
	}
	if got.Transitions != 5 || got.Value != free.Value || len(got.Waiters) != 1 || got.ObjectExpiry != time.Hour || got.LastRelease.LockID != "before" {
		t.Errorf("taking changed more than the holder: %+v", got)
	}
	if free.Holder != nil || free.Transitions != 4 {
		t.Error("taking changed the record that it was given")
	}
}

func TestTakeCreates(t *testing.T) {
	got := mustTake(t, Record{Name: "k", Key: "k"}, "a", at(0))
	if got.Holder.Token != 0 || got.Exists() || got.Transitions != 1 {
		t.Errorf("a hold that creates its object must leave the token open: %+v", got.Holder)
	}
	if token, err := CreatedToken(stored(got, 77)); err != nil || token != 77 {
		t.Errorf("token of a created hold is %d, %v; want its resourceVersion", token, err)
	}
}

func TestTakeOverNotesTheExpiry(t *testing.T) {
	held := stored(mustTake(t, stored(Record{Name: "k", Key: "k"}, 10), "a", at(0)), 11)
	got := mustTake(t, held, "b", at(time.Minute))
	want := LastRelease{LockID: "a", Identity: "who-a", Token: 11, Time: epoch.Add(time.Minute), Source: Server, Reason: Expired}
	if *got.LastRelease != want || !got.HeldBy("b", 12) || got.Holder.Token != 12 {
		t.Errorf("took over to %+v after %+v, want the last hold noted as %+v", got.Holder, got.LastRelease, want)
	}
}

func TestTakeNeedsAnIntegerVersion(t *testing.T) {
	for _, version := range []string{"abc", "0", "-4", "9999999999999999999999"} {
		if _, err := Take(Record{UID: "uid", ResourceVersion: version}, Claim{LockID: "a"}, 0, at(0)); err == nil {
			t.Errorf("took a lock at resourceVersion %q", version)
		}
	}
}

func TestRenewAlwaysChangesTheRenewTime(t *testing.T) {
	held := stored(mustTake(t, stored(Record{Name: "k", Key: "k"}, 10), "a", at(time.Hour)), 11)
	for _, s := range []Stamp{at(0), at(time.Hour), at(2 * time.Hour)} { // Clocks may be set back.
		got, err := Renew(held, claimOf("a", 5*time.Second), 11, Change{}, s)
		if err != nil || !got.Holder.RenewTime.After(held.Holder.RenewTime) || got.Holder.Duration != 5*time.Second ||
			!got.Holder.AcquireTime.Equal(held.Holder.AcquireTime) || got.Holder.Token != 11 {
			t.Errorf("renewed at %v to %+v, %v", s.Time, got.Holder, err)
		}
	}
	if held.Holder.Duration != 30*time.Second {
		t.Error("renewing changed the record that it was given")
	}
}

func TestOnlyTheHolderWrites(t *testing.T) {
	value := "1"
	held := stored(mustTake(t, stored(Record{Name: "k", Key: "k", Value: &value}, 10), "a", at(0)), 11)
	free, err := Release(held, claimOf("a", time.Second), 11, Change{Write: true, Value: nil}, nil, at(1))
	if err != nil || free.Holder != nil || free.Value != nil || free.LastRelease.Reason != Released || free.LastRelease.Token != 11 {
		t.Errorf("released to %+v, %v", free, err)
	}
	if kept, err := Release(held, claimOf("a", time.Second), 11, Change{}, nil, at(1)); err != nil || kept.Value != &value {
		t.Errorf("a release without a change left the value %v, %v", kept.Value, err)
	}
	for name, err := range map[string]error{
		"release by another":  second(Release(held, claimOf("b", time.Second), 11, Change{}, nil, at(1))),
		"renewal by another":  second(Renew(held, claimOf("b", time.Second), 11, Change{}, at(1))),
		"release of a free":   second(Release(free, claimOf("a", time.Second), 11, Change{}, nil, at(1))),
		"renewal of a free":   second(Renew(free, claimOf("a", time.Second), 11, Change{}, at(1))),
		"expiry of a free":    second(Expire(free, nil, at(1))),
		"release without one": second(Release(Record{}, claimOf("a", time.Second), 11, Change{}, nil, at(1))),
	} {
		if !errors.Is(err, ErrNotHolder) {
			t.Errorf("%s: got %v, want ErrNotHolder", name, err)
		}
	}
	expired, err := Expire(held, nil, at(time.Hour))
	if err != nil || expired.Value != &value || expired.LastRelease.Reason != Expired || expired.LastRelease.Token != 11 {
		t.Errorf("expired to %+v, %v", expired, err)
	}
}

func second(_ Record, err error) error { return err }

func TestExpired(t *testing.T) {
	// The observer's clock has nothing to do with the server's.
	local := time.Date(1999, 9, 9, 9, 9, 9, 0, time.UTC)
	held := stored(mustTake(t, stored(Record{Name: "k", Key: "k"}, 10), "a", at(0)), 11) // lease of 30 s
	byNode := held
	h := *held.Holder
	h.Source = Node
	byNode.Holder = &h
	farFuture := held
	f := *held.Holder
	f.RenewTime = epoch.AddDate(1000, 0, 0) // Further than a Duration reaches.
	farFuture.Holder = &f
	for _, tc := range []struct {
		name    string
		record  Record
		seenFor time.Duration
		server  time.Duration // after the renewal; -1: unknown
		skew    time.Duration
		expired bool
		wait    time.Duration
	}{
		{"just seen, server's time unknown", held, 0, -1, time.Second, false, 30 * time.Second},
		{"seen for most of its duration", held, 29 * time.Second, -1, time.Second, false, time.Second},
		{"seen for its duration", held, 30 * time.Second, -1, time.Second, true, 0},
		{"just seen, server's time before the end", held, 0, 20 * time.Second, time.Second, false, 11 * time.Second},
		{"just seen, server's time at the end and the skew", held, 0, 31 * time.Second, time.Second, false, 1},
		{"just seen, server's time past it", held, 0, 31*time.Second + 1, time.Second, true, 0},
		{"just seen, server's time long past it, not to be judged by", held, 0, time.Hour, -1, false, 30 * time.Second},
		{"just seen, stamped by a node, server's time long past it", byNode, 0, time.Hour, time.Second, false, 30 * time.Second},
		{"stamped by a node, seen for its duration", byNode, 30 * time.Second, time.Hour, time.Second, true, 0},
		{"renewed in a far future, by hand", farFuture, 0, 0, time.Second, false, 30 * time.Second},
		{"free", stored(Record{}, 1), time.Hour, time.Hour, time.Second, false, 0},
	} {
		j := Judge{Now: local.Add(tc.seenFor), MaxClockSkew: tc.skew}
		if tc.server >= 0 {
			j.ServerTime = epoch.Add(tc.server)
		}
		expired, wait := j.Expired(tc.record, Observation{}.Observe(tc.record, local))
		if expired != tc.expired || wait != tc.wait {
			t.Errorf("%s: expired %v, wait %v; want %v, %v", tc.name, expired, wait, tc.expired, tc.wait)
		}
	}
}

func TestObserve(t *testing.T) {
	start := time.Now()
	held := stored(mustTake(t, stored(Record{Name: "k", Key: "k"}, 10), "a", at(0)), 11)
	seen := Observation{}.Observe(held, start)
	change := func(f func(r *Record, h *Holder)) Record {
		r, h := held, *held.Holder
		r.Holder = &h
		f(&r, &h)
		return r
	}
	for name, r := range map[string]Record{
		"queue":    change(func(r *Record, _ *Holder) { r.Waiters = []string{"w"} }),
		"version":  change(func(r *Record, _ *Holder) { r.ResourceVersion = "99" }),
		"value":    change(func(r *Record, _ *Holder) { r.Value = new("1") }),
		"identity": change(func(_ *Record, h *Holder) { h.Identity = "x" }),
	} {
		if got := seen.Observe(r, start.Add(time.Second)); got != seen {
			t.Errorf("a change of the %s restarts the clock", name)
		}
	}
	for name, r := range map[string]Record{
		"renewal":           change(func(_ *Record, h *Holder) { h.RenewTime = h.RenewTime.Add(time.Microsecond) }),
		"hold":              change(func(_ *Record, h *Holder) { h.LockID = "b" }),
		"object":            change(func(r *Record, _ *Holder) { r.UID = "other" }),
		"duration":          change(func(_ *Record, h *Holder) { h.Duration++ }),
		"release":           change(func(r *Record, _ *Holder) { r.Holder = nil }),
		"number of holds":   change(func(r *Record, _ *Holder) { r.Transitions++ }),
		"object, now gone":  {Name: "k"},
		"free lock, reused": change(func(r *Record, _ *Holder) { r.Holder = nil; r.Transitions += 2 }),
	} {
		if got := seen.Observe(r, start.Add(time.Second)); !got.Since.Equal(start.Add(time.Second)) {
			t.Errorf("a change of the %s does not restart the clock", name)
		}
	}
}

func TestCollectable(t *testing.T) {
	local := time.Now()
	free := stored(Record{Name: "k", Key: "k", CreateTime: epoch, ObjectExpiry: time.Minute}, 5)
	used := free
	used.LastRelease = &LastRelease{Time: epoch.Add(time.Hour), Source: Server}
	byNode := free
	byNode.LastRelease = &LastRelease{Time: epoch.Add(-24 * time.Hour), Source: Node}
	forever := free
	forever.ObjectExpiry = 0
	queued := free
	queued.Waiters = []string{"w"}
	for _, tc := range []struct {
		name    string
		record  Record
		seenFor time.Duration
		server  time.Duration
		due, ok bool
	}{
		{"never used, young", free, 0, 30 * time.Second, false, true},
		{"never used, old by the server's time", free, 0, 62 * time.Second, true, true},
		{"never used, seen for long", free, time.Minute, 30 * time.Second, true, true},
		{"used since", used, 0, time.Hour + 30*time.Second, false, true},
		{"used long ago", used, 0, time.Hour + 62*time.Second, true, true},
		{"released a day ago by a node's clock", byNode, 0, time.Hour, false, true},
		{"the same, seen for long", byNode, time.Minute, time.Hour, true, true},
		{"kept for ever", forever, time.Hour, 10 * time.Hour, false, false},
		{"queued for", queued, time.Hour, 10 * time.Hour, false, false},
		{"held", mustTake(t, free, "a", at(0)), time.Hour, 10 * time.Hour, false, false},
	} {
		j := Judge{Now: local.Add(tc.seenFor), ServerTime: epoch.Add(tc.server), MaxClockSkew: time.Second}
		due, wait, ok := j.Collectable(tc.record, Observation{}.Observe(tc.record, local))
		if due != tc.due || ok != tc.ok || ok && due != (wait == 0) {
			t.Errorf("%s: due %v, wait %v, ok %v", tc.name, due, wait, ok)
		}
	}
}

// TestTokensIncreaseOverRandomHistories is invariant 6 of the pure part: over random
// histories of one key, deletions included, each hold's token is greater than every
// token before it.
func TestTokensIncreaseOverRandomHistories(t *testing.T) {
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		version, last, n := int64(100), int64(0), uint64(0)
		r := Record{Name: "k", Key: "k"}
		client := func() string { return "c" + strconv.Itoa(rnd.IntN(4)) }
		claim := func(client string) Claim {
			n++
			return Claim{Identity: client, Client: client, LockID: LockID(client, n), Duration: time.Minute}
		}
		commit := func(next Record, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			began := next.Holder != nil && (r.Holder == nil || next.Holder.LockID != r.Holder.LockID)
			version += 1 + rnd.Int64N(3)
			r = stored(next, version)
			if !began {
				return
			}
			token := r.Holder.Token
			if token == 0 {
				token, _ = CreatedToken(r)
			}
			if token <= last || token > version {
				t.Fatalf("seed %d: token %d at version %d after token %d", seed, token, version, last)
			}
			last = token
		}
		for range 60 {
			var successor *Claim
			if rnd.IntN(2) == 0 && r.Holder != nil {
				successor = new(claim(r.Holder.Client))
			}
			switch rnd.IntN(8) {
			case 0:
				commit(Take(r, claim(client()), rnd.IntN(len(r.Waiters)+1), at(0)))
			case 1:
				if r.Holder != nil {
					commit(Release(r, Claim{LockID: r.Holder.LockID}, last, Change{}, successor, at(0)))
				}
			case 2:
				if r.Holder != nil {
					commit(Expire(r, successor, at(0)))
				}
			case 3:
				if r.Exists() && r.Holder == nil {
					commit(Grant(r, at(0)))
				}
			case 4:
				if r.Exists() {
					commit(r, nil) // Somebody else's change of the object.
				}
			case 5:
				if r.Exists() {
					next := r
					next.Waiters = append(slices.Clone(r.Waiters), claim(client()).Waiter().String())
					commit(next, nil)
				}
			case 6:
				if rnd.IntN(4) == 0 {
					version++
					r = Record{Name: "k", Key: "k"} // Deleted.
				}
			case 7:
				if r.Exists() && r.Holder == nil && len(r.Waiters) == 0 {
					commit(Apply(r, claim(client()), Change{}, at(0)))
					token := r.LastRelease.Token
					if token <= last {
						t.Fatalf("seed %d: token %d of an applied change after token %d", seed, token, last)
					}
					last = token
				}
			}
		}
	}
}
