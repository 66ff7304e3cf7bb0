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
	"slices"
	"testing"
	"time"
)

// shownHold is a lock with state as a person is shown it.
func shownHold(t *testing.T, waiters ...string) Record {
	t.Helper()
	free := stored(Record{Name: "k", Key: "k", Value: new(`{"n":1}`), Waiters: waiters}, 10)
	return stored(mustTake(t, free, "client-a-1", at(0)), 11)
}

func TestForceFrees(t *testing.T) {
	shown := shownHold(t)
	got, err := Force(shown, shown, at(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	want := LastRelease{LockID: "client-a-1", Identity: "who-client-a-1", Token: 11, Time: epoch.Add(time.Second), Source: Server, Reason: Forced}
	if got.Holder != nil || *got.LastRelease != want || got.Value != shown.Value || got.Transitions != shown.Transitions {
		t.Errorf("forced to %+v with the last release %+v, want a free lock with its state and %+v", got, got.LastRelease, want)
	}
	if shown.Holder == nil || shown.LastRelease != nil {
		t.Error("forcing changed the record that it was given")
	}
	if again := mustTake(t, stored(got, 20), "client-b-1", at(time.Minute)); again.Holder.Token <= 11 {
		t.Errorf("the next token is %d, want more than that of the hold that was broken", again.Holder.Token)
	}
}

// TestForceGrants breaks a hold that was renewed and queued for since it was shown.
func TestForceGrants(t *testing.T) {
	first, second := Waiter{"client-b-7", time.Minute, "b"}.String(), Waiter{"client-c-1", time.Minute, "c"}.String()
	shown := shownHold(t, first)
	renewed, err := Renew(shown, claimOf("client-a-1", time.Hour), 11, Change{}, at(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	renewed.Waiters = append(slices.Clone(renewed.Waiters), second)
	got, err := Force(stored(renewed, 30), shown, at(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if !got.HeldBy("client-b-7", 31) || got.Holder.Token != 31 || got.Holder.Duration != Grace || got.Transitions != shown.Transitions+1 {
		t.Errorf("the first waiter was granted %+v", got.Holder)
	}
	if !slices.Equal(got.Waiters, []string{second}) || got.LastRelease.Reason != Forced || got.LastRelease.LockID != "client-a-1" || got.Value != shown.Value {
		t.Errorf("forced to %+v, last release %+v", got, got.LastRelease)
	}
}

func TestForceRefusesAnotherHold(t *testing.T) {
	shown := shownHold(t)
	change := func(f func(r *Record, h *Holder)) Record {
		r, h := shown, *shown.Holder
		r.Holder = &h
		f(&r, &h)
		return r
	}
	untold := change(func(_ *Record, h *Holder) { h.Token = 0 })
	for name, tc := range map[string]struct{ now, shown Record }{
		"another object":                  {change(func(r *Record, _ *Holder) { r.UID = "other" }), shown},
		"another lock ID":                 {change(func(_ *Record, h *Holder) { h.LockID = "client-a-2" }), shown},
		"another token":                   {change(func(_ *Record, h *Holder) { h.Token++ }), shown},
		"another hold of one entry":       {change(func(_ *Record, h *Holder) { h.AcquireTime = h.AcquireTime.Add(time.Second) }), untold},
		"free now":                        {change(func(r *Record, _ *Holder) { r.Holder = nil }), shown},
		"the object is gone":              {Record{Name: "k"}, shown},
		"was free when it was shown":      {shown, change(func(r *Record, _ *Holder) { r.Holder = nil })},
		"was not there when it was shown": {shown, Record{Name: "k"}},
	} {
		if got, err := Force(tc.now, tc.shown, at(0)); !errors.Is(err, ErrNotHolder) {
			t.Errorf("%s: forced to %+v, %v", name, got, err)
		}
	}
	if _, err := Force(shown, untold, at(0)); err != nil {
		t.Errorf("a hold that has told its token since: %v", err)
	}
}
