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
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// queuedHold has a client acquire the lock of a key that another holds until then, for so long that
// the client watches the lock.
func queuedHold(t *testing.T, server *kubelocktest.Server, c *kubelock.Client, key string) *kubelock.Held[string] {
	t.Helper()
	before, err := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), key).Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w := startAcquire(t.Context(), kubelock.NewLock[string](c, key), kubelock.WithDuration(time.Hour))
	<-time.After(2 * time.Second)
	release(t, before)
	return w.get(t)
}

// TestCopyOfALockIsNone has an administrator make a copy of a lock that is held, with all that is in it,
// under another name: that is no news of the lock.
func TestCopyOfALockIsNone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const key = "No name of an object"
		server := kubelocktest.NewServer(t)
		held := queuedHold(t, server, server.NewClient(t, kubelock.Config{}), key)
		lock, err := objects(server).Get(t.Context(), protocol.ObjectName(key), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		lock.SetName("copy")
		lock.SetResourceVersion("")
		lock.SetUID("")
		if _, err := objects(server).Create(t.Context(), lock, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Second)
		if err := held.Context().Err(); err != nil {
			t.Errorf("the hold has ended: %v", err)
		}
		release(t, held)
	})
}
