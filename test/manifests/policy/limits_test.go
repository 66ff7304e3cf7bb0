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
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// limit installs the policy of limits, gives a namespace the limits, and returns when they
// hold: when what breaks one of them is refused.
func limit(t *testing.T, c *cast, limits map[string]string) {
	t.Helper()
	if out, err := env.Kubectl(within(t), "", "apply", "-k", "config/policy/limits"); err != nil {
		t.Fatalf("kubectl apply: %v: %s", err, out)
	}
	if err := env.Client(t).Create(within(t), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: "kubelock-limits"}, Data: limits,
	}); err != nil {
		t.Fatal(err)
	}
	probe := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: c.ns, Name: "probe"}}
	begin("thief-0", "thief-1", 8760*time.Hour)(probe)
	if err := wait.PollUntilContextCancel(within(t), 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := c.who["thief"].Create(ctx, probe.DeepCopy(), client.DryRunAll)
		if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "kubelock-limits") {
			return true, nil
		}
		return false, err
	}); err != nil {
		t.Fatal(err)
	}
}

// TestLimits checks each limit of a namespace, that what keeps to them goes on, and that a
// namespace without limits has none.
func TestLimits(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	limit(t, c, map[string]string{"maxDuration": "1m", "maxWaiters": "4", "maxWaitersPerIdentity": "2"})
	obj := c.lock(t, "orders", time.Time{})
	obj.Spec.Waiters = []string{thiefsEntry}
	if err := c.who["admin"].Update(within(t), obj); err != nil {
		t.Fatal(err)
	}
	const long = "spec.holder.duration must be at most 1m, says the ConfigMap kubelock-limits of this namespace"
	for _, tc := range []struct {
		what    string
		changes []change
		want    string // nothing, if it is allowed
	}{
		{"takes it for the limit", []change{begin("thief-0", "thief-2", time.Minute)}, ""},
		{"takes it for longer", []change{begin("thief-0", "thief-2", time.Minute+time.Nanosecond)}, long},
		{"takes it until next year", []change{begin("thief-0", "thief-2", time.Minute), func(obj *v1alpha1.DistributedLock) {
			obj.Spec.Holder.RenewTime = metav1.NewMicroTime(time.Now().AddDate(1, 0, 0))
		}}, "spec.holder.renewTime must not be later than now"},
		{"queues once more", []change{queue(thiefsEntry, "thief-2 1m0s thief-0")}, ""},
		{"queues for longer", []change{queue(thiefsEntry, "thief-2 61s thief-0")}, "spec.waiters must have no new entry with a lease of more than 1m"},
	} {
		changed := obj.DeepCopy()
		for _, change := range tc.changes {
			change(changed)
		}
		err := c.who["thief"].Update(within(t), changed, client.DryRunAll)
		switch {
		case tc.want != "":
			refused(t, err, tc.want)
		case err != nil:
			t.Errorf("%s: %v", tc.what, err)
		}
	}

	join := func(who, entry string) error {
		obj.Spec.Waiters = append(obj.Spec.Waiters, entry)
		err := c.who[who].Update(within(t), obj)
		if err != nil {
			obj.Spec.Waiters = obj.Spec.Waiters[:len(obj.Spec.Waiters)-1]
		}
		return err
	}
	for i, who := range []string{"thief", "waiter", "waiter"} {
		if err := join(who, fmt.Sprintf("%s-%d 30s %s-0", who, 10+i, who)); err != nil {
			t.Errorf("%s queues: %v", who, err)
		}
		if i == 0 {
			refused(t, join("thief", "thief-3 30s thief-0"), "spec.waiters must have at most 2 entries of one identity")
		}
	}
	refused(t, join("holder", "holder-9 30s holder-0"), "spec.waiters must have at most 4 entries")
	begin("thief-0", "thief-1", 5*time.Second)(obj)
	obj.Spec.Waiters = obj.Spec.Waiters[1:]
	if err := c.who["reaper"].Update(within(t), obj); err != nil {
		t.Errorf("a grant: %v", err)
	}

	another := newCast(t)
	free := another.lock(t, "orders", time.Time{})
	begin("thief-0", "thief-2", 8760*time.Hour)(free)
	if err := another.who["thief"].Update(within(t), free); err != nil {
		t.Errorf("in a namespace without limits: %v", err)
	}
}

// TestLimitsThatCannotBeRead checks that new holds are refused, with what to do, while those
// that there are go on.
func TestLimitsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for _, limits := range []map[string]string{
		{"maxDuration": "ten minutes"}, {"maxDuration": "4s"}, {"maxWaiters": "many"}, {"maxWaitersPerIdentity": "-1"},
	} {
		c := newCast(t)
		obj := c.lock(t, "held", time.Now())
		limit(t, c, limits)
		free := c.lock(t, "free", time.Time{})
		begin("thief-0", "thief-2", time.Minute)(free)
		refused(t, c.who["thief"].Update(within(t), free), "the ConfigMap kubelock-limits of this namespace must have a maxDuration such as 10m")
		renew(obj)
		if err := c.who["holder"].Update(within(t), obj); err != nil {
			t.Errorf("with %v a holder renews: %v", limits, err)
		}
	}
}

// TestProgramsKeepToLimits runs the library under limits: a lease of the limit is renewed and
// handed over, and a longer one is refused with what to do.
func TestProgramsKeepToLimits(t *testing.T) {
	t.Parallel()
	c := newCast(t)
	limit(t, c, map[string]string{"maxDuration": "10s"})
	owners, _ := pod(t, c.ns, "owners", "limited-0")
	cfg := kubelock.Config{Namespace: c.ns, Identity: "limited-0", LockDuration: 10 * time.Second}
	one, two := kubelock.NewLock[int](program(t, owners, cfg), "counter"), kubelock.NewLock[int](program(t, owners, cfg), "counter")
	held, err := one.Acquire(within(t))
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan error, 1)
	go func() {
		_, err := two.Do(within(t), func(_ context.Context, n int) (int, error) { return n + 1, nil })
		got <- err
	}()
	if err := held.Renew(within(t)); err != nil {
		t.Error(err)
	}
	if err := held.Update(1).Release(within(t)); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
	cfg.LockDuration = time.Minute
	_, err = kubelock.NewLock[int](program(t, owners, cfg), "counter").Acquire(within(t))
	if err == nil || !strings.Contains(err.Error(), "spec.holder.duration must be at most 10s") {
		t.Errorf("with a longer lease: %v", err)
	}
}
