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

package policy_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// program returns the client of a program with that configuration.
func program(t testing.TB, config *rest.Config, cfg kubelock.Config) *kubelock.Client {
	t.Helper()
	c, err := kubelock.NewClient(config, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func orders(t *testing.T, ns string) *v1alpha1.DistributedLock {
	t.Helper()
	obj := &v1alpha1.DistributedLock{}
	if err := env.Client(t).Get(within(t), client.ObjectKey{Namespace: ns, Name: "orders"}, obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

// inPod sets what the sample's Deployment tells its containers.
func inPod(t *testing.T, p *corev1.Pod) {
	t.Helper()
	t.Setenv("POD_NAME", p.Name)
	t.Setenv("POD_UID", string(p.UID))
	t.Setenv("POD_NAMESPACE", p.Namespace)
}

// TestProgramsNeedNoConfiguration runs programs as config/samples describes them, without
// any configuration for the policies: the lock notes their Pods.
func TestProgramsNeedNoConfiguration(t *testing.T) {
	ns := namespace(t, "programs", "others")
	mine, myPod := pod(t, ns, "programs", "mine-0")
	other, otherPod := pod(t, ns, "others", "other-0")

	inPod(t, myPod)
	l := kubelock.NewLock[int](program(t, mine, kubelock.Config{}), "orders")
	held, err := l.Acquire(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if h := orders(t, ns).Spec.Holder; h.Identity != "mine-0" || h.Pod == nil || h.Pod.Name != "mine-0" || h.Pod.UID != myPod.UID {
		t.Errorf("the holder is %+v", h)
	}
	inPod(t, otherPod)
	theirs := kubelock.NewLock[int](program(t, other, kubelock.Config{}), "orders")
	got := make(chan error, 1)
	go func() {
		_, err := theirs.Do(within(t), func(_ context.Context, n int) (int, error) { return n + 1, nil })
		got <- err
	}()
	if err := held.Update(1).Save(within(t)); err != nil {
		t.Error(err)
	}
	if err := held.Renew(within(t)); err != nil {
		t.Error(err)
	}
	if err := held.Update(2).Release(within(t)); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	if v := orders(t, ns).Spec.Value; v == nil || *v != "3" {
		t.Errorf("the state is %v, want 3", v)
	}

	// A program that is told another Pod's name is told what to do.
	inPod(t, otherPod)
	_, err = kubelock.NewLock[int](program(t, mine, kubelock.Config{}), "orders").TryAcquire(within(t))
	if err == nil || !strings.Contains(err.Error(), "or the environment variable POD_NAME, to "+testenv.AccountUser(ns, "programs")+" or mine-0") {
		t.Errorf("as another Pod: %v", err)
	}
	// Outside of a Pod it is the account's name.
	t.Setenv("POD_NAME", "")
	t.Setenv("POD_NAMESPACE", "")
	account := testenv.AccountUser(ns, "programs")
	outside := program(t, env.ServiceAccount(t, ns, "programs"), kubelock.Config{Namespace: ns, Identity: account})
	if n, err := kubelock.NewLock[int](outside, "orders").Do(within(t), func(_ context.Context, n int) (int, error) { return n + 1, nil }); err != nil || n != 4 {
		t.Errorf("outside of a Pod: %v, %v", n, err)
	}
}

// TestStolenLockID checks that a client does not take a hold for its own that somebody has
// let begin with the lock ID that it is going to use.
func TestStolenLockID(t *testing.T) {
	t.Parallel()
	ns := namespace(t, "programs", "thieves")
	config, _ := pod(t, ns, "programs", "victim-0")
	thiefConfig, _ := pod(t, ns, "thieves", "thief-0")
	l := kubelock.NewLock[int](program(t, config, kubelock.Config{Namespace: ns, Identity: "victim-0"}), "orders")
	held, err := l.Acquire(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := held.Release(within(t)); err != nil {
		t.Fatal(err)
	}
	next := strings.TrimSuffix(held.ID(), "1") + "2"
	if next == held.ID() {
		t.Fatalf("the next lock ID cannot be guessed from %s", held.ID())
	}

	thief := clientOf(t, thiefConfig)
	obj := orders(t, ns)
	begin("thief-0", "thief-1", time.Minute)(obj)
	obj.Spec.Waiters = []string{next + " 2s thief-0"}
	if err := thief.Update(within(t), obj); err != nil {
		t.Fatal(err)
	}
	history := env.Watch(t, ns)
	got := make(chan error, 1)
	go func() {
		held, err := l.Acquire(within(t))
		if err == nil {
			err = held.Release(within(t))
		}
		got <- err
	}()
	history.Until(patience, "orders", "held", func(v testenv.Version) bool { return !v.Free() })
	err = retry.RetryOnConflict(retry.DefaultRetry, func() error { // The victim may have written meanwhile.
		obj := orders(t, ns)
		end(v1alpha1.ReasonHandedOff)(obj)
		begin("thief-0", next, 2*time.Second)(obj)
		obj.Spec.Waiters = []string{}
		return thief.Update(within(t), obj)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	history.Until(patience, "orders", "released by the victim", func(v testenv.Version) bool {
		return v.Free() && v.Spec.LastRelease.Identity == "victim-0" && v.Spec.LastRelease.Reason == v1alpha1.ReasonReleased && v.Spec.Transitions == 4
	})
}

// TestDeleteOfADeadHold checks that the library deletes what a dead program held.
func TestDeleteOfADeadHold(t *testing.T) {
	t.Parallel()
	ns := namespace(t, "programs")
	dies, _ := pod(t, ns, "programs", "dies-0")
	lives, _ := pod(t, ns, "programs", "lives-0")
	_, err := kubelock.NewLock[int](program(t, dies, kubelock.Config{Namespace: ns, Identity: "dies-0", LockDuration: time.Second}), "orders").Acquire(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := kubelock.NewLock[int](program(t, lives, kubelock.Config{Namespace: ns, Identity: "lives-0"}), "orders").Delete(within(t)); err != nil {
		t.Fatal(err)
	}
	err = env.Client(t).Get(within(t), client.ObjectKey{Namespace: ns, Name: "orders"}, &v1alpha1.DistributedLock{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("the object is still there: %v", err)
	}
}

// reap runs the reaper of the manifests in a namespace until the test ends.
func reap(t *testing.T, ns string) {
	t.Helper()
	clock := &servertime.Clock{}
	config := env.ServiceAccount(t, testenv.ReaperNamespace, testenv.ReaperAccount)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return clock.Transport(next, time.Now) })
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  scheme(),
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	reaper := &controllers.Reaper{
		Namespaces: []string{ns}, Events: mgr.GetEventRecorder("kubelock-reaper"), ServerTime: clock, MaxClockSkew: time.Second,
	}
	if err := reaper.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // It ends in the clean-up below.
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestReaper has the reaper, whom no rule excepts, do all that it does.
func TestReaper(t *testing.T) {
	t.Parallel()
	ns := namespace(t, "programs")
	reap(t, ns)
	history := env.Watch(t, ns)
	dies, _ := pod(t, ns, "programs", "dies-0")
	waits, _ := pod(t, ns, "programs", "waits-0")
	lock := kubelock.NewLock[int](program(t, dies, kubelock.Config{
		Namespace: ns, Identity: "dies-0", LockDuration: 2 * time.Second, ObjectExpiry: time.Second,
	}), "orders")
	if _, err := lock.Acquire(within(t)); err != nil {
		t.Fatal(err)
	}
	obj := orders(t, ns)
	obj.Spec.Waiters = []string{"waits-1 1s waits-0"}
	if err := clientOf(t, waits).Update(within(t), obj); err != nil {
		t.Fatal(err)
	}
	byReaper := func(v testenv.Version) bool {
		return slices.ContainsFunc(v.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
			return m.Manager == controllers.FieldManager && strings.Contains(m.FieldsV1.GetRawString(), `"f:lastRelease"`)
		})
	}
	granted := history.Until(patience, "orders", "granted", func(v testenv.Version) bool {
		return !v.Free() && v.Spec.Holder.LockID == "waits-1"
	})
	freed := history.Until(patience, "orders", "freed", func(v testenv.Version) bool {
		return v.Free() && v.Spec.LastRelease != nil && v.Spec.LastRelease.LockID == "waits-1"
	})
	if !byReaper(granted) || !byReaper(freed) {
		t.Error("it was not the reaper who ended the dead holds")
	}
	history.Until(patience, "orders", "collected", func(v testenv.Version) bool { return v.Deleted })

	// A lock that was freed by hand, and queues that no client wrote.
	admin := env.Client(t)
	for name, waiters := range map[string][]string{"freed": {"waits-3 1s waits-0"}, "unreadable": {"a", "b"}} {
		obj := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Spec: v1alpha1.DistributedLockSpec{Waiters: waiters}}
		if err := admin.Create(within(t), obj); err != nil {
			t.Fatal(err)
		}
	}
	history.Until(patience, "freed", "granted", func(v testenv.Version) bool { return !v.Free() && v.Spec.Holder.LockID == "waits-3" })
	history.Until(patience, "unreadable", "emptied", func(v testenv.Version) bool { return len(v.Spec.Waiters) == 0 })
}

// TestForce checks that the role for repairs, which needs no administrator, may do what
// others may not.
func TestForce(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	bind(t, c.ns, c.ns, "repairers", "kubelock-force", "force")
	repairer := clientOf(t, env.ServiceAccount(t, c.ns, "repairers"))
	obj := c.lock(t, "orders", time.Now())
	save(obj)
	end(v1alpha1.ReasonForced)(obj)
	if err := repairer.Update(within(t), obj); err != nil {
		t.Error(err)
	}
	held := c.lock(t, "held", time.Now())
	if err := repairer.Delete(within(t), held); err != nil {
		t.Error(err)
	}
	allowed, err := env.Allowed(within(t), testenv.AccountUser(c.ns, "owners"), authorizationv1.SubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: c.ns, Verb: "force", Group: "kubelock.dev", Resource: "distributedlocks"},
	})
	if err != nil || allowed {
		t.Errorf("the role of programs has the verb force: %v, %v", allowed, err)
	}
}

// TestDeletionOfManyIsNoWayAround deletes a collection that a held lock is in.
func TestDeletionOfManyIsNoWayAround(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	admin := c.who["admin"]
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "collections-" + c.ns},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"kubelock.dev"}, Resources: []string{"distributedlocks"}, Verbs: []string{"deletecollection"}}},
	}
	if err := admin.Create(within(t), role); err != nil {
		t.Fatal(err)
	}
	bind(t, c.ns, c.ns, "thieves", role.Name, "deletecollection")
	c.lock(t, "held", time.Now())
	err := c.who["thief"].DeleteAllOf(within(t), &v1alpha1.DistributedLock{}, client.InNamespace(c.ns))
	refused(t, err, "the lock must be free, or held by the client that deletes it: holder-0 holds it")
}

// TestNamespacesCanGo checks that a held lock does not keep its namespace from being
// deleted: the controller that empties it is somebody without the verb force.
func TestNamespacesCanGo(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	obj := c.lock(t, "held", time.Now())
	if err := c.who["admin"].Delete(within(t), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: c.ns}}); err != nil {
		t.Fatal(err)
	}
	// Policies learn of the namespace's end by a watch of the API server's own.
	err := wait.PollUntilContextCancel(within(t), 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := c.who["reaper"].Delete(ctx, obj)
		return err == nil, client.IgnoreNotFound(ignoreForbidden(err))
	})
	if err != nil {
		t.Error(err)
	}
}

func ignoreForbidden(err error) error {
	if apierrors.IsForbidden(err) {
		return nil
	}
	return err
}
