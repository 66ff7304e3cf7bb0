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

package kubelock_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestMemoryIsBounded checks that a client remembers 16 MiB of states at most, and 4096 locks, of those
// that it has no part in; and that it has what it remembers: a lock is acquired again without a read.
func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for name, tc := range map[string]struct {
		state              string
		keys, locks, bytes int
	}{
		"large states":   {strings.Repeat("x", 512<<10), 40, 31, 16 << 20},
		"without states": {"", 4200, 4096, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := kubelocktest.NewServer(t)
			c := server.NewClient(t, kubelock.Config{})
			for i := range tc.keys {
				held, err := kubelock.NewLock[string](c, strconv.Itoa(i)).Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if tc.state != "" {
					held.Update(tc.state)
				}
				release(t, held)
			}
			locks, bytes := c.Remembered()
			for end := time.Now().Add(patience); locks != tc.locks && time.Now().Before(end); locks, bytes = c.Remembered() {
				<-time.After(time.Millisecond) // What follows the last answer may be under way.
			}
			if locks != tc.locks || bytes > tc.bytes || bytes <= tc.bytes-len(tc.state)-2 && tc.state != "" {
				t.Errorf("the client remembers %d locks and %d bytes, want %d and at most %d", locks, bytes, tc.locks, tc.bytes)
			}
		})
	}
}
