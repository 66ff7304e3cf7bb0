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
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// calls are the calls that need a lock that can be used.
func calls(t *testing.T, l *kubelock.Lock[string]) map[string]error {
	t.Helper()
	ctx := within(t)
	held, acquire := l.Acquire(ctx)
	if acquire == nil {
		release(t, held)
	}
	held, try := l.TryAcquire(ctx)
	if try == nil {
		release(t, held)
	}
	_, do := l.Do(ctx, func(context.Context, string) (string, error) { return "", nil })
	_, wait := l.Wait(ctx)
	_, get := l.Get(ctx)
	return map[string]error{"Acquire": acquire, "TryAcquire": try, "Do": do, "Wait": wait, "Get": get, "Delete": l.Delete(ctx)}
}

func expectErrors(t *testing.T, errs map[string]error, is error, says ...string) {
	t.Helper()
	for call, err := range errs {
		if err == nil || is != nil && !errors.Is(err, is) {
			t.Errorf("%s: %v, want %v", call, err, is)
			continue
		}
		for _, part := range says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", call, err, part)
			}
		}
	}
}

func TestInvalidKeys(t *testing.T) {
	t.Parallel()
	c := newClient(t, kubelock.Config{Namespace: env.Namespace(t)})
	for name, tc := range map[string]struct{ key, says string }{
		"empty":    {"", "empty"},
		"too long": {strings.Repeat("k", 300), "300 bytes"},
		"not UTF8": {"a\xffb", "UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expectErrors(t, calls(t, kubelock.NewLock[string](c, tc.key)), kubelock.ErrInvalidKey, tc.says)
		})
	}
	expectErrors(t, calls(t, kubelock.NewLock[string](nil, "key")), nil, "NewClient")
}

// TestKeys checks that any other key works, and is kept as it is.
func TestKeys(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	c := newClient(t, kubelock.Config{Namespace: ns})
	keys := []string{"plain", "a.b-c", "UPPER", "upper", "orders/2026:eu", "orders-2026-eu", "-", "über", "a b", "日本語", strings.Repeat("k", 253), strings.Repeat("/", 253), "x\x00y"}
	for _, key := range keys {
		release(t, acquire(t, kubelock.NewLock[string](c, key)).Update(key))
	}
	for _, key := range keys {
		if got, err := kubelock.NewLock[string](c, key).Get(t.Context()); err != nil || got.Value != key {
			t.Errorf("the key %.30q has the state %.30q, %v", key, got.Value, err)
		}
	}
	if out, err := env.Kubectl(t.Context(), "", "get", "dlock", "-n", ns, "plain", "-o", "jsonpath={.spec.key}"); err != nil || out != "" {
		t.Errorf("a key that is the name is stored again: %q, %v", out, err)
	}
}

// TestKeyOfAnotherObject checks that an object that belongs to another key is an
// error and not a shared lock.
func TestKeyOfAnotherObject(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	manifest := "apiVersion: kubelock.dev/v1alpha1\nkind: DistributedLock\nmetadata: {name: taken}\nspec: {key: somebody/else}\n"
	if out, err := env.Kubectl(t.Context(), manifest, "apply", "-n", ns, "-f", "-"); err != nil {
		t.Fatal(out)
	}
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "taken")
	expectErrors(t, calls(t, l), kubelock.ErrInvalidKey, "somebody/else", `"taken"`)
}

