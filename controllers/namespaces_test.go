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

package controllers_test

import (
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// TestEveryNamespace checks the reaper of the manifests, which works in all namespaces. It runs
// alone, since its reaper would change the locks of other tests.
func TestEveryNamespace(t *testing.T) {
	first, second := env.Namespace(t), env.Namespace(t)
	histories := map[string]*testenv.History{first: env.Watch(t, first), second: env.Watch(t, second)}
	die(t, first, "orders", time.Second)
	die(t, second, "orders", time.Second) // The same name: another lock.
	reaper{}.start(t)
	for ns, history := range histories {
		history.Until(patience, "orders", "freed", expired)
		env.Event(t, patience, ns, "orders", "HolderExpired")
	}
}

// TestOtherNamespacesAreLeftAlone checks that a reaper for some namespaces works in all of these,
// and in no other.
func TestOtherNamespacesAreLeftAlone(t *testing.T) {
	t.Parallel()
	first, second, other := env.Namespace(t), env.Namespace(t), env.Namespace(t)
	reaper{namespaces: []string{first, second}}.start(t)
	die(t, other, "orders", time.Second)
	create(t, other, "unused", v1alpha1.DistributedLockSpec{ObjectExpiry: &v1alpha1.Duration{Duration: time.Second}})
	for _, ns := range []string{first, second} {
		history := env.Watch(t, ns)
		create(t, ns, "unused", v1alpha1.DistributedLockSpec{ObjectExpiry: &v1alpha1.Duration{Duration: time.Second}})
		die(t, ns, "orders", time.Second)
		history.Until(patience, "orders", "freed", expired)
		history.Until(patience, "unused", "deleted", deleted)
	}
	if object(t, other, "orders").Spec.Holder == nil {
		t.Error("a lock of another namespace was freed")
	}
	object(t, other, "unused")
}

// TestRoleBindingSuffices checks that a reaper for one namespace needs no permission in the whole
// cluster: a RoleBinding of the ClusterRole in that namespace is enough.
func TestRoleBindingSuffices(t *testing.T) {
	t.Parallel()
	if deployed != nil {
		t.Fatal(deployed)
	}
	ns, other := env.Namespace(t), env.Namespace(t)
	config := env.AccountIn(t, ns, "kubelock-reaper-distributedlocks",
		authorizationv1.ResourceAttributes{Verb: "update", Group: v1alpha1.GroupVersion.Group, Resource: "distributedlocks"})
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}, config: config}.start(t)
	create(t, ns, "unused", v1alpha1.DistributedLockSpec{ObjectExpiry: &v1alpha1.Duration{Duration: time.Second}})
	reapAnother(t, ns, "orders", history)
	history.Until(patience, "unused", "deleted", deleted)
	env.Event(t, patience, ns, "orders", "HolderExpired")
	env.Event(t, patience, ns, "unused", "ObjectExpired")

	confined, err := client.New(config, client.Options{Scheme: env.Client(t).Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	for _, elsewhere := range []string{other, ""} {
		err := confined.List(soon(t), &v1alpha1.DistributedLockList{}, client.InNamespace(elsewhere))
		if !apierrors.IsForbidden(err) {
			t.Errorf("listing the locks of %q gives %v, want that it is forbidden", elsewhere, err)
		}
	}
}
