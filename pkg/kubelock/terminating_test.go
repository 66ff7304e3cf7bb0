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
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// backendKinds are the backends and the kinds of objects that they keep locks in.
var backendKinds = map[kubelock.Backend]store.Kind{
	kubelock.DistributedLocks: store.DistributedLocks, kubelock.Leases: store.Leases, kubelock.ConfigMaps: store.ConfigMaps,
}

const finalizer = "example.com/keeps"

// terminating is the lock "k" of one backend, on a server in memory, which a test has
// deleted while a finalizer keeps it.
type terminating struct {
	server  *kubelocktest.Server
	backend kubelock.Backend
	objects dynamic.ResourceInterface
}

// eachBackend runs f for the lock "k" of each backend.
func eachBackend(t *testing.T, f func(t *testing.T, k *terminating)) {
	t.Helper()
	t.Parallel()
	for backend, kind := range backendKinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				f(t, &terminating{server, backend, dynamic.NewForConfigOrDie(server.Config()).Resource(kind.Resource()).Namespace(kubelocktest.Namespace)})
			})
		})
	}
}

func (k *terminating) lock(t *testing.T) *kubelock.Lock[string] {
	t.Helper()
	return kubelock.NewLock[string](k.server.NewClient(t, kubelock.Config{Backend: k.backend}), "k")
}

