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

package protocol_test

import (
	"math"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// TestSum checks that a sum never changes its sign.
func TestSum(t *testing.T) {
	for _, tc := range []struct {
		parts []time.Duration
		want  time.Duration
	}{
		{nil, 0},
		{[]time.Duration{time.Second, -3 * time.Second}, -2 * time.Second},
		{[]time.Duration{math.MaxInt64, 0}, math.MaxInt64},
		{[]time.Duration{math.MaxInt64, 1}, math.MaxInt64},
		{[]time.Duration{1, math.MaxInt64}, math.MaxInt64},
		{[]time.Duration{math.MaxInt64 - 1, 1}, math.MaxInt64},
		{[]time.Duration{math.MinInt64, -1}, math.MinInt64},
		{[]time.Duration{math.MinInt64, math.MaxInt64}, -1},
	} {
		if got := protocol.Sum(tc.parts...); got != tc.want {
			t.Errorf("the sum of %v is %v, want %v", tc.parts, got, tc.want)
		}
	}
}

// TestLongestLeaseIsNotTakenOver checks, for every place in a queue, that the head start
// of the waiters before it makes a live lease longer and never shorter, however long the
// lease is.
func TestLongestLeaseIsNotTakenOver(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, duration := range []time.Duration{protocol.MaxDuration, math.MaxInt64 - time.Hour, math.MaxInt64} {
		r := protocol.Record{
			UID: "u", ResourceVersion: "7",
			Holder: &protocol.Holder{Client: "a", LockID: "a-1", Token: 6, RenewTime: now, Source: protocol.Server, Duration: duration},
		}
		seen := protocol.Observation{}.Observe(r, now)
		later := now.Add(time.Minute)
		judge := protocol.Judge{Now: later, ServerTime: later, MaxClockSkew: time.Second}
		for _, place := range []int{0, 1, 2, 127, 128, 1 << 40} {
			if available, wait := judge.Available(r, seen, place); available || wait < duration-2*time.Minute {
				t.Errorf("a lease of %v is available to place %d: %v, after %v", duration, place, available, wait)
			}
		}
	}
}
