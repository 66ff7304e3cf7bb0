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

package cli_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/version"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestList lists locks of each kind, free and held, as people and programs read them.
func TestList(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, Backend: backend, LockDuration: time.Hour, Identity: "me"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		if _, err := kubelock.NewLock[any](c, "held/by "+string(backend)).Acquire(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		free, err := kubelock.NewLock[any](c, "free-"+strings.ToLower(string(backend))).Acquire(within(t, patience))
		if err != nil {
			t.Fatal(err)
		}
		if err := free.Release(within(t, patience)); err != nil {
			t.Fatal(err)
		}
	}

	table := dlock(t, ns, "list")
	table.want(t, 0)
	lines := strings.Split(strings.TrimSpace(table.out), "\n")
	if len(lines) != 7 || strings.Fields(lines[0])[0] != "KEY" {
		t.Fatalf("the table is\n%s", table.out)
	}
	for _, line := range lines[1:] {
		if held := strings.HasPrefix(line, "held/by "); held != strings.Contains(line, "   me   ") {
			t.Errorf("a line is %q", line)
		}
	}

	read := dlock(t, ns, "ls", "-A", "-o", "json")
	read.want(t, 0)
	var list struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Items      []struct {
			Kind      string `json:"kind"`
			Namespace string `json:"namespace"`
			Key       string `json:"key"`
			Holder    *struct {
				Identity   string    `json:"identity"`
				LockID     string    `json:"lockID"`
				ExpireTime time.Time `json:"expireTime"`
			} `json:"holder"`
		} `json:"items"`
	}
	if err := json.Unmarshal([]byte(read.out), &list); err != nil {
		t.Fatal(err)
	}
	if list.APIVersion != "v1" || list.Kind != "List" {
		t.Errorf("it is a %s %s, want a List as kubectl's", list.APIVersion, list.Kind)
	}
	kinds := map[string]int{}
	for _, r := range list.Items {
		if r.Namespace != ns {
			continue // Of other tests.
		}
		kinds[r.Kind]++
		if r.Holder != nil && (r.Holder.Identity != "me" || r.Holder.LockID == "" || time.Until(r.Holder.ExpireTime) > 2*time.Hour || time.Until(r.Holder.ExpireTime) < 30*time.Minute) {
			t.Errorf("the holder of %s is %+v", r.Key, r.Holder)
		}
		if strings.HasPrefix(r.Key, "held/") != (r.Holder != nil) {
			t.Errorf("the holder of %s is %+v", r.Key, r.Holder)
		}
	}
	if len(kinds) != 3 || kinds["Leases"] != 2 {
		t.Errorf("the namespace has %v, want two of each kind", kinds)
	}

	names := dlock(t, ns, "list", "--backend", "leases", "-o", "name")
	names.want(t, 0)
	if lines := strings.Fields(names.out); len(lines) != 2 || !strings.HasPrefix(lines[0], "leases.coordination.k8s.io/free-leases") {
		t.Errorf("the names are %q", names.out)
	}
	if wide := dlock(t, ns, "list", "-o", "wide"); !strings.Contains(wide.out, "LOCK ID") {
		t.Errorf("the wide table is %q", wide.out)
	}
	if other := dlock(t, ns, "list", "-o", "yaml"); !strings.Contains(other.out, "kind: ConfigMaps") {
		t.Errorf("as YAML they are %q", other.out)
	}
	dlock(t, env.Namespace(t), "list").want(t, 0, "No locks found")
	dlock(t, ns, "--as", "nobody", "list").want(t, 69, "no permission to list")
	dlock(t, ns, "list", "-o", "xml").want(t, 64, `--output "xml" is unknown`)
	dlock(t, ns, "list", "extra").want(t, 64, "takes no arguments")
}