// TestKeysOfOneObjectInOneClient checks two keys that map to the same object: the
// second is refused while the first is held and after it was released, and nothing of
// the first is harmed or shown.
func TestKeysOfOneObjectInOneClient(t *testing.T) {
	t.Parallel()
	c := newClient(t, kubelock.Config{Namespace: env.Namespace(t)})
	mapped, literal := kubelock.NewLock[string](c, "orders/2026:eu"), kubelock.NewLock[string](c, "orders-2026-eu-3b77844bb3def2c8")
	held := acquire(t, mapped)
	refused := func(when string) {
		t.Helper()
		if _, err := literal.Acquire(within(t)); !errors.Is(err, kubelock.ErrInvalidKey) {
			t.Errorf("Acquire %s: %v, want ErrInvalidKey", when, err)
		}
		if _, err := literal.TryAcquire(within(t)); !errors.Is(err, kubelock.ErrInvalidKey) {
			t.Errorf("TryAcquire %s: %v, want ErrInvalidKey", when, err)
		}
	}
	refused("of a held lock")
	release(t, held.Update("kept"))
	refused("of a free lock")
	if got, err := mapped.Get(within(t)); err != nil || got.Value != "kept" {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}

func TestDurationsMustBePositive(t *testing.T) {
	t.Parallel()
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: env.Namespace(t)}), "key")
	for _, d := range []time.Duration{0, -time.Second, time.Millisecond} {
		_, err := l.Acquire(t.Context(), kubelock.WithDuration(d))
		_, tryErr := l.TryAcquire(t.Context(), kubelock.WithDuration(d))
		expectErrors(t, map[string]error{"Acquire": err, "TryAcquire": tryErr}, nil, "WithDuration", d.String())
	}
	if got, err := l.Get(t.Context()); err != nil || got.Token != 0 {
		t.Errorf("a wrong duration touched the lock: %+v, %v", got, err)
	}
}

func TestValueLimits(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: env.Namespace(t)}), "value")
	held := acquire(t, l)
	rec.taken()
	for name, value := range map[string]string{
		"over 1 MiB":               strings.Repeat("x", 1<<20),
		"under 1 MiB, but escaped": strings.Repeat("<", 1<<19),
		"quotes":                   strings.Repeat(`"`, 500<<10),
	} {
		if err := held.Update(value).Save(t.Context()); !errors.Is(err, kubelock.ErrValueTooLarge) {
			t.Errorf("%s: Save gives %v, want ErrValueTooLarge", name, err)
		}
	}
	if got := rec.taken(); got != "" {
		t.Errorf("values over the limit sent %q", got)
	}
	largest := strings.Repeat("x", 1<<20-2) // Two for the quotes.
	if err := held.Update(largest).Save(within(t)); err != nil {
		t.Errorf("the largest value: %v", err)
	}
	escaped := strings.Repeat("<", 250<<10)
	if err := held.Update(escaped).Save(within(t)); err != nil {
		t.Errorf("a value that fits when escaped: %v", err)
	}
	if got, err := l.Get(t.Context()); err != nil || got.Value != escaped {
		t.Errorf("it reads back as %d bytes, %v", len(got.Value), err)
	}
	if err := held.Update(strings.Repeat("x", 1<<20)).Release(t.Context()); !errors.Is(err, kubelock.ErrValueTooLarge) {
		t.Errorf("Release gives %v, want ErrValueTooLarge", err)
	}
	if got, err := l.Get(t.Context()); err != nil || got.Held || got.Value != escaped {
		t.Errorf("after a release with a bad value: held %v, %d bytes, %v; want a free lock with the last good state", got.Held, len(got.Value), err)
	}
}

// TestStateOfAnotherType checks that a lock whose state cannot be read is not taken.
func TestStateOfAnotherType(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	release(t, acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "typed")).Update("text"))
	l := kubelock.NewLock[counter](newClient(t, kubelock.Config{Namespace: ns}), "typed")
	for call, err := range calls(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "other")) {
		if err != nil {
			t.Errorf("%s of another key: %v", call, err)
		}
	}
	_, acquireErr := l.Acquire(t.Context())
	_, getErr := l.Get(t.Context())
	_, waitErr := l.Wait(t.Context())
	expectErrors(t, map[string]error{"Acquire": acquireErr, "Get": getErr, "Wait": waitErr}, nil, "typed", "counter")
	if got, err := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "typed").Get(t.Context()); err != nil || got.Held {
		t.Errorf("the lock was taken: %+v, %v", got, err)
	}
}

func TestNamespaceMissing(t *testing.T) {
	t.Parallel()
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: "nowhere"}), "key")
	_, acquireErr := l.Acquire(within(t))
	_, tryErr := l.TryAcquire(within(t))
	expectErrors(t, map[string]error{"Acquire": acquireErr, "TryAcquire": tryErr}, nil, `namespace "nowhere" does not exist`, "kubectl create namespace nowhere")
	if errors.Is(tryErr, kubelock.ErrNotAcquired) {
		t.Error("a missing namespace looks like a held lock")
	}
}

