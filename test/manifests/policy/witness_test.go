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

	"github.com/kubelock/kubelock/api/v1alpha1"
)

// TestTerminate checks who may end a live hold because its Pod has terminated: whoever has
// the verb for that, and only where a Pod can have been looked at and somebody waits.
func TestTerminate(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	if out, err := env.Kubectl(within(t), "", "apply", "-f", "config/components/podwitness/reaper_role.yaml"); err != nil {
		t.Fatal(err, out)
	}
	admit(t, c.ns, c.ns, "witnesses")
	bind(t, c.ns, c.ns, "witnesses", "kubelock-reaper-pod-witness", "terminate")
	c.who["witness"] = clientOf(t, env.ServiceAccount(t, c.ns, "witnesses"))
	const holds = "spec.holder must stay as it is: holder-0 holds the lock until "
	nobodyWaits := func(obj *v1alpha1.DistributedLock) { obj.Spec.Waiters = []string{} }
	noPod := func(obj *v1alpha1.DistributedLock) { obj.Spec.Holder.Pod = nil }
	noUID := func(obj *v1alpha1.DistributedLock) {
		obj.Spec.Holder.Pod = &v1alpha1.PodReference{Name: obj.Spec.Holder.Pod.Name}
	}
	for name, tc := range map[string]struct {
		who    string
		before change // by an administrator
		change change
		want   string // empty: nothing is refused
	}{
		"ends":         {"witness", nil, end(v1alpha1.ReasonHolderTerminated), ""},
		"grants":       {"witness", nil, func(obj *v1alpha1.DistributedLock) { end(v1alpha1.ReasonHolderTerminated)(obj); grant(obj) }, ""},
		"expires":      {"witness", nil, end(v1alpha1.ReasonExpired), holds},
		"thief":        {"thief", nil, end(v1alpha1.ReasonHolderTerminated), holds},
		"nobody-waits": {"witness", nobodyWaits, end(v1alpha1.ReasonHolderTerminated), holds},
		"no-pod":       {"witness", noPod, end(v1alpha1.ReasonHolderTerminated), holds},
		"no-uid":       {"witness", noUID, end(v1alpha1.ReasonHolderTerminated), holds},
		"saves": {"witness", nil, func(obj *v1alpha1.DistributedLock) {
			end(v1alpha1.ReasonHolderTerminated)(obj)
			obj.Spec.Value = new("2")
		}, "spec.value must be changed by the holder of the lock only"},
		"another": {"witness", nil, func(obj *v1alpha1.DistributedLock) {
			end(v1alpha1.ReasonHolderTerminated)(obj)
			obj.Spec.LastRelease.Identity = "somebody-else"
		}, "spec.lastRelease must tell of the hold that this write ends"},
	} {
		obj := c.lock(t, name, time.Now())
		if tc.before != nil {
			tc.before(obj)
			if err := c.who["admin"].Update(within(t), obj); err != nil {
				t.Fatal(err)
			}
		}
		tc.change(obj)
		err := c.who[tc.who].Update(within(t), obj)
		switch {
		case tc.want != "":
			refused(t, err, tc.want)
		case err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
}
