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
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// slowReader is a reader whose answers about one lock arrive late: something happens
// meanwhile, once.
type slowReader struct {
	client.Reader

	name      string
	once      sync.Once
	meanwhile func(seen *v1alpha1.DistributedLock)
}

func (r *slowReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	err := r.Reader.Get(ctx, key, obj, opts...)
	if lock, ok := obj.(*v1alpha1.DistributedLock); ok && err == nil && key.Name == r.name {
		r.once.Do(func() { r.meanwhile(lock.DeepCopy()) })
	}
	return err
}

// TestRenewalBeforeTheReapersWrite checks that a renewal wins which is committed after
// the reaper has read the hold and before it writes. The reaper is in a hurry for it:
// its monotonic clock jumps, after which it takes a hold for expired whose holder does
// not.
func TestRenewalBeforeTheReapersWrite(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	var ahead atomic.Int64
	held := acquire(t, newLock(t, "renewed", kubelock.Config{Namespace: ns, LockDuration: time.Minute}))
	read := make(chan *v1alpha1.DistributedLock, 1)
	reader := &slowReader{name: "renewed", meanwhile: func(seen *v1alpha1.DistributedLock) {
		if err := held.Renew(soon(t)); err != nil {
			t.Error(err)
		}
		read <- seen
	}}
	reaper{
		namespaces: []string{ns},
		now:        func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		live:       func(live client.Reader) client.Reader { reader.Reader = live; return reader },
	}.start(t)
	reapAnother(t, ns, "before", history) // It has seen the hold, too.

	ahead.Store(int64(time.Hour))
	change(t, ns, "renewed", func(obj *v1alpha1.DistributedLock) { obj.Annotations = map[string]string{"look": "here"} })
	var seen *v1alpha1.DistributedLock
	select {
	case seen = <-read:
	case <-time.After(patience):
		t.Fatal("the reaper did not take the hold for expired")
	}
	reapAnother(t, ns, "after", history)

	obj := object(t, ns, "renewed")
	if h := obj.Spec.Holder; h == nil || h.LockID != held.ID() || !h.RenewTime.After(seen.Spec.Holder.RenewTime.Time) {
		t.Errorf("the renewed hold was cleared: %+v", obj.Spec)
	}
	release(t, held.Update("mine"))
	for _, v := range history.Of("renewed") {
		if v.Free() {
			t.Errorf("the lock was free in version %s: %+v", v.ResourceVersion, v.Spec.LastRelease)
		}
	}
}

// TestTakeOverBeforeTheReapersWrite checks the same for another client that takes the
// expired hold over meanwhile.
func TestTakeOverBeforeTheReapersWrite(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	other := newLock(t, "contended", kubelock.Config{Namespace: ns, LockDuration: time.Minute})
	taken := make(chan *kubelock.Held[string], 1)
	reader := &slowReader{name: "contended", meanwhile: func(*v1alpha1.DistributedLock) {
		held, err := other.Acquire(soon(t))
		if err != nil {
			t.Error(err)
		}
		taken <- held
	}}
	reaper{
		namespaces: []string{ns},
		live:       func(live client.Reader) client.Reader { reader.Reader = live; return reader },
	}.start(t)
	die(t, ns, "contended", time.Second)
	held := <-taken
	if held == nil {
		t.FailNow()
	}
	if err := held.Update("of the next").Save(soon(t)); err != nil {
		t.Fatal(err)
	}
	reapAnother(t, ns, "after", history)
	if obj := object(t, ns, "contended"); obj.Spec.Holder == nil || obj.Spec.Holder.LockID != held.ID() || *obj.Spec.Value != `"of the next"` {
		t.Errorf("the new hold was cleared: %+v", obj.Spec)
	}
	release(t, held)
}

// TestAcquisitionBeforeTheReapersDeletion checks that an acquisition wins which is
// committed after the reaper has read the unused lock and before it deletes it.
func TestAcquisitionBeforeTheReapersDeletion(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	l := newLock(t, "back", kubelock.Config{Namespace: ns, ObjectExpiry: time.Second, LockDuration: time.Minute})
	release(t, acquire(t, l).Update("precious"))
	uid := object(t, ns, "back").UID
	taken := make(chan *kubelock.Held[string], 1)
	reader := &slowReader{name: "back", meanwhile: func(*v1alpha1.DistributedLock) {
		held, err := l.Acquire(soon(t))
		if err != nil {
			t.Error(err)
		}
		taken <- held
	}}
	reaper{
		namespaces: []string{ns},
		live:       func(live client.Reader) client.Reader { reader.Reader = live; return reader },
	}.start(t)
	held := <-taken
	if held == nil {
		t.FailNow()
	}
	reapAnother(t, ns, "after", history)
	obj := object(t, ns, "back")
	if obj.UID != uid || obj.Spec.Holder == nil || obj.Spec.Holder.LockID != held.ID() || *obj.Spec.Value != `"precious"` {
		t.Errorf("the lock that is used again was deleted, or is not intact: %+v", obj)
	}
	release(t, held)
}
