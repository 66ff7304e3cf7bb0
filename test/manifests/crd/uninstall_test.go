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

package crd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.Main(m, func(e *testenv.Env) { env = e }))
}

// patience bounds what must happen but may take long on a loaded machine.
const patience = time.Minute

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// shell runs a line of a page as an administrator in dir, which has dist and config.
func shell(t *testing.T, dir, line string) string {
	t.Helper()
	return testenv.Shell(t, dir, env.Kubeconfig(), line)
}

// finalizeNamespaces does what a cluster's controller does, which the tests' has not: it lets
// namespaces go that are being deleted.
func finalizeNamespaces(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	namespaces := env.Clientset(t).CoreV1().Namespaces()
	go func() {
		done <- wait.PollUntilContextCancel(ctx, 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			list, err := namespaces.List(ctx, metav1.ListOptions{})
			if err != nil {
				return false, err
			}
			for i := range list.Items {
				if ns := &list.Items[i]; ns.DeletionTimestamp != nil {
					ns.Spec.Finalizers = nil
					if _, err := namespaces.Finalize(ctx, ns, metav1.UpdateOptions{}); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
						return false, err
					}
				}
			}
			return false, nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !wait.Interrupted(err) && ctx.Err() == nil {
			t.Error(err)
		}
	})
}

// TestUninstall runs the commands of the page: first those that keep the locks, while one is
// held, then the others, while a finalizer keeps one.
func TestUninstall(t *testing.T) {
	const file = "docs/guide/uninstall.md"
	finalizeNamespaces(t)
	dir := t.TempDir() // For what the commands write.
	for _, name := range []string{"dist", "config"} {
		if err := os.Symlink(filepath.Join(env.Root, name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	install := func() {
		t.Helper()
		shell(t, dir, "kubectl apply -f dist/crd.yaml -f dist/install.yaml")
		shell(t, dir, "kubectl apply -k config/policy")
		shell(t, dir, "kubectl apply -k config/policy/limits")
	}
	install()
	ns := env.Namespace(t)
	newClient := func() *kubelock.Client {
		t.Helper()
		c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, Identity: "admin"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	lock := kubelock.NewLock[int](newClient(), "orders")
	held, err := lock.Acquire(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Update(7).Save(within(t)); err != nil {
		t.Fatal(err)
	}

	for _, line := range testenv.Page(t, file, "The reaper alone") {
		shell(t, dir, line)
	}
	for _, line := range testenv.Page(t, file, "Everything, and keep the locks") {
		shell(t, dir, line)
	}
	if left := shell(t, dir, "kubectl get all,clusterroles,clusterrolebindings,validatingadmissionpolicies --all-namespaces -o name"); strings.Contains(left, "kubelock") {
		t.Errorf("after the commands that keep the locks there is still:\n%s", left)
	}
	if err := held.Update(8).Release(within(t)); err != nil { // Of an administrator, who has kept the rights.
		t.Errorf("the hold that was there meanwhile is released: %v", err)
	}
	install()
	if state, err := lock.Get(within(t)); err != nil || state.Value != 8 {
		t.Errorf("installed again, the lock has the state %+v, %v; want 8", state, err)
	}

	kept := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "kept", Finalizers: []string{"example.com/mine"}}}
	if err := env.Client(t).Create(within(t), kept); err != nil {
		t.Fatal(err)
	}
	commands := testenv.Page(t, file, "Everything, with the locks")
	if !slices.ContainsFunc(commands, func(line string) bool { return strings.HasPrefix(line, "kubectl delete -f dist/crd.yaml") }) {
		t.Fatalf("the page does not delete the CustomResourceDefinition: %q", commands)
	}
	for _, line := range commands {
		line = strings.NewReplacer(" NAME ", " kept ", " NAMESPACE ", " "+ns+" ").Replace(line)
		out := shell(t, dir, line)
		if strings.Contains(line, "FINALIZERS:") && (!strings.Contains(out, "example.com/mine") || strings.Contains(out, "orders")) {
			t.Errorf("%s shows, where one lock is kept by a finalizer:\n%s", line, out)
		}
	}
	if saved, err := os.ReadFile(filepath.Join(dir, "locks.json")); err != nil || !strings.Contains(string(saved), `"value": "8"`) {
		t.Errorf("the file with the locks is %s, %v", saved, err)
	}
	if crds := shell(t, dir, "kubectl get customresourcedefinitions -o name"); strings.Contains(crds, "kubelock") {
		t.Errorf("in the end there is still:\n%s", crds)
	}
}

// TestUninstallUnderHolds does what the page warns of, under programs that have their lock: one that loses its role with
// dist/install.yaml, and one whose lock goes with the CustomResourceDefinition. Both learn that they have lost it.
func TestUninstallUnderHolds(t *testing.T) {
	finalizeNamespaces(t)
	// Another test may have left the policies, under which a hold is in its account's name.
	shell(t, env.Root, "kubectl delete -k config/policy/limits --ignore-not-found")
	shell(t, env.Root, "kubectl delete -k config/policy --ignore-not-found")
	shell(t, env.Root, "kubectl apply -f dist/crd.yaml -f dist/install.yaml")
	shell(t, env.Root, "kubectl wait --for=condition=Established crd/distributedlocks.kubelock.dev --timeout=60s")
	ns := env.Namespace(t)
	hold := func(config *rest.Config, key string, lease time.Duration) *kubelock.Held[int] {
		t.Helper()
		c, err := kubelock.NewClient(config, kubelock.Config{Namespace: ns, Identity: key, LockDuration: lease})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		var held *kubelock.Held[int]
		err = wait.PollUntilContextCancel(within(t), 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
			held, err = kubelock.NewLock[int](c, key).Acquire(ctx, kubelock.WithAutoRenew())
			if err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
				return false, nil // The API server takes a moment to forget them.
			}
			return true, err
		})
		if err != nil {
			t.Fatal(err)
		}
		return held
	}
	may := authorizationv1.ResourceAttributes{Verb: "create", Group: v1alpha1.GroupVersion.Group, Resource: "distributedlocks"}
	program := hold(env.AccountIn(t, ns, "kubelock-user", may), "program", 5*time.Second)
	admin := hold(env.Config, "admin", time.Hour)

	shell(t, env.Root, "kubectl delete -f dist/install.yaml --ignore-not-found")
	select {
	case <-program.Context().Done():
	case <-within(t).Done():
		t.Fatal("a program without its role still believes in its hold")
	}
	if err := context.Cause(program.Context()); !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("the hold ended with %v, want ErrLost", err)
	}
	if err := admin.Renew(within(t)); err != nil {
		t.Errorf("who has other rights goes on: %v", err)
	}

	shell(t, env.Root, "kubectl delete -f dist/crd.yaml --wait=false")
	err := wait.PollUntilContextCancel(within(t), 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		return admin.Renew(ctx) != nil, nil // The API server takes a moment to delete the locks.
	})
	if err != nil {
		t.Fatalf("a lock that has gone is renewed: %v", err)
	}
	// Which of the two has gone by then is up to the API server.
	if err := admin.Update(1).Release(within(t)); !errors.Is(err, kubelock.ErrLost) && (err == nil || !strings.Contains(err.Error(), "does not know distributedlocks")) {
		t.Errorf("the release of a lock that has gone returned %v, want ErrLost, or that there are no such locks", err)
	}
}

