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

package session_test

import (
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// TestSlowServerGetsTheRest has a holder's first attempt end without an answer. If the read that follows is quick, the
// attempt was lost, and so may be the next one, which has a share of the time again. If the read is slow, so is the API
// server, and the next attempt has all the time that is left.
func TestSlowServerGetsTheRest(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ read, want time.Duration }{
		"quick": {100 * time.Millisecond, time.Second},
		"slow":  {900 * time.Millisecond, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var tries session.Tries
			now := time.Unix(1e9, 0)
			first := tries.Timeout(5 * time.Second)
			if first != time.Second {
				t.Fatalf("the first attempt has %v, want a fifth of 5s", first)
			}
			tries.Take(session.Reply{Outcome: protocol.Unknown, TimedOut: true}, now, now.Add(first))
			now = now.Add(first)
			tries.TakeRead(session.Reply{Outcome: protocol.Committed}, now, now.Add(tt.read))
			if got := tries.Timeout(4 * time.Second); got != tt.want {
				t.Errorf("after a read of %v the second attempt has %v of 4s, want %v", tt.read, got, tt.want)
			}
		})
	}
}
