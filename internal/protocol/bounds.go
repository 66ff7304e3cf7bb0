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
	"time"
)

// The bounds of everything that the protocol reads from an object or an option. Clients
// refuse to write what exceeds them, the schema of DistributedLocks refuses to store it,
// and nobody believes it when it is read.
const (
	// MaxDuration is the longest lease: a year.
	MaxDuration = 365 * 24 * time.Hour
	// MaxObjectExpiry is the longest objectExpiry: a hundred years. What shall be kept for
	// longer has none.
	MaxObjectExpiry = 100 * MaxDuration
	// MaxWaiters is how many clients queue in a lock's object at most. The API server
	// validates the whole queue with every write, and its schema refuses more.
	MaxWaiters = 128
	// MaxLockIDBytes is the length of the longest lock ID.
	MaxLockIDBytes = 63
	// MaxIdentityBytes is the length of the longest identity, as of the longest object name.
	MaxIdentityBytes = 253
)

// Grace is how long a granted hold lasts at most until its holder renews it, and the head
// start that each waiter has before the next one. A dead waiter delays the others by
// this much, and not by a whole lease.
const Grace = 5 * time.Second

// Sum adds durations. A sum that no time.Duration can hold is the largest or the smallest
// that there is, and never one of the other sign.
func Sum(durations ...time.Duration) time.Duration {
	var sum time.Duration
	for _, d := range durations {
		switch {
		case d > 0 && sum > math.MaxInt64-d:
			return math.MaxInt64
		case d < 0 && sum < math.MinInt64-d:
			return math.MinInt64
		}
		sum += d
	}
	return sum
}
