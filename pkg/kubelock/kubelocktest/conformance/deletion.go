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

package conformance

import (
	"context"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// lease is longer than any of these tests.
const lease = 10 * time.Minute

const finalizer = "example.com/keeps"

var resources = map[kubelock.Backend]schema.GroupVersionResource{
	kubelock.DistributedLocks: {Group: "kubelock.dev", Version: "v1alpha1", Resource: "distributedlocks"},
	kubelock.Leases:           {Group: "coordination.k8s.io", Version: "v1", Resource: "leases"},
	kubelock.ConfigMaps:       {Version: "v1", Resource: "configmaps"},
}

// objects are the objects that locks are kept in, for an administrator.
func (s *suite) objects() dynamic.ResourceInterface {
	s.Helper()
	c, err := dynamic.NewForConfig(s.env.Config)
	s.must(err)
	return c.Resource(resources[s.env.Backend]).Namespace(s.env.Namespace)
}

func (s *suite) patch(patch string) {
	s.Helper()
	_, err := s.objects().Patch(s.soon(), key, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	s.must(err)
}

// delete deletes the lock's object, which a finalizer keeps.
func (s *suite) delete() {
	s.Helper()
	s.patch(`{"metadata":{"finalizers":["` + finalizer + `"]}}`)
	s.must(s.objects().Delete(s.soon(), key, metav1.DeleteOptions{}))
}

// terminatingIsNotTaken has a lock be deleted, and kept by a finalizer.
func terminatingIsNotTaken(s *suite) {
	before := s.acquire(s.client("before", lease))
	s.release(before.Update("old"))
	s.delete()

	c := s.client("next", lease)
	_, err := kubelock.NewLock[string](c, key).TryAcquire(s.soon())
	s.is(err, kubelock.ErrNotAcquired)
	if !strings.Contains(err.Error(), finalizer) {
		s.Errorf("%q does not name the finalizer", err)
	}
	waiting := make(chan acquired, 1)
	go func() {
		h, err := kubelock.NewLock[string](c, key).Acquire(s.soon())
		waiting <- acquired{"next", h, err}
	}()
	s.patch(`{"metadata":{"finalizers":null}}`)
	held := s.next(waiting).held
	if held.Exists() {
		s.Errorf("the lock has the state %q of the one that was deleted", held.Value())
	}
	s.release(held)
}

// terminatingIsNotWritten has a held lock be deleted, and kept by a finalizer.
func terminatingIsNotWritten(s *suite) {
	before := s.acquire(s.client("before", lease))
	s.release(before.Update("old"))
	c := s.client("holder", lease)
	held := s.acquire(c)
	s.delete()
	s.is(held.Update("new").Save(s.soon()), kubelock.ErrLost)
	s.is(held.Release(s.soon()), kubelock.ErrLost)
	now, err := kubelock.NewLock[string](c, key).Get(s.soon())
	s.must(err)
	if now.Value != "old" {
		s.Errorf("the state is %q, want the old one", now.Value)
	}
	s.patch(`{"metadata":{"finalizers":null}}`)
}

// deleteOutlastsFinalizers checks that Delete returns when the object has gone.
func deleteOutlastsFinalizers(s *suite) {
	c := s.client("owner", lease)
	s.release(s.acquire(c).Update("old"))
	s.patch(`{"metadata":{"finalizers":["` + finalizer + `"]}}`)
	done := make(chan error, 1)
	go func() { done <- kubelock.NewLock[string](c, key).Delete(s.soon()) }()
	s.must(wait.PollUntilContextCancel(s.soon(), 10*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		obj, err := s.objects().Get(ctx, key, metav1.GetOptions{})
		return err == nil && obj.GetDeletionTimestamp() != nil, err
	}))
	select {
	case err := <-done:
		s.Fatalf("Delete returned %v while a finalizer kept the object", err)
	default:
	}
	s.patch(`{"metadata":{"finalizers":null}}`)
	s.must(<-done)
}
