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

package main

import (
	"context"
	"math/rand/v2"
	"sync/atomic"
	"time"
	"unsafe"
)

// wallClock is a wall clock that is wrong by hours and is set from time to time. As on a real
// machine, the monotonic clock beside it goes on without steps.
type wallClock struct{ off atomic.Int64 } // seconds

// secondsUnit is the value of one second in the wall field of a time.Time with a monotonic reading.
// TestWallClock checks that.
const secondsUnit = 1 << 30

// now returns the time as time.Now would on a machine with that clock. It changes the wall field
// itself: time.Time.Add would move both clocks, and no function moves only one.
func (w *wallClock) now() time.Time {
	t := time.Now()
	wall := (*uint64)(unsafe.Pointer(&t)) //nolint:gosec // See above.
	*wall += uint64(w.off.Load()) * secondsUnit
	return t
}

// steps sets the clock to another wrong time every few seconds.
func (w *wallClock) steps(ctx context.Context, finish <-chan struct{}, random *rand.Rand) {
	for {
		w.off.Store(random.Int64N(2*6*3600) - 6*3600)
		select {
		case <-ctx.Done():
			return
		case <-finish:
			return
		case <-time.After(time.Duration(2+random.IntN(10)) * time.Second):
		}
	}
}
