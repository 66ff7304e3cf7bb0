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
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestForgottenLockIsLeftAlone has a client forget a lock while the watch of that is still open, and
// acquire it again: what it had forgotten does not take the lock for one that no caller needs.
func TestForgottenLockIsLeftAlone(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		c := server.NewClient(t, kubelock.Config{})
		release(t, queuedHold(t, server, c, "k"))
		for i := range 40 { // More than the client remembers.
			held, err := kubelock.NewLock[string](c, strconv.Itoa(i)).Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			release(t, held.Update(strings.Repeat("x", 512<<10)))
		}
		held, err := kubelock.NewLock[string](c, "k").Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		now, err := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k").Get(t.Context())
		if err != nil || !now.Held || now.Token != held.Token() {
			t.Errorf("the lock is %+v, %v while it is held with token %d until %v", now, err, held.Token(), time.Until(held.Deadline()))
		}
		release(t, held)
	})
}
