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
	"reflect"
	"strings"
	"testing"
	"time"
)

// TestRest checks what a rest is made of, and who has to do with it.
func TestRest(t *testing.T) {
	t.Parallel()
	at := Stamp{Time: time.Unix(1000, 0), Source: Server}
	claim := Claim{Identity: "a", Pod: Pod{Name: "a", UID: "u"}, Client: "a", LockID: "a-1", Duration: time.Minute}
	free := Record{Name: "n", Key: "n", UID: "u1", ResourceVersion: "41", Transitions: 3, Waiters: []string{"b-1 30s b", "a-2 30s a"}}
	held, err := Take(free, claim, 0, at)
	if err != nil {
		t.Fatal(err)
	}
	held.ResourceVersion = "42"
	value := "1"
	later := Stamp{Time: at.Time.Add(10 * time.Second), Source: Server}
	r, err := Rest(held, claim, 42, Change{Write: true, Value: &value}, 50*time.Second-time.Microsecond, later)
	if err != nil {
		t.Fatal(err)
	}
	want := &Holder{
		Identity: "a", Client: "rest-a", LockID: "rest-a-1", Token: 43,
		AcquireTime: later.Time, RenewTime: later.Time, Source: Server, Duration: 50 * time.Second,
	}
	if !reflect.DeepEqual(r.Holder, want) || r.Value != &value || !reflect.DeepEqual(r.Waiters, held.Waiters) || r.Transitions != 5 {
		t.Errorf("the lock rests as %+v with the holder %+v", r, r.Holder)
	}
	if last := r.LastRelease; last.LockID != "a-1" || last.Token != 42 || last.Reason != Released || !last.Time.Equal(later.Time) {
		t.Errorf("the hold has ended as %+v", last)
	}
	if !r.Resting() || held.Resting() || free.Resting() || r.HeldBy("a-1", 42) {
		t.Errorf("resting: %v, before: %v, and free: %v; held by the hold that has ended: %v", r.Resting(), held.Resting(), free.Resting(), r.HeldBy("a-1", 42))
	}

	r.ResourceVersion = "43"
	over, err := Expire(r, nil, Stamp{Time: later.Time.Add(50 * time.Second), Source: Server})
	if err != nil {
		t.Fatal(err)
	}
	if h := over.Holder; h.LockID != "b-1" || h.Duration != Grace || h.Token <= 43 {
		t.Errorf("after the rest the first waiter has %+v", h)
	}
	if over.LastRelease.Rested() != "a-1" || over.LastRelease.died() || over.graceAfter() != Grace {
		t.Errorf("the rest has ended as %+v", over.LastRelease)
	}
	if r.LastRelease.Rested() != "" || (*LastRelease)(nil).Rested() != "" {
		t.Error("what was no rest is taken for one")
	}

	if _, err := Rest(r, claim, 42, Change{}, time.Second, later); !errors.Is(err, ErrNotHolder) {
		t.Errorf("a lock that rests may be released: %v", err)
	}
	held.Terminating = true
	if gone, err := Rest(held, claim, 42, Change{}, time.Second, later); err != nil || gone.Holder != nil {
		t.Errorf("an object that is being deleted has the holder %+v, %v", gone.Holder, err)
	}
	held.Terminating, held.Shared = false, true
	if r, err := Rest(held, claim, 42, Change{}, time.Hour, later); err != nil || r.Holder.Duration != time.Hour {
		t.Errorf("where electors use the object it rests as %+v, %v", r.Holder, err)
	}
}

// TestRestHasRoom checks that the lock ID of a rest fits, after the longest that a client has.
func TestRestHasRoom(t *testing.T) {
	t.Parallel()
	const client = 26 // The length of rand.Text.
	id := RestID(LockID(strings.Repeat("x", client), 1<<64-1))
	if !ValidLabel(id) || !ValidLabel(Waiter{LockID: id}.Client()) {
		t.Errorf("%q is too long for a lock ID, or its client for a label", id)
	}
}

// TestElectorIsNoRest has an elector be named as a rest is, as a Pod of a Deployment "rest-api" is.
func TestElectorIsNoRest(t *testing.T) {
	t.Parallel()
	const name = "rest-api-7d4b9-x2x4q"
	if h := (&Holder{Identity: name, LockID: name}); h.Rests() {
		t.Error("its hold is taken for a rest")
	}
	if l := (&LastRelease{Identity: name, LockID: name, Reason: Expired}); l.Rested() != "" || !l.died() {
		t.Errorf("its end is taken for that of a rest, after %q", l.Rested())
	}
}
