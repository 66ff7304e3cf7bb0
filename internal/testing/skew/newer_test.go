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

package skew

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/cli"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// The fields of a newer version in these tests: one of the lock, three of a hold or of its end, and one
// outside of the spec.
const (
	ofLock    = "spec.team"
	ofHolder  = "spec.holder.zone"
	ofPod     = "spec.holder.pod.node"
	ofRelease = "spec.lastRelease.cause"
	ofStatus  = "status.seen"
)

func installNewer(t testing.TB) {
	t.Helper()
	crd := definition(t)
	properties(t, crd)["status"] = map[string]any{"type": "object", "properties": map[string]any{}}
	newer(t, crd, ofLock, ofHolder, ofPod, ofRelease, ofStatus)
	install(t, crd)
}

// TestNewerSchema checks clients of this version with a CustomResourceDefinition that has fields which they
// do not know. Unknown fields of the lock must stay. Unknown fields of a hold, or of the end of a hold, must
// stay for as long as that part of the lock does.
func TestNewerSchema(t *testing.T) {
	installNewer(t)
	f := fields{env.Namespace(t), kubelock.DistributedLocks}
	t.Setenv("POD_NAMESPACE", f.namespace)
	t.Setenv("POD_NAME", "p")
	t.Setenv("POD_UID", "u")
	a, b := newLock(t, f, "a"), newLock(t, f, "b")

	held := acquire(t, a)
	kept := map[string]string{ofLock: "shop", ofStatus: "yes", ofHolder: "z1", ofPod: "n1", ofRelease: ""}
	for path, value := range kept {
		if value != "" {
			f.set(t, path, value)
		}
	}
	if err := held.Renew(within(t)); err != nil {
		t.Fatal(err)
	}
	f.want(t, "after a renewal", kept)
	if err := held.Update(1).Save(within(t)); err != nil {
		t.Fatal(err)
	}
	f.want(t, "after a save", kept)

	got := queued(t, f, b)
	f.want(t, "with a waiter", kept)
	release(t, held.Update(2))
	held = next(t, got)
	if held.Value() != 2 {
		t.Errorf("the state is %d, want 2", held.Value())
	}
	kept[ofHolder], kept[ofPod] = "", ""
	f.want(t, "after a hand-over", kept)

	f.set(t, ofHolder, "z2")
	f.set(t, ofRelease, "done")
	if err := held.Renew(within(t)); err != nil {
		t.Fatal(err)
	}
	kept[ofHolder], kept[ofRelease] = "z2", "done"
	f.want(t, "after a renewal of the next hold", kept)
	release(t, held)
	kept[ofHolder], kept[ofRelease] = "", ""
	f.want(t, "after a release that leaves the lock free", kept)

	f.set(t, ofRelease, "done")
	kept[ofRelease] = "done"
	held = acquire(t, a) // Its client has an older version in its cache.
	f.want(t, "in a hold of a client that had the lock before", kept)
	release(t, held)
	f.set(t, ofRelease, "done")
	held = acquire(t, newLock(t, f, "c"))
	f.want(t, "in a hold of a new client", kept)
	f.set(t, ofHolder, "z3")
	release(t, held)
	kept[ofRelease] = ""
	f.want(t, "after its release", kept)

	if err := a.Delete(within(t)); err != nil {
		t.Fatal(err)
	}
	release(t, acquire(t, a))
	f.want(t, "in the next object", map[string]string{ofLock: "", ofStatus: ""})
}

// TestNewerSchemaFromAWatch has a client take over a lock that it has seen by its watch only: the holder has
// died while the client waited.
func TestNewerSchemaFromAWatch(t *testing.T) {
	installNewer(t)
	f := fields{env.Namespace(t), kubelock.DistributedLocks}
	acquire(t, newLock(t, f, "dead", func(cfg *kubelock.Config) { cfg.LockDuration = 3 * time.Second }))
	got := queued(t, f, newLock(t, f, "b"))
	f.set(t, ofLock, "shop")
	f.set(t, ofHolder, "z1")
	held := next(t, got)
	f.want(t, "after a take-over", map[string]string{ofLock: "shop", ofHolder: ""})
	release(t, held)
}

// TestNewerSchemaAndTheReaper checks all writes of the reaper except deletions.
func TestNewerSchemaAndTheReaper(t *testing.T) {
	installNewer(t)
	f := fields{env.Namespace(t), kubelock.DistributedLocks}
	history := env.Watch(t, f.namespace)
	dead := newLock(t, f, "dead", func(cfg *kubelock.Config) { cfg.LockDuration = time.Second })
	acquire(t, dead)
	f.set(t, ofLock, "shop")
	f.set(t, ofHolder, "z1")
	reap(t, f.namespace)
	freed := history.Until(patience, "orders", "freed", func(v testenv.Version) bool { return v.Free() && v.Spec.LastRelease != nil })
	f.want(t, "after an expiry", map[string]string{ofLock: "shop", ofHolder: "", ofRelease: ""})

	f.set(t, ofRelease, "done")
	queue := `{"spec": {"waiters": ["w-1 1h w"]}}`
	if err := env.Client(t).Patch(within(t), object(f.namespace, "orders"), client.RawPatch(types.MergePatchType, []byte(queue))); err != nil {
		t.Fatal(err)
	}
	history.Until(patience, "orders", "granted", func(v testenv.Version) bool {
		return !v.Free() && v.ResourceVersion != freed.ResourceVersion && v.Spec.Holder.LockID == "w-1"
	})
	f.want(t, "after a grant", map[string]string{ofLock: "shop", ofHolder: "", ofRelease: "done"})
}

