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
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// Tests of objects with contents that no client of this cluster wrote.

const lastReleaseAnnotation = "kubelock.dev/last-release"

// copied makes the object anew, as a copy from a cluster in which its last hold had that token.
func (k *terminating) copied(t *testing.T, token int64) {
	t.Helper()
	obj, err := k.objects.Get(t.Context(), "k", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if k.backend == kubelock.DistributedLocks {
		if err := unstructured.SetNestedField(obj.Object, token, "spec", "lastRelease", "token"); err != nil {
			t.Fatal(err)
		}
	} else {
		annotations, last := obj.GetAnnotations(), map[string]any{}
		if err := json.Unmarshal([]byte(annotations[lastReleaseAnnotation]), &last); err != nil {
			t.Fatal(err)
		}
		last["token"] = token
		text, err := json.Marshal(last)
		if err != nil {
			t.Fatal(err)
		}
		annotations[lastReleaseAnnotation] = string(text)
		obj.SetAnnotations(annotations)
	}
	if err := k.objects.Delete(t.Context(), "k", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	obj.SetUID("")
	obj.SetResourceVersion("")
	if _, err := k.objects.Create(t.Context(), obj, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// TestCopyFromAnotherCluster has a lock be copied from a cluster whose versions are far above those of this
// one. It can be locked with its state, however a hold begins, and tokens count on from what the copy records.
func TestCopyFromAnotherCluster(t *testing.T) {
	const before = 5_000_000
	eachBackend(t, func(t *testing.T, k *terminating) {
		t.Helper()
		k.made(t)
		k.copied(t, before)
		last := int64(before)
		begun := func(how string, held *kubelock.Held[string], err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s: %v", how, err)
			}
			if held.Token() <= last {
				t.Errorf("%s: the token is %d after %d", how, held.Token(), last)
			}
			if held.Value() != "old" {
				t.Errorf("%s: the state is %q", how, held.Value())
			}
			last = held.Token()
		}

		client := k.server.NewClient(t, kubelock.Config{Backend: k.backend})
		own := kubelock.NewLock[string](client, "k")
		held, err := own.TryAcquire(t.Context())
		begun("the first", held, err)
		release(t, held)
		held, err = own.Acquire(t.Context())
		begun("again", held, err)
		if err := held.Renew(t.Context()); err != nil {
			t.Error(err)
		}
		waiter := startAcquire(t.Context(), k.lock(t))
		<-time.After(2 * time.Second)
		release(t, held)
		handed := waiter.get(t)
		begun("handed over", handed, nil)
		release(t, handed)
		held, err = own.Acquire(t.Context(), kubelock.WithDuration(10*time.Second))
		begun("of one that dies", held, err)
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		held, err = k.lock(t).Acquire(t.Context())
		begun("after its lease", held, err)
		release(t, held)
		if version, err := strconv.ParseInt(k.version(t), 10, 64); err != nil || version >= before {
			t.Errorf("the server's version is %d, %v: want one below %d, or this tests nothing", version, err, before)
		}
	})
}

// notGrantable are entries of a queue that parse, of holds that the API server would refuse to store.
var notGrantable = []string{
	"a/b-1 30s client is no label value",
	".-1 30s client is no label value",
	strings.Repeat("x", protocol.MaxLockIDBytes-1) + "-1 30s lock ID is too long",
	"ghost-1 30s " + strings.Repeat("x", protocol.MaxIdentityBytes+1),
}

// queue puts entries to the head of the queue, which is empty.
func (k *terminating) queue(t *testing.T, entries []string) {
	t.Helper()
	patch := map[string]any{"spec": map[string]any{"waiters": entries}}
	if k.backend != kubelock.DistributedLocks {
		annotations := map[string]string{}
		for i, entry := range entries {
			annotations[fmt.Sprintf("kubelock.dev/waiter-%d-ghost", i+1)] = entry
		}
		patch = map[string]any{"metadata": map[string]any{"annotations": annotations}}
	}
	text, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	k.patch(t, string(text))
}

// TestWaitersThatCannotBeGranted has entries stand at the head of the queue that no client wrote, and that no
// holder can grant the lock to. They cost the next waiter no time, and the holder neither its release nor its state.
func TestWaitersThatCannotBeGranted(t *testing.T) {
	eachBackend(t, func(t *testing.T, k *terminating) {
		t.Helper()
		// at returns a waiter's hold, and checks that the waiter had it then.
		at := func(when string, w *waiting, then time.Time, state string) *kubelock.Held[string] {
			t.Helper()
			held := w.get(t)
			if late := time.Since(then); late < 0 || late > 2*time.Second {
				t.Errorf("%s: the waiter has the lock %v later", when, late)
			}
			if held.Value() != state {
				t.Errorf("%s: the state is %q, want %q", when, held.Value(), state)
			}
			return held
		}

		k.made(t)
		client := k.server.NewClient(t, kubelock.Config{Backend: k.backend})
		held := acquire(t, kubelock.NewLock[string](client, "k"), kubelock.WithDuration(time.Hour))
		k.queue(t, notGrantable)
		waiter := startAcquire(t.Context(), k.lock(t))
		<-time.After(5 * time.Second)
		released := time.Now()
		release(t, held.Update("released"))
		release(t, at("at the release", waiter, released, "released"))

		held = acquire(t, kubelock.NewLock[string](client, "k"), kubelock.WithDuration(20*time.Second))
		k.queue(t, notGrantable)
		waiter = startAcquire(t.Context(), k.lock(t))
		<-time.After(5 * time.Second)
		ends := held.Deadline()
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		release(t, at("at the end of the lease", waiter, ends, "released"))

		k.queue(t, notGrantable)
		held, err := k.lock(t).TryAcquire(t.Context())
		if err != nil {
			t.Fatalf("TryAcquire of a free lock: %v", err)
		}
		release(t, held)
	})
}
