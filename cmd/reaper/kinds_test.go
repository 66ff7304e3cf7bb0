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
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// backends are the kinds of objects for clusters where the user may not install a CRD.
var backends = map[kubelock.Backend]store.Kind{kubelock.Leases: store.Leases, kubelock.ConfigMaps: store.ConfigMaps}

// accountFor returns the configuration of a service account that has the reaper's role for a kind,
// in one namespace only.
func accountFor(t *testing.T, ns, resource, group string) *rest.Config {
	t.Helper()
	manifest, err := os.ReadFile(filepath.Join(env.Root, "config", "components", resource, "reaper_role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	role, _, _ := strings.Cut(string(manifest), "\n---\n") // Without the binding for every namespace.
	if out, err := env.Kubectl(t.Context(), role, "apply", "-f", "-"); err != nil {
		t.Fatal(out)
	}
	name := "kubelock-reaper-" + resource
	return env.AccountIn(t, ns, name, authorizationv1.ResourceAttributes{Verb: "update", Group: group, Resource: resource})
}

// asked is a transport that records the queries by which a reaper lists and watches.
type asked struct {
	next http.RoundTripper

	mu      sync.Mutex // protects queries
	queries []string
}

func (a *asked) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet && (strings.HasSuffix(req.URL.Path, "/leases") || strings.HasSuffix(req.URL.Path, "/configmaps")) {
		a.mu.Lock()
		a.queries = append(a.queries, req.URL.Path+"?"+req.URL.Query().Get("labelSelector"))
		a.mu.Unlock()
	}
	return a.next.RoundTrip(req)
}

// WrappedRoundTripper lets client-go see what is behind it.
func (a *asked) WrappedRoundTripper() http.RoundTripper { return a.next }

// cutOff is a transport that fails all requests once off is set.
type cutOff struct {
	next http.RoundTripper
	off  atomic.Bool
}

func (c *cutOff) RoundTrip(req *http.Request) (*http.Response, error) {
	if c.off.Load() {
		return nil, errors.New("the network is cut")
	}
	return c.next.RoundTrip(req)
}

// WrappedRoundTripper lets client-go see what is behind it.
func (c *cutOff) WrappedRoundTripper() http.RoundTripper { return c.next }

// TestEveryKindIsReaped checks that the reaper works on Leases and ConfigMaps as on
// DistributedLocks, with the rights of their components, and that it reads no other objects than
// locks.
func TestEveryKindIsReaped(t *testing.T) {
	t.Parallel()
	if deployed != nil {
		t.Fatal(deployed)
	}
	for backend, kind := range backends {
		resource := kind.Resource()
		t.Run(resource.Resource, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			config := accountFor(t, ns, resource.Resource, resource.Group)
			seen := &asked{}
			config.Wrap(func(next http.RoundTripper) http.RoundTripper {
				seen.next = next
				return seen
			})
			startReplica(t, config, options{
				metricsAddress: "0", probeAddress: "0", namespaces: ns, maxClockSkew: time.Second, concurrency: 1,
				leases: backend == kubelock.Leases, configMaps: backend == kubelock.ConfigMaps,
			})

			checkGrant(t, ns, backend, kind)
			checkExpiry(t, ns, backend)
			checkCollection(t, ns, backend, kind)

			seen.mu.Lock()
			defer seen.mu.Unlock()
			if len(seen.queries) == 0 {
				t.Error("the reaper has not listed anything")
			}
			for _, query := range seen.queries {
				if !strings.HasSuffix(query, "/"+resource.Resource+"?kubelock.dev/lock=true") {
					t.Errorf("the reaper asks for %s", query)
				}
			}
		})
	}
}