// older returns a folder with dist and config/crd of an older version, whose
// CustomResourceDefinition lacks a field.
func older(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, file := range []string{"dist/crd.yaml", "config/crd/kustomization.yaml", "config/crd/bases/kubelock.dev_distributedlocks.yaml"} {
		text, err := os.ReadFile(filepath.Join(env.Root, file))
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Base(file) != "kustomization.yaml" {
			crd := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(text, &crd.Object); err != nil {
				t.Fatal(err)
			}
			version := crd.Object["spec"].(map[string]any)["versions"].([]any)[0].(map[string]any)
			unstructured.RemoveNestedField(version, "schema", "openAPIV3Schema", "properties", "spec", "properties", "objectExpiry")
			if text, err = yaml.Marshal(crd.Object); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestDefinitionIsUpgraded installs an older CustomResourceDefinition by each of the ways that the
// documents name, and upgrades it by each. A lock that is held goes on.
func TestDefinitionIsUpgraded(t *testing.T) {
	const crd = "customresourcedefinition/distributedlocks.kubelock.dev"
	const field = "kubectl get " + crd + " -o jsonpath={.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.objectExpiry.type}"
	ways := []string{"kubectl apply -f dist/crd.yaml", "kubectl apply -k config/crd", "kubectl apply --server-side -k config/crd"}
	ns, old := env.Namespace(t), older(t)
	for i, from := range ways {
		for j, to := range ways {
			shell(t, env.Root, "kubectl delete "+crd+" --ignore-not-found")
			shell(t, old, from)
			if out := shell(t, old, field); out != "" {
				t.Fatalf("the older schema has the new field: %q", out)
			}
			c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, Identity: "me"})
			if err != nil {
				t.Fatal(err)
			}
			lock := kubelock.NewLock[int](c, fmt.Sprintf("from-%d-to-%d", i, j))
			var held *kubelock.Held[int]
			if err := wait.PollUntilContextCancel(within(t), 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
				held, err = lock.Acquire(ctx) // The first may be refused while locks are not known yet.
				return err == nil, nil
			}); err != nil {
				t.Fatal(err)
			}
			shell(t, env.Root, to)
			if out := shell(t, env.Root, field); out != "string" {
				t.Errorf("installed by %q, upgraded by %q, the schema lacks the new field: %q", from, to, out)
			}
			if err := held.Update(1).Release(within(t)); err != nil {
				t.Errorf("installed by %q, upgraded by %q, a hold of before is released: %v", from, to, err)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
