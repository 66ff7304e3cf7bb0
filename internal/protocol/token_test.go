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
	"math"
	"slices"
	"testing"
	"time"
)

// TestTokensCountOnFromWhatIsRecorded checks locks that were written for another cluster,
// whose versions are larger than those of this one.
func TestTokensCountOnFromWhatIsRecorded(t *testing.T) {
	const old = 5_000_000
	b := entry("b", time.Minute)
	held := heldWith(b) // at version 20
	held.Holder.Token = old
	free := heldWith()
	free.Holder, free.LastRelease = nil, &LastRelease{LockID: "x-1", Token: old, Reason: Released}
	queued := free
	queued.Waiters = []string{b}
	both := heldWith(b) // The larger one counts, also where the smaller one is the last.
	both.LastRelease = &LastRelease{LockID: "x-1", Token: old}
	claim := Claim{Identity: "b", Client: "b", LockID: "b-9", Duration: time.Minute}
	for name, next := range map[string]func() (Record, error){
		"taken":                     func() (Record, error) { return Take(free, claim, 0, at(0)) },
		"taken over":                func() (Record, error) { return Take(held, claim, 1, at(0)) },
		"taken over with both":      func() (Record, error) { return Take(both, claim, 1, at(0)) },
		"granted":                   func() (Record, error) { return Grant(queued, at(0)) },
		"handed over":               func() (Record, error) { return Release(held, Claim{LockID: "h-1"}, old, Change{}, nil, at(0)) },
		"handed over with both":     func() (Record, error) { return Release(both, Claim{LockID: "h-1"}, 15, Change{}, nil, at(0)) },
		"expired":                   func() (Record, error) { return Expire(held, nil, at(0)) },
		"kept by a client's caller": func() (Record, error) { return Expire(heldAlone(old), &claim, at(0)) },
	} {
		if got, err := next(); err != nil || got.Holder == nil || got.Holder.Token != old+1 {
			t.Errorf("%s: %v, held by %+v, want token %d", name, err, got.Holder, old+1)
		}
	}
	// The version counts where it is larger.
	free.ResourceVersion = "6000000"
	if token, err := NextToken(free); err != nil || token != 6_000_001 {
		t.Errorf("token %d, %v", token, err)
	}
}

func heldAlone(token int64) Record {
	r := heldWith()
	r.Holder.Token = token
	return r
}

// TestLastToken checks that a lock whose tokens are used up can be released, with its
// state, and that its next holder learns of it.
func TestLastToken(t *testing.T) {
	b, value := entry("b", time.Minute), "2"
	r := heldWith(b)
	r.Holder.Token = math.MaxInt64
	claim := Claim{Client: "h", LockID: "h-9", Duration: time.Minute}
	for _, successor := range []*Claim{nil, &claim} {
		got, err := Release(r, Claim{LockID: "h-1"}, math.MaxInt64, Change{Write: true, Value: &value}, successor, at(0))
		if err != nil || got.Holder != nil || *got.Value != "2" || !slices.Equal(got.Waiters, []string{b}) || got.LastRelease.Reason != Released {
			t.Errorf("released to %+v, %v", got, err)
		}
		if _, err := Take(got, claim, 1, at(0)); err == nil {
			t.Error("a token after the last was given")
		}
		if _, err := Grant(got, at(0)); err == nil {
			t.Error("a token after the last was granted")
		}
	}
}

// TestTransitionsDoNotOverflow checks a counter that was written by hand.
func TestTransitionsDoNotOverflow(t *testing.T) {
	r := heldWith()
	r.Holder, r.Transitions = nil, math.MaxInt64
	if got := mustTake(t, r, "a", at(0)); got.Transitions != math.MaxInt64 {
		t.Errorf("transitions are %d", got.Transitions)
	}
}

// TestTokensAheadAreNotCollected checks that no expiry lowers the tokens of a lock from
// another cluster by deleting it.
func TestTokensAheadAreNotCollected(t *testing.T) {
	free := heldWith()
	free.Holder, free.ObjectExpiry, free.LastRelease = nil, time.Second, &LastRelease{Token: 21, Source: Node}
	judge := Judge{Now: epoch.Add(time.Hour)}
	seen := Observation{}.Observe(free, epoch)
	if _, _, ok := judge.Collectable(free, seen); ok {
		t.Error("would be collected at version 20 with token 21")
	}
	free.LastRelease.Token = 20
	if due, _, ok := judge.Collectable(free, seen); !ok || !due {
		t.Error("would not be collected at version 20 with token 20")
	}
}
