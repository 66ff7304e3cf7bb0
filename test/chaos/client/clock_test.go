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
	"testing"
	"time"
)

// TestWallClock checks that setting the clock changes the time that it shows, and not the differences
// that programs measure.
func TestWallClock(t *testing.T) {
	w := &wallClock{}
	for _, off := range []time.Duration{5 * time.Hour, -5 * time.Hour, 0} {
		before := time.Now()
		w.off.Store(int64(off / time.Second))
		shown := w.now()
		after := time.Now()
		if passed := shown.Sub(before); passed < 0 || passed > after.Sub(before) {
			t.Errorf("off by %v: %v passed by the monotonic clock, want at most %v", off, passed, after.Sub(before))
		}
		if moved := shown.Round(0).Sub(before.Round(0)); moved < off || moved > off+after.Sub(before)+time.Second {
			t.Errorf("off by %v: the wall clock moved by %v", off, moved)
		}
	}
}
