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

// Package guide runs the commands of the guides that move, back up and restore locks.
package guide

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, func(e *testenv.Env) { env = e }))
}

// patience bounds what must happen but may take long on a loaded machine.
const patience = 3 * time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

var backends = []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps}

func newClient(t *testing.T, e *testenv.Env, namespace string, backend kubelock.Backend) *kubelock.Client {
	t.Helper()
	c, err := kubelock.NewClient(e.Config, kubelock.Config{Namespace: namespace, Backend: backend, Identity: "me"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func acquire(t *testing.T, lock *kubelock.Lock[int], options ...kubelock.Option) *kubelock.Held[int] {
	t.Helper()
	held, err := lock.Acquire(within(t), options...)
	if err != nil {
		t.Fatal(err)
	}
	return held
}

func save(t *testing.T, held *kubelock.Held[int], value int) {
	t.Helper()
	if err := held.Update(value).Save(within(t)); err != nil {
		t.Fatal(err)
	}
}

func release(t *testing.T, held *kubelock.Held[int], value int) {
	t.Helper()
	if err := held.Update(value).Release(within(t)); err != nil {
		t.Fatal(err)
	}
}

// wantState checks the state of a lock.
func wantState(t *testing.T, lock *kubelock.Lock[int], want int) {
	t.Helper()
	if got, err := lock.Get(within(t)); err != nil || got.Value != want {
		t.Errorf("the lock has the state %+v, %v; want %d", got, err, want)
	}
}

// plugin builds the kubectl plugin, and returns its folder.
func plugin(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "kubectl-dlock"), "./cmd/kubectl-dlock")
	build.Dir = env.Root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the plugin: %v\n%s", err, out)
	}
	return dir
}