// deleted marks the object as deleted, kept by a finalizer.
func (k *terminating) deleted(t *testing.T) {
	t.Helper()
	k.patch(t, `{"metadata":{"finalizers":["`+finalizer+`"]}}`)
	if err := k.objects.Delete(t.Context(), "k", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// removed removes the finalizer, and so the object.
func (k *terminating) removed(t *testing.T) {
	t.Helper()
	k.patch(t, `{"metadata":{"finalizers":null}}`)
}

func (k *terminating) patch(t *testing.T, patch string) {
	t.Helper()
	if _, err := k.objects.Patch(t.Context(), "k", types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// version is that of the object.
func (k *terminating) version(t *testing.T) string {
	t.Helper()
	obj, err := k.objects.Get(t.Context(), "k", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj.GetResourceVersion()
}

// made creates the lock with the state "old".
func (k *terminating) made(t *testing.T) {
	t.Helper()
	if _, err := k.lock(t).Do(t.Context(), func(context.Context, string) (string, error) { return "old", nil }); err != nil {
		t.Fatal(err)
	}
}

// TestTerminatingLockIsNotTaken has a free lock be deleted, kept by a finalizer, as a
// deletion in the foreground does. Nothing is written into it, and a caller that waits has the
// lock, without the old state, as soon as the object has gone.
func TestTerminatingLockIsNotTaken(t *testing.T) {
	eachBackend(t, func(t *testing.T, k *terminating) {
		t.Helper()
		k.made(t)
		k.deleted(t)
		version := k.version(t)

		_, err := k.lock(t).TryAcquire(t.Context())
		if !errors.Is(err, kubelock.ErrNotAcquired) || !strings.Contains(err.Error(), finalizer) {
			t.Errorf("TryAcquire: %v, want ErrNotAcquired that names the finalizer", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := k.lock(t).Acquire(ctx); !errors.Is(err, kubelock.ErrNotAcquired) || !strings.Contains(err.Error(), finalizer) {
			t.Errorf("Acquire: %v, want ErrNotAcquired that names the finalizer", err)
		}
		waiter := startAcquire(t.Context(), k.lock(t))
		watcher := make(chan kubelock.Snapshot[string], 1)
		go func() {
			s, err := k.lock(t).Wait(t.Context())
			if err != nil {
				t.Error(err)
			}
			watcher <- s
		}()
		<-time.After(3 * time.Minute)
		if now := k.version(t); now != version {
			t.Errorf("the terminating object was written to: its version is %s, was %s", now, version)
		}

		k.removed(t)
		start := time.Now()
		held := waiter.get(t)
		if took := time.Since(start); took > time.Second {
			t.Errorf("the waiter has the lock %v after the object has gone", took)
		}
		if held.Exists() {
			t.Errorf("the new lock has the state %q of the one that was deleted", held.Value())
		}
		if s := <-watcher; s.Exists {
			t.Errorf("Wait shows the state %q of the lock that was deleted", s.Value)
		}
		if err := held.Release(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestHolderOfATerminatingLock has the object of a held lock be deleted, kept by a finalizer.
// The holder learns that at its next write, writes no state, and grants the lock to no
// waiter.
func TestHolderOfATerminatingLock(t *testing.T) {
	writes := map[string]func(ctx context.Context, held *kubelock.Held[string]) error{
		"Save":    func(ctx context.Context, held *kubelock.Held[string]) error { return held.Update("new").Save(ctx) },
		"Renew":   func(ctx context.Context, held *kubelock.Held[string]) error { return held.Renew(ctx) },
		"Release": func(ctx context.Context, held *kubelock.Held[string]) error { return held.Update("new").Release(ctx) },
	}
	eachBackend(t, func(t *testing.T, k *terminating) {
		t.Helper()
		for name, write := range writes {
			k.made(t)
			held, err := k.lock(t).Acquire(t.Context(), kubelock.WithDuration(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			waiter := startAcquire(t.Context(), k.lock(t))
			<-time.After(10 * time.Second)
			k.deleted(t)
			if err := write(t.Context(), held); !errors.Is(err, kubelock.ErrLost) {
				t.Errorf("%s: %v, want ErrLost", name, err)
			}
			if held.Context().Err() == nil {
				t.Errorf("%s: the hold goes on", name)
			}
			<-time.After(time.Minute)
			if s, err := k.lock(t).Get(t.Context()); err != nil || s.Value != "old" {
				t.Errorf("%s: the terminating object has the state %q, %v", name, s.Value, err)
			}
			select {
			case <-waiter.done:
				t.Fatalf("%s: a waiter got a lock whose object was being deleted: %v", name, waiter.err)
			default:
			}
			k.removed(t)
			next := waiter.get(t)
			if next.Exists() {
				t.Errorf("%s: the next holder has the state %q", name, next.Value())
			}
			if err := next.Release(t.Context()); err != nil {
				t.Error(err)
			}
			if err := k.lock(t).Delete(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestHolderSeesItsLockGo has a client that holds a lock watch its own locks, as it does
// where it has waited. It learns at once that the object is being deleted, or is gone.
func TestHolderSeesItsLockGo(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{true, false} {
		t.Run(map[bool]string{true: "kept by a finalizer", false: "at once"}[kept], func(t *testing.T) {
			eachBackend(t, func(t *testing.T, k *terminating) {
				t.Helper()
				first, l := k.lock(t), k.lock(t)
				before, err := first.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				waiter := startAcquire(t.Context(), l)
				<-time.After(time.Second)
				if err := before.Release(t.Context()); err != nil {
					t.Fatal(err)
				}
				held := waiter.get(t)
				<-time.After(2 * time.Second) // Its lease is the whole one now.
				synctest.Wait()
				if kept {
					k.deleted(t)
				} else if err := k.objects.Delete(t.Context(), "k", metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
				select {
				case <-held.Context().Done():
				case <-time.After(time.Second):
					t.Error("the holder does not know after a second that its lock has gone")
				}
				if err := held.Release(t.Context()); !errors.Is(err, kubelock.ErrLost) {
					t.Errorf("Release: %v, want ErrLost", err)
				}
			})
		})
	}
}

// TestReleaseOfADeletedLock has the object of a held lock vanish. The release says that the
// lock is lost, and claims no other holder.
func TestReleaseOfADeletedLock(t *testing.T) {
	eachBackend(t, func(t *testing.T, k *terminating) {
		t.Helper()
		held, err := k.lock(t).Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := k.objects.Delete(t.Context(), "k", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		err = held.Update("new").Release(t.Context())
		if !errors.Is(err, kubelock.ErrLost) || !strings.Contains(err.Error(), "deleted") {
			t.Errorf("Release: %v, want ErrLost that says that the object was deleted", err)
		}
	})
}

// TestDeleteOfAKeptLock checks that a deletion is over when the object has gone, and that
// the error says what keeps it.
func TestDeleteOfAKeptLock(t *testing.T) {
	eachBackend(t, func(t *testing.T, k *terminating) {
		t.Helper()
		k.made(t)
		k.patch(t, `{"metadata":{"finalizers":["`+finalizer+`"]}}`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := k.lock(t).Delete(ctx); !errors.Is(err, kubelock.ErrUnknownOutcome) || !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), finalizer) {
			t.Errorf("Delete: %v, want ErrUnknownOutcome that names the finalizer", err)
		}
		done := make(chan error, 1)
		go func() { done <- k.lock(t).Delete(t.Context()) }()
		<-time.After(time.Minute)
		select {
		case err := <-done:
			t.Fatalf("Delete returned %v while the object was there", err)
		default:
		}
		k.removed(t)
		if err := <-done; err != nil {
			t.Errorf("Delete: %v", err)
		}
	})
}

// TestWritesRaceWithADeletion has the deletion arrive right before each write of a client
// that has not seen it: the write must fail.
func TestWritesRaceWithADeletion(t *testing.T) {
	eachBackend(t, func(t *testing.T, k *terminating) {
		t.Helper()
		k.made(t)
		held, err := k.lock(t).Acquire(t.Context(), kubelock.WithDuration(time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		raced := false
		k.server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if req.Method != http.MethodGet && !raced {
				raced = true
				k.server.Intercept(nil)
				k.deleted(t)
			}
			return next.RoundTrip(req)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := k.lock(t).Acquire(ctx); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Errorf("Acquire: %v", err)
		}
		obj, err := k.objects.Get(t.Context(), "k", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		text, err := obj.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if !raced || strings.Contains(string(text), "waiter-") || strings.Contains(string(text), `"waiters":["`) {
			t.Errorf("a client queues in a terminating object: %s", text)
		}
		if err := held.Release(t.Context()); !errors.Is(err, kubelock.ErrLost) {
			t.Errorf("Release: %v, want ErrLost", err)
		}
	})
}