// TestListSelects lists by labels, also those that a watch sees come and go.
func TestListSelects(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	keep(t, of(t, ns, kubelock.DistributedLocks, "me"), "shop-orders", "1")
	keep(t, of(t, ns, kubelock.Leases, "me"), "shop-carts", "1")
	keep(t, of(t, ns, kubelock.DistributedLocks, "me"), "other", "1")
	for _, object := range []string{"dlock/shop-orders", "lease/shop-carts"} {
		if out, err := env.Kubectl(t.Context(), "", "label", "-n", ns, object, "team=shop"); err != nil {
			t.Fatalf("%s: %v", out, err)
		}
	}
	r := dlock(t, ns, "list", "-l", "team=shop", "-o", "name")
	r.want(t, 0)
	if r.out != "leases.coordination.k8s.io/shop-carts\ndistributedlocks.kubelock.dev/shop-orders\n" {
		t.Errorf("it lists %q", r.out)
	}
	dlock(t, ns, "list", "-l", "team in (").want(t, 64, "--selector")

	cmd := command(t, ns, "list", "-l", "team=shop", "--watch", "--backend", "DistributedLocks")
	w := &running{Cmd: cmd, output: &output{}}
	w.Stdout, w.Stderr = w.output, w.output
	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	w.until(t, "shop-orders")
	if out, err := env.Kubectl(t.Context(), "", "label", "-n", ns, "dlock/shop-orders", "team-"); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	w.until(t, "<deleted>")
	if strings.Contains(w.output.String(), "other") {
		t.Errorf("it shows a lock without the label: %s", w.output)
	}
	if err := w.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	w.end(t, 0)
}

// TestListTellsKindsApart has one key in two kinds of object.
func TestListTellsKindsApart(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	keep(t, of(t, ns, kubelock.DistributedLocks, "me"), "orders", "1")
	if r := dlock(t, ns, "list"); strings.Contains(r.out, "KIND") {
		t.Errorf("of one kind it lists %q", r.out)
	}
	keep(t, of(t, ns, kubelock.ConfigMaps, "me"), "orders", "1")
	r := dlock(t, ns, "list")
	r.want(t, 0)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	if len(lines) != 3 || !strings.HasSuffix(strings.TrimSpace(lines[0]), "KIND") ||
		!strings.HasSuffix(strings.TrimSpace(lines[1]), "ConfigMaps") || !strings.HasSuffix(strings.TrimSpace(lines[2]), "DistributedLocks") {
		t.Errorf("it lists %s", r.out)
	}
}

// TestKubectlWait waits for the end of a hold without the plugin, as docs/kubectl-dlock.md has it.
func TestKubectlWait(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	id, _ := grasp(t, ns, "k")
	type answer struct {
		out string
		err error
	}
	waited := make(chan answer, 1)
	go func() {
		out, err := env.Kubectl(within(t, patience), "", "wait", "-n", ns, "dlock/k", "--for=jsonpath={.spec.lastRelease.lockID}="+id, "--timeout=1m")
		waited <- answer{out, err}
	}()
	dlock(t, ns, "release", "k", "--lock-id", id).want(t, 0)
	if a := <-waited; a.err != nil {
		t.Errorf("%s: %v", a.out, a.err)
	}
}

// TestVersion tells the version.
func TestVersion(t *testing.T) {
	t.Parallel()
	if r := dlock(t, "default", "--version"); r.code != 0 || !strings.HasPrefix(r.out, "kubectl dlock version "+version.Version+" ") {
		t.Errorf("exit code %d, it prints %q", r.code, r.out)
	}
}

// TestListNamesOddKeys prints names that kubectl takes, of keys that are no names.
func TestListNamesOddKeys(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	keys := []string{"-dash", "a b", "tab\tand\nline", "Ключ/1", `$(x)"'`}
	for _, key := range keys {
		dlock(t, ns, "set", "--", key, "1").want(t, 0)
	}
	names := dlock(t, ns, "list", "-o", "name")
	names.want(t, 0)
	lines := strings.Split(strings.TrimSuffix(names.out, "\n"), "\n")
	if len(lines) != len(keys) {
		t.Fatalf("the names are %q", names.out)
	}
	shown, err := env.Kubectl(t.Context(), "", append([]string{"get", "-n", ns, "-o", "jsonpath={range .items[*]}{.spec.key}{\"\\x00\"}{end}"}, lines...)...)
	if err != nil {
		t.Fatalf("kubectl does not take the names: %v: %s", err, shown)
	}
	for _, key := range keys {
		if !strings.Contains(shown, key) {
			t.Errorf("the lock of the key %q is missing: %q", key, shown)
		}
	}
}
