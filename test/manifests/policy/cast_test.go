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
	"fmt"
	"strconv"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// cast are those who write in these tests. The lock is held by the Pod holder-0, and
// waiter-0 and thief-0 queue.
type cast struct {
	ns  string
	who map[string]client.Client
	pod *v1alpha1.PodReference // of the holder
}

func newCast(t *testing.T) *cast {
	t.Helper()
	ns := namespace(t, "owners", "thieves")
	elsewhere := env.Namespace(t)
	admit(t, ns, elsewhere, "owners")
	holderConfig, holderPod := pod(t, ns, "owners", "holder-0")
	sibling, _ := pod(t, ns, "owners", "sibling-0")
	waiter, _ := pod(t, ns, "owners", "waiter-0")
	thief, _ := pod(t, ns, "thieves", "thief-0")
	namesake, _ := pod(t, elsewhere, "owners", "holder-0")
	c := &cast{ns: ns, who: map[string]client.Client{}, pod: &v1alpha1.PodReference{Name: holderPod.Name, UID: holderPod.UID}}
	for who, config := range map[string]*rest.Config{
		"admin": env.Config, "holder": holderConfig, "sibling": sibling, "waiter": waiter, "thief": thief,
		"namesake": namesake, // A Pod of the holder's name and account, in another namespace.
		"unbound":  env.ServiceAccount(t, ns, "owners"),
		"reaper":   env.ServiceAccount(t, testenv.ReaperNamespace, testenv.ReaperAccount),
	} {
		c.who[who] = clientOf(t, config)
	}
	user := rest.CopyConfig(env.Config) // Of a client certificate, say, with the name of a Pod.
	user.Impersonate = rest.ImpersonationConfig{UserName: "holder-0"}
	c.who["user"] = clientOf(t, user)
	if err := env.Client(t).Create(within(t), &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "user"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubelock-user"},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "holder-0"}},
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

const (
	waitersEntry = "waiter-1 30s waiter-0"
	thiefsEntry  = "thief-1 30s thief-0"
)

// lock creates a lock as an administrator, held since renewed if that is not zero.
func (c *cast) lock(t *testing.T, name string, renewed time.Time) *v1alpha1.DistributedLock {
	t.Helper()
	past := metav1.NewMicroTime(time.Now().Add(-time.Hour))
	obj := &v1alpha1.DistributedLock{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: name},
		Spec: v1alpha1.DistributedLockSpec{
			Value:       new(`{"n":1}`),
			Waiters:     []string{waitersEntry, thiefsEntry},
			Transitions: 7,
			LastRelease: &v1alpha1.LastRelease{
				LockID: "former-1", Identity: "former-0", Token: 3, Time: past,
				TimeSource: v1alpha1.TimeSourceServer, Reason: v1alpha1.ReasonReleased,
			},
		},
	}
	if !renewed.IsZero() {
		h := holder("holder-0", "holder-1", 30*time.Second)
		h.Pod, h.Token = c.pod, 5
		h.AcquireTime, h.RenewTime = past, metav1.NewMicroTime(renewed)
		obj.Spec.Holder = h
		obj.Labels = map[string]string{v1alpha1.HolderLabel: h.Client}
	}
	if err := c.who["admin"].Create(within(t), obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

// end ends the hold as a release, or as an expiry, does.
func end(reason v1alpha1.ReleaseReason) func(*v1alpha1.DistributedLock) {
	return func(obj *v1alpha1.DistributedLock) {
		h := obj.Spec.Holder
		obj.Spec.LastRelease = &v1alpha1.LastRelease{
			LockID: h.LockID, Identity: h.Identity, Token: h.Token, Time: metav1.NowMicro(),
			TimeSource: v1alpha1.TimeSourceServer, Reason: reason,
		}
		obj.Spec.Holder = nil
		delete(obj.Labels, v1alpha1.HolderLabel)
	}
}

// begin begins a hold in a lock that is free, with the next token.
func begin(identity, lockID string, d time.Duration) func(*v1alpha1.DistributedLock) {
	return func(obj *v1alpha1.DistributedLock) {
		h := holder(identity, lockID, d)
		if version, err := strconv.ParseInt(obj.ResourceVersion, 10, 64); err == nil {
			h.Token = version + 1
		}
		obj.Spec.Holder = h
		obj.Spec.Transitions++
		obj.Labels = map[string]string{v1alpha1.HolderLabel: h.Client}
	}
}

// grant gives a lock that is free to the first waiter.
func grant(obj *v1alpha1.DistributedLock) {
	begin("waiter-0", "waiter-1", 5*time.Second)(obj)
	obj.Spec.Waiters = obj.Spec.Waiters[1:]
}

func renew(obj *v1alpha1.DistributedLock) {
	obj.Spec.Holder.RenewTime = metav1.NewMicroTime(obj.Spec.Holder.RenewTime.Add(time.Second))
}

func save(obj *v1alpha1.DistributedLock) { obj.Spec.Value = new(`{"n":2}`) }

func queue(entries ...string) func(*v1alpha1.DistributedLock) {
	return func(obj *v1alpha1.DistributedLock) { obj.Spec.Waiters = entries }
}

type change = func(*v1alpha1.DistributedLock)

// forge claims that another account wrote the holder and how the last hold ended a year from
// now, under as many names as given.
func forge(names ...string) change {
	return func(obj *v1alpha1.DistributedLock) {
		obj.ManagedFields = nil
		for _, name := range names {
			obj.ManagedFields = append(obj.ManagedFields, metav1.ManagedFieldsEntry{
				Manager: name, Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: v1alpha1.GroupVersion.String(),
				Time: new(metav1.NewTime(time.Now().AddDate(1, 0, 0))), FieldsType: "FieldsV1",
				FieldsV1: metav1.NewFieldsV1(`{"f:spec":{"f:holder":{},"f:lastRelease":{},"f:value":{}}}`),
			})
		}
	}
}

// many are more names than the API server keeps apart, and the one that it merges them
// under.
func many() []string {
	names := make([]string, 13)
	for i := range names {
		names[i] = fmt.Sprintf("zz-%d", i)
	}
	names[0] = "ancient-changes"
	return names
}

const (
	live = iota
	dead // Its lease is over.
	free
	full   // The thief has all places in the queue that one identity may have. The lease is over.
	absent // There is no object yet.
)

// state returns a lock in a state that some test begins with.
func (c *cast) state(t *testing.T, name string, state int) *v1alpha1.DistributedLock {
	t.Helper()
	switch state {
	case live:
		return c.lock(t, name, time.Now())
	case dead:
		return c.lock(t, name, time.Now().Add(-time.Minute))
	case free:
		return c.lock(t, name, time.Time{})
	case full:
		obj := c.lock(t, name, time.Now().Add(-time.Minute))
		obj.Spec.Waiters = nil
		for i := range 32 {
			obj.Spec.Waiters = append(obj.Spec.Waiters, fmt.Sprintf("thief-%d 30s thief-0", i))
		}
		if err := c.who["admin"].Update(within(t), obj); err != nil {
			t.Fatal(err)
		}
		return obj
	}
	return &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: name}}
}

// queueAgain adds entries of the thief until there are 33.
func queueAgain(obj *v1alpha1.DistributedLock) {
	obj.Spec.Waiters = append(obj.Spec.Waiters, "thief-again 30s thief-0")
}

func addLabels(n int) change {
	return func(obj *v1alpha1.DistributedLock) {
		if obj.Labels == nil {
			obj.Labels = map[string]string{}
		}
		for i := range n {
			obj.Labels[fmt.Sprintf("label-%d", i)] = "x"
		}
	}
}
