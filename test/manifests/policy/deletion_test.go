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
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
)

// TestFinalizerDoesNotDelete plays the attack that needs no right but that of a user: mark
// a free lock for deletion, keep it by a finalizer until another client holds it, and
// remove the finalizer then, which deletes the object without a deletion.
func TestFinalizerDoesNotDelete(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	const finalizer = "example.com/mine"
	obj := c.lock(t, "orders", time.Time{})
	obj.Finalizers = []string{finalizer}
	thief := c.who["thief"]
	if err := thief.Update(within(t), obj); err != nil {
		t.Fatal(err)
	}
	if err := thief.Delete(within(t), obj); err != nil {
		t.Fatal(err)
	}
	read := func() *v1alpha1.DistributedLock {
		t.Helper()
		now := &v1alpha1.DistributedLock{}
		if err := c.who["admin"].Get(within(t), client.ObjectKeyFromObject(obj), now); err != nil {
			t.Fatal(err)
		}
		return now
	}
	taken := read()
	if taken.DeletionTimestamp == nil {
		t.Fatal("the lock is not marked for deletion")
	}
	begin("holder-0", "holder-2", time.Minute)(taken)
	taken.Spec.Waiters = nil
	refused(t, c.who["holder"].Update(within(t), taken), "spec.holder must not be set, nor spec.lastRelease without one, because the object is being deleted")

	// An older library, where the policies were installed later, has taken it nevertheless.
	if err := c.who["admin"].Update(within(t), taken); err != nil {
		t.Fatal(err)
	}
	pulled := read()
	pulled.Finalizers = nil
	refused(t, thief.Update(within(t), pulled), "metadata.finalizers and metadata.ownerReferences must stay as they are")

	released := read()
	end(v1alpha1.ReasonReleased)(released)
	if err := c.who["holder"].Update(within(t), released); err != nil {
		t.Fatal(err)
	}
	pulled = read()
	pulled.Finalizers = nil
	if err := thief.Update(within(t), pulled); err != nil {
		t.Errorf("the finalizer of a free lock is removed: %v", err)
	}
	if err := c.who["admin"].Get(within(t), client.ObjectKeyFromObject(obj), &v1alpha1.DistributedLock{}); !apierrors.IsNotFound(err) {
		t.Errorf("the lock is there still: %v", err)
	}
}

// TestForegroundDeletion deletes in the foreground, and by collection: a held lock stays, and
// a free one that is kept that way is taken by no other client.
func TestForegroundDeletion(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	bind(t, c.ns, c.ns, "thieves", collector(t), "deletecollection")
	thief := c.who["thief"]
	held := c.lock(t, "held", time.Now())
	for what, option := range map[string]client.DeleteOption{
		"in the foreground": client.PropagationPolicy(metav1.DeletePropagationForeground),
		"with orphans":      client.PropagationPolicy(metav1.DeletePropagationOrphan),
		"at once":           client.GracePeriodSeconds(0),
	} {
		t.Log(what)
		refused(t, thief.Delete(within(t), held, option), "the lock must be free, or held by the client that deletes it: holder-0 holds it")
	}
	refused(t, thief.DeleteAllOf(within(t), &v1alpha1.DistributedLock{}, client.InNamespace(c.ns)), "the lock must be free")

	free := c.lock(t, "free", time.Time{})
	if err := thief.Delete(within(t), free, client.PropagationPolicy(metav1.DeletePropagationForeground)); err != nil {
		t.Fatal(err)
	}
	if err := c.who["admin"].Get(within(t), client.ObjectKeyFromObject(free), free); err != nil {
		t.Fatal(err) // No garbage collector runs here, which would remove the finalizer.
	}
	begin("holder-0", "holder-2", time.Minute)(free)
	free.Spec.Waiters = nil
	refused(t, c.who["holder"].Update(within(t), free), "spec.holder must not be set, nor spec.lastRelease without one, because the object is being deleted")
}

// collector creates a role that may delete all locks of a namespace at once, and returns its name.
func collector(t *testing.T) string {
	t.Helper()
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "collector"},
		Rules: []rbacv1.PolicyRule{{
			APIGroups: []string{v1alpha1.GroupVersion.Group}, Resources: []string{"distributedlocks"}, Verbs: []string{"deletecollection"},
		}},
	}
	if err := env.Client(t).Create(within(t), role); err != nil {
		t.Fatal(err)
	}
	return role.Name
}

// TestRest has a holder release with a minimal time. No other client may end that rest, or change what it has written;
// but the lock may be deleted, as a free one may.
func TestRest(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	obj := c.lock(t, "orders", time.Now())
	other := obj.DeepCopy()
	end(v1alpha1.ReasonReleased)(other)
	begin("waiter-0", "rest-holder-1", time.Minute)(other)
	refused(t, c.who["holder"].Update(within(t), other), "spec.holder must be")

	end(v1alpha1.ReasonReleased)(obj)
	begin("holder-0", "rest-holder-1", time.Minute)(obj)
	save(obj)
	if err := c.who["holder"].Update(within(t), obj); err != nil {
		t.Fatalf("the holder lets its lock rest: %v", err)
	}
	taken := obj.DeepCopy()
	end(v1alpha1.ReasonExpired)(taken)
	begin("thief-0", "thief-9", time.Minute)(taken)
	taken.Spec.Waiters = nil
	refused(t, c.who["thief"].Update(within(t), taken), "spec.holder must stay as it is")
	if err := c.who["thief"].Delete(within(t), obj); err != nil {
		t.Errorf("a lock that rests is deleted: %v", err)
	}
}
