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

package guide

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

const backupPage = "docs/guide/backup-restore.md"

// commands returns the commands of a section that begin with kubectl get, and the others.
func commands(t *testing.T, page, section string) (export, restore []string) {
	t.Helper()
	for _, line := range testenv.Page(t, page, section) {
		if strings.HasPrefix(line, "kubectl get ") {
			export = append(export, line)
		} else {
			restore = append(restore, line)
		}
	}
	return export, restore
}

// TestObjectsAreRestored backs up the objects of all backends by the commands of the page, while the locks are held. It
// restores them where they are missing, where they exist, and where their holder works on.
func TestObjectsAreRestored(t *testing.T) {
	export, restore := commands(t, backupPage, "Objects")
	ns, copied, dir := env.Namespace(t), env.Namespace(t), t.TempDir()
	held := map[kubelock.Backend]*kubelock.Held[int]{}
	for _, backend := range backends {
		held[backend] = acquire(t, kubelock.NewLock[int](newClient(t, env, ns, backend), "orders"), kubelock.WithDuration(5*time.Second))
		save(t, held[backend], 7)
	}
	for _, line := range export {
		testenv.Shell(t, dir, env.Kubeconfig(), inNamespace(line, ns))
	}

	// Where they are missing. Another namespace stands for the cluster in which nothing is left.
	elsewhere := t.TempDir()
	for _, name := range []string{"locks.json", "others.json"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.ReplaceAll(string(text), `"namespace": "`+ns+`"`, `"namespace": "`+copied+`"`))
		if err := os.WriteFile(filepath.Join(elsewhere, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range restore {
		testenv.Shell(t, elsewhere, env.Kubeconfig(), line)
	}
	again := map[kubelock.Backend]*kubelock.Held[int]{}
	for _, backend := range backends {
		lock := kubelock.NewLock[int](newClient(t, env, copied, backend), "orders")
		wantState(t, lock, 7)
		again[backend] = acquire(t, lock, kubelock.WithDuration(time.Hour))
		if again[backend].Value() != 7 || again[backend].Token() <= held[backend].Token() {
			t.Errorf("%s: after the hold with the token %d, a client acquires the restored lock with the token %d and the state %d; want a greater one, and 7",
				backend, held[backend].Token(), again[backend].Token(), again[backend].Value())
		}
	}

	// Where they exist.
	for _, line := range restore {
		if out, err := testenv.TryShell(t, elsewhere, env.Kubeconfig(), line); err == nil || !strings.Contains(out, "AlreadyExists") {
			t.Errorf("%s: %v\n%s\nwant AlreadyExists", line, err, out)
		}
	}
	out, err := testenv.TryShell(t, elsewhere, env.Kubeconfig(), "kubectl patch distributedlock orders -n "+copied+" --type=merge -p '"+specOf(t, filepath.Join(elsewhere, "locks.json"))+"'")
	if err == nil || !strings.Contains(out, "must ") {
		t.Errorf("writing a backup over a later hold: %v\n%s\nwant that the schema refuses it", err, out)
	}
	for _, backend := range backends {
		release(t, again[backend], 8) // The hold is as it was.
	}

	// Where the holder works on.
	for _, backend := range backends {
		held[backend] = acquire(t, kubelock.NewLock[int](newClient(t, env, ns, backend), "orders"), kubelock.WithDuration(time.Hour))
	}
	testenv.Shell(t, dir, env.Kubeconfig(), "kubectl delete distributedlocks,leases,configmaps -n "+ns+" --all")
	for _, line := range restore {
		testenv.Shell(t, dir, env.Kubeconfig(), line)
	}
	for _, backend := range backends {
		if err := held[backend].Update(9).Save(within(t)); !errors.Is(err, kubelock.ErrLost) {
			t.Errorf("%s: the holder of the object that was replaced saves: %v; want ErrLost", backend, err)
		}
	}
}

// inNamespace restricts a command to a namespace: other tests have locks, too.
func inNamespace(line, namespace string) string {
	return strings.Replace(line, "--all-namespaces", "--namespace "+namespace, 1)
}

// specOf returns the spec of the only object in a file, as a merge patch.
func specOf(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Items []struct {
			Spec json.RawMessage `json:"spec"`
		} `json:"items"`
	}
	if err := json.Unmarshal(text, &list); err != nil || len(list.Items) != 1 {
		t.Fatalf("%s has %d objects, %v; want 1", path, len(list.Items), err)
	}
	return `{"spec":` + string(list.Items[0].Spec) + `}`
}

// TestMoveToAnotherCluster moves a lock by the commands of the page to a cluster whose resource versions are smaller.
func TestMoveToAnotherCluster(t *testing.T) {
	export, create := commands(t, "docs/guide/moving.md", "To another cluster")
	other, ns, dir := testenv.Another(t), env.Namespace(t), t.TempDir()
	testenv.Shell(t, dir, other.Kubeconfig(), "kubectl create namespace "+ns)
	before := kubelock.NewLock[int](newClient(t, env, ns, kubelock.DistributedLocks), "orders")
	behind := acquire(t, kubelock.NewLock[int](newClient(t, other, ns, kubelock.DistributedLocks), "versions")).Token()
	held := acquire(t, before)
	for held.Token() <= 2*behind { // The versions are to stay greater than those of the other cluster.
		if err := held.Save(within(t)); err != nil {
			t.Fatal(err)
		}
		if err := held.Release(within(t)); err != nil {
			t.Fatal(err)
		}
		held = acquire(t, before)
	}
	release(t, held, 7)

	for _, line := range export {
		testenv.Shell(t, dir, env.Kubeconfig(), inNamespace(line, ns))
	}
	for _, line := range create {
		testenv.Shell(t, dir, other.Kubeconfig(), line)
	}
	after := kubelock.NewLock[int](newClient(t, other, ns, kubelock.DistributedLocks), "orders")
	last := held.Token()
	for range 3 {
		moved := acquire(t, after)
		if moved.Value() != 7 || moved.Token() <= last {
			t.Errorf("after the token %d, a client acquires the moved lock with the token %d and the state %d; want a greater one, and 7", last, moved.Token(), moved.Value())
		}
		last = moved.Token()
		release(t, moved, 7)
	}
}

// TestMoveToAnotherBackend moves a lock by the commands of the page.
func TestMoveToAnotherBackend(t *testing.T) {
	ns, dir, path := env.Namespace(t), t.TempDir(), plugin(t)
	before := kubelock.NewLock[int](newClient(t, env, ns, kubelock.DistributedLocks), "orders")
	held := acquire(t, before)
	release(t, held, 7)
	for _, line := range testenv.Page(t, "docs/guide/moving.md", "To another backend") {
		testenv.Shell(t, dir, env.Kubeconfig(), "NAMESPACE="+ns+"; "+line, path)
	}
	if _, err := os.Stat(filepath.Join(dir, "orders.json")); err != nil {
		t.Error(err)
	}
	if got, err := before.Get(within(t)); err != nil || got.Exists {
		t.Errorf("the lock that was moved is still %+v, %v", got, err)
	}
	moved := acquire(t, kubelock.NewLock[int](newClient(t, env, ns, kubelock.Leases), "orders"))
	if moved.Value() != 7 || moved.Token() <= held.Token() {
		t.Errorf("after the token %d, a client acquires the moved lock with the token %d and the state %d; want a greater one, and 7", held.Token(), moved.Token(), moved.Value())
	}
	release(t, moved, 7)
}