// TestNewerSchemaAndThePlugin sets the state and breaks a hold by the kubectl plugin.
func TestNewerSchemaAndThePlugin(t *testing.T) {
	installNewer(t)
	f := fields{env.Namespace(t), kubelock.DistributedLocks}
	l := newLock(t, f, "a")
	release(t, acquire(t, l))
	f.set(t, ofLock, "shop")
	f.set(t, ofRelease, "done")
	run(t, f.namespace, "set", "orders", "3")
	kept := map[string]string{ofLock: "shop", ofHolder: "", ofRelease: ""}
	f.want(t, "after set", kept)
	held := acquire(t, l)
	f.set(t, ofHolder, "z1")
	if held.Value() != 3 {
		t.Errorf("the state is %d, want 3", held.Value())
	}
	run(t, f.namespace, "break", "orders", "--yes", "--reason", "a test")
	f.want(t, "after break", kept)
	if err := held.Release(within(t)); !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("the release of a broken hold: %v, want %v", err, kubelock.ErrLost)
	}
}

// TestNewerAnnotations has clients of this version use a Lease and a ConfigMap beside a client that records
// more about a hold and about its end.
func TestNewerAnnotations(t *testing.T) {
	const holder, last = "kubelock.dev/holder", "kubelock.dev/last-release"
	for _, backend := range []kubelock.Backend{kubelock.Leases, kubelock.ConfigMaps} {
		t.Run(string(backend), func(t *testing.T) {
			f := fields{env.Namespace(t), backend}
			a, b := newLock(t, f, "a"), newLock(t, f, "b")
			held := acquire(t, a)
			f.renewWith(t, "zone", "z1")
			f.set(t, "metadata.annotations.team", "shop")
			if err := held.Update(1).Save(within(t)); err != nil {
				t.Fatal(err)
			}
			f.wantIn(t, "after a save", holder, "zone", "z1")
			if s, err := b.Get(within(t)); err != nil || s.Value != 1 {
				t.Errorf("after a save the state is %d, %v", s.Value, err)
			}
			if err := held.Renew(within(t)); err != nil {
				t.Fatal(err)
			}
			f.wantIn(t, "after a renewal", holder, "zone", "z1")
			got := queued(t, f, b)
			release(t, held)
			held = next(t, got)
			f.wantIn(t, "after a hand-over", holder, "zone", "")
			f.setIn(t, last, "cause", "done")
			if err := held.Renew(within(t)); err != nil {
				t.Fatal(err)
			}
			f.wantIn(t, "after a renewal of the next hold", last, "cause", "done")
			release(t, held)
			f.wantIn(t, "after a release", last, "cause", "")
			f.setIn(t, last, "cause", "done")
			held = acquire(t, newLock(t, f, "c"))
			f.wantIn(t, "in a hold of a new client", last, "cause", "done")
			f.want(t, "at the end", map[string]string{"metadata.annotations.team": "shop"})
			release(t, held)

			if backend == kubelock.ConfigMaps {
				f.set(t, "data.other", "others'")
				if err := a.Delete(within(t)); err != nil {
					t.Fatal(err)
				}
				f.want(t, "after the deletion of the lock", map[string]string{"data.other": "others'", "metadata.annotations.team": "shop"})
			}
		})
	}
}

// reap runs a reaper until the test ends.
func reap(t *testing.T, namespace string) {
	t.Helper()
	clock := &servertime.Clock{}
	config := rest.CopyConfig(env.Config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return clock.Transport(next, time.Now) })
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{Scheme: scheme, Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	reaper := &controllers.Reaper{Namespaces: []string{namespace}, Events: &events.FakeRecorder{}, ServerTime: clock, MaxClockSkew: time.Second}
	if err := reaper.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // The clean-up below cancels it.
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// run runs the plugin.
func run(t *testing.T, namespace string, args ...string) {
	t.Helper()
	streams, _, out, text := genericiooptions.NewTestIOStreams()
	cmd := cli.New(streams)
	cmd.SetArgs(append([]string{"--kubeconfig", env.Kubeconfig(), "-n", namespace}, args...))
	if err := cmd.ExecuteContext(within(t)); err != nil {
		t.Fatalf("dlock %q: %v; %s%s", args, err, out, text)
	}
}