// dies acquires a lock, writes a state, and ends without a release.
func dies(t *testing.T, key string, cfg kubelock.Config) *kubelock.Held[string] {
	t.Helper()
	c, err := kubelock.NewClient(env.Config, cfg)
	if err != nil {
		t.Fatal(err)
	}
	held, err := kubelock.NewLock[string](c, key).Acquire(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Update("state").Save(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return held
}

func lockOf(t *testing.T, key string, cfg kubelock.Config) *kubelock.Lock[string] {
	t.Helper()
	c, err := kubelock.NewClient(env.Config, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // Always nil.
	return kubelock.NewLock[string](c, key)
}

// checkGrant checks that the reaper grants the lock of a dead holder to the first waiter. That
// waiter is dead, too, so that only the reaper can have written the grant. After the grace a live
// client gets the lock.
func checkGrant(t *testing.T, ns string, backend kubelock.Backend, kind store.Kind) {
	t.Helper()
	dead := dies(t, "granted", kubelock.Config{Namespace: ns, Backend: backend, LockDuration: 4 * time.Second})
	config, cut := rest.CopyConfig(env.Config), &cutOff{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		cut.next = next
		return cut
	})
	waiter, err := kubelock.NewClient(config, kubelock.Config{Namespace: ns, Backend: backend, Identity: "the-waiter"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(within(t, patience))
	ended := make(chan error, 1)
	go func() {
		_, err := kubelock.NewLock[string](waiter, "granted").Acquire(ctx)
		ended <- err
	}()
	obj := kind.New()
	eventually(t, "a client waits", func() bool {
		if err := env.Client(t).Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "granted"}, obj); err != nil {
			t.Fatal(err)
		}
		lock, err := kind.Decode(obj)
		return err == nil && len(lock.Waiters) == 1
	})
	cut.off.Store(true) // As if the waiter had died: it cannot leave the queue.
	cancel()
	if err := <-ended; !errors.Is(err, kubelock.ErrNotAcquired) {
		t.Fatalf("the waiter ended with %v", err)
	}
	t.Cleanup(func() { _ = waiter.Close() }) // Always nil.
	if e := env.Event(t, patience, ns, "granted", "HolderExpired"); !strings.Contains(e.Note, "the-waiter has the lock now") {
		t.Errorf("the event says %q", e.Note)
	}
	held, err := lockOf(t, "granted", kubelock.Config{Namespace: ns, Backend: backend}).Acquire(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	if early := time.Until(dead.Deadline()); early > 0 {
		t.Errorf("granted %v before the deadline", early)
	}
	if held.Value() != "state" || held.Token() <= dead.Token() {
		t.Errorf("granted with the state %q and token %d after %d", held.Value(), held.Token(), dead.Token())
	}
	if err := held.Release(within(t, patience)); err != nil {
		t.Error(err)
	}
}

// checkExpiry checks that the reaper frees the lock of a dead holder if it has no waiters.
func checkExpiry(t *testing.T, ns string, backend kubelock.Backend) {
	t.Helper()
	dies(t, "freed", kubelock.Config{Namespace: ns, Backend: backend, LockDuration: time.Second, Identity: "the-dead"})
	e := env.Event(t, patience, ns, "freed", "HolderExpired")
	if !strings.Contains(e.Note, "the-dead") {
		t.Errorf("the event says %q", e.Note)
	}
	got, err := lockOf(t, "freed", kubelock.Config{Namespace: ns, Backend: backend}).Get(within(t, patience))
	if err != nil || got.Held || got.Holder != "" || got.Value != "state" {
		t.Errorf("freed, the lock is %+v, %v", got, err)
	}
}

// checkCollection checks that the reaper deletes the objects of locks that were unused for their
// objectExpiry, except those that also have data of other programs.
func checkCollection(t *testing.T, ns string, backend kubelock.Backend, kind store.Kind) {
	t.Helper()
	cfg := kubelock.Config{Namespace: ns, Backend: backend, LockDuration: time.Second, ObjectExpiry: time.Second}
	admin := env.Client(t)
	shared := client.ObjectKey{Namespace: ns, Name: "shared"}
	if backend == kubelock.ConfigMaps {
		err := admin.Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: shared.Name, Labels: map[string]string{"kubelock.dev/lock": "true"}},
			Data:       map[string]string{"colour": "blue"},
		})
		if err != nil {
			t.Fatal(err)
		}
		dies(t, shared.Name, cfg)
	}
	dies(t, "collected", cfg)
	env.Event(t, patience, ns, "collected", "ObjectExpired")
	obj := kind.New()
	if err := admin.Get(t.Context(), client.ObjectKey{Namespace: ns, Name: "collected"}, obj); !apierrors.IsNotFound(err) {
		t.Errorf("after its objectExpiry there is %+v, %v", obj, err)
	}
	if backend != kubelock.ConfigMaps {
		return
	}
	env.Event(t, patience, ns, shared.Name, "ObjectExpired")
	left := &corev1.ConfigMap{}
	if err := admin.Get(t.Context(), shared, left); err != nil {
		t.Fatal(err)
	}
	if len(left.Data) != 1 || left.Data["colour"] != "blue" || len(left.Annotations) != 0 {
		t.Errorf("of a ConfigMap with other data is left %+v", left)
	}
}