// TestCRDMissing is not parallel: it takes the CRD away from every other test.
func TestCRDMissing(t *testing.T) {
	env.NeedsControlPlane(t)
	if out, err := env.Kubectl(t.Context(), "", "delete", "-k", "config/crd", "--wait"); err != nil {
		t.Fatal(out)
	}
	t.Cleanup(func() {
		for _, args := range [][]string{
			{"apply", "-k", "config/crd"},
			{"wait", "--for=condition=Established", "crd/distributedlocks.kubelock.dev", "--timeout=30s"},
		} {
			if out, err := env.Kubectl(context.WithoutCancel(t.Context()), "", args...); err != nil {
				t.Fatal(out)
			}
		}
	})
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: "default"}), "key")
	expectErrors(t, calls(t, l), nil, "CustomResourceDefinition", "kubectl apply -k config/crd")
	if errors.Is(calls(t, l)["TryAcquire"], kubelock.ErrNotAcquired) {
		t.Error("a missing CRD looks like a held lock")
	}
}

// TestPermissions checks what is said to a program that may not do what it must, and
// that the role that is named suffices.
func TestPermissions(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	cs := env.Clientset(t)
	account := func(name string, verbs ...string) *kubelock.Client {
		t.Helper()
		ctx := t.Context()
		if _, err := cs.CoreV1().ServiceAccounts(ns).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if len(verbs) > 0 {
			role.Rules = []rbacv1.PolicyRule{{APIGroups: []string{"kubelock.dev"}, Resources: []string{"distributedlocks"}, Verbs: verbs}}
		}
		binding := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
			Subjects:   []rbacv1.Subject{{Kind: "ServiceAccount", Name: name, Namespace: ns}},
		}
		if _, err := cs.RbacV1().Roles(ns).Create(ctx, role, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := cs.RbacV1().RoleBindings(ns).Create(ctx, binding, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		return newClientFor(t, env.ServiceAccount(t, ns, name), kubelock.Config{Namespace: ns})
	}

	none := kubelock.NewLock[string](account("nothing"), "key")
	expectErrors(t, calls(t, none), nil, "no permission to get distributedlocks.kubelock.dev", ns, "ClusterRole kubelock-user")

	reader := kubelock.NewLock[string](account("reader", "get"), "key")
	_, err := reader.Acquire(within(t))
	expectErrors(t, map[string]error{"Acquire": err}, nil, "no permission to create distributedlocks.kubelock.dev")

	release(t, acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "key")))
	_, err = reader.TryAcquire(within(t))
	expectErrors(t, map[string]error{"TryAcquire": err}, nil, "no permission to update distributedlocks.kubelock.dev")
	expectErrors(t, map[string]error{"Delete": reader.Delete(within(t))}, nil, "no permission to delete distributedlocks.kubelock.dev")

	held := acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "key"))
	_, err = reader.Acquire(within(t))
	expectErrors(t, map[string]error{"Acquire": err}, nil, "no permission to patch distributedlocks.kubelock.dev")
	_, err = kubelock.NewLock[string](account("patcher", "get", "patch"), "key").Acquire(within(t))
	expectErrors(t, map[string]error{"Acquire": err}, nil, "no permission to list and watch distributedlocks.kubelock.dev")
	_, err = reader.Wait(within(t))
	expectErrors(t, map[string]error{"Wait": err}, nil, "no permission to list and watch distributedlocks.kubelock.dev")
	release(t, held)

	// The role that the errors name, as it ships.
	manifest, err := os.ReadFile(env.Root + "/config/components/distributedlocks/user_role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := env.Kubectl(t.Context(), string(manifest), "apply", "-f", "-"); err != nil {
		t.Fatal(out)
	}
	c := account("user")
	if out, err := env.Kubectl(t.Context(), "", "create", "rolebinding", "shipped", "-n", ns, "--clusterrole=kubelock-user", "--serviceaccount="+ns+":user"); err != nil {
		t.Fatal(out)
	}
	l := kubelock.NewLock[string](c, "key")
	held = acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "key"), kubelock.WithDuration(time.Second))
	next := acquire(t, l) // Waits: needs the watch, too.
	if err := next.Save(t.Context()); err != nil {
		t.Errorf("Save: %v", err)
	}
	release(t, next)
	for call, err := range calls(t, l) {
		if err != nil {
			t.Errorf("with the shipped role %s gives %v", call, err)
		}
	}
	_ = held.Release(t.Context())
}
