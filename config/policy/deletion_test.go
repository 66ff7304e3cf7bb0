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

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
	refused(t, c.who["holder"].Update(within(t), taken), "spec.holder must not be set, because the object is being deleted")

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
