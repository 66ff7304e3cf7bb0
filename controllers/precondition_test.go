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
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// slowReader is a transport that delivers the answer to a read of one lock only after it has
// called meanwhile. It calls it once.
type slowReader struct {
	next http.RoundTripper

	name      string
	once      sync.Once
	meanwhile func(seen *v1alpha1.DistributedLock)
}

func (r *slowReader) wrap(next http.RoundTripper) http.RoundTripper {
	r.next = next
	return r
}

// RoundTrip implements http.RoundTripper.
func (r *slowReader) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err != nil || resp.StatusCode != http.StatusOK || req.Method != http.MethodGet || !strings.HasSuffix(req.URL.Path, "/distributedlocks/"+r.name) {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	seen := &v1alpha1.DistributedLock{}
	if err := json.Unmarshal(body, seen); err != nil {
		return nil, err
	}
	r.once.Do(func() { r.meanwhile(seen) })
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// TestRenewalBeforeTheReapersWrite checks that a renewal wins if it is committed after the
// reaper has read the hold and before the reaper writes. To make the reaper write too early, its
// monotonic clock jumps: the reaper then judges a hold expired that its holder still uses.
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
		wrap:       reader.wrap,
	}.start(t)
	reapAnother(t, ns, "before", history) // The reaper has seen the hold then, too.

	ahead.Store(int64(time.Hour))
	change(t, ns, "renewed", func(obj *v1alpha1.DistributedLock) { obj.Annotations = map[string]string{"look": "here"} })
	var seen *v1alpha1.DistributedLock
	select {
	case seen = <-read:
	case <-time.After(patience):
		t.Fatal("the reaper did not judge the hold expired")
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

// TestTakeOverBeforeTheReapersWrite checks the same for another client that takes over the
// expired lock meanwhile.
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
		wrap:       reader.wrap,
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

// TestAcquisitionBeforeTheReapersDeletion checks that an acquisition wins if it is committed
// after the reaper has read the unused lock and before the reaper deletes it.
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
		wrap:       reader.wrap,
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
