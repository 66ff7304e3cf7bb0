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
	"slices"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// except takes a namespace out of what the policies protect until the benchmark ends.
func except(b *testing.B, ns string) {
	b.Helper()
	admin := env.Client(b)
	for _, name := range []string{"kubelock-writes", "kubelock-deletions"} {
		binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}}
		patch := func(matchResources string) error {
			return admin.Patch(context.WithoutCancel(b.Context()), binding,
				client.RawPatch(types.MergePatchType, []byte(`{"spec":{"matchResources":`+matchResources+`}}`)))
		}
		if err := patch(`{"namespaceSelector":{"matchExpressions":[{"key":"kubernetes.io/metadata.name","operator":"NotIn","values":["` + ns + `"]}]}}`); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() {
			if err := patch("null"); err != nil {
				b.Error(err)
			}
		})
	}
	thief, _ := pod(b, ns, "programs", "thief-0")
	state := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "probe"}, Spec: v1alpha1.DistributedLockSpec{Value: new("1")}}
	err := wait.PollUntilContextCancel(within(b), 20*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		err := clientOf(b, thief).Create(ctx, state.DeepCopy(), client.DryRunAll)
		if apierrors.IsForbidden(err) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		b.Fatal(err)
	}
}

// BenchmarkWrite measures a renewal, and a cycle of an acquisition and a release, with and
// without the policies, in turns, of a lock behind which so many wait. An op is one of
// each; the medians tell what one costs.
func BenchmarkWrite(b *testing.B) {
	for _, waiters := range []int{0, 100} {
		b.Run(fmt.Sprintf("waiters=%d", waiters), func(b *testing.B) {
			bare, protected := namespace(b, "programs"), namespace(b, "programs")
			except(b, bare)
			var locks [2]*kubelock.Lock[int]
			var holds [2]*kubelock.Held[int]
			for i, ns := range []string{bare, protected} {
				config, _ := pod(b, ns, "programs", "program-0")
				c := program(b, config, kubelock.Config{Namespace: ns, Identity: "program-0", LockDuration: time.Hour})
				held, err := kubelock.NewLock[int](c, "held").Acquire(within(b))
				if err != nil {
					b.Fatal(err)
				}
				obj := &v1alpha1.DistributedLock{}
				if err := env.Client(b).Get(within(b), client.ObjectKey{Namespace: ns, Name: "held"}, obj); err != nil {
					b.Fatal(err)
				}
				for i := range waiters {
					obj.Spec.Waiters = append(obj.Spec.Waiters, fmt.Sprintf("waiter%d-1 30s waiter-%d", i, i))
				}
				if err := env.Client(b).Update(within(b), obj); err != nil {
					b.Fatal(err)
				}
				locks[i], holds[i] = kubelock.NewLock[int](c, "cycle"), held
			}
			renewals, cycles := make([][]time.Duration, 2), make([][]time.Duration, 2)
			for n := 0; b.Loop(); n++ {
				for _, i := range []int{n % 2, (n + 1) % 2} { // Who is second may gain by it.
					start := time.Now()
					if err := holds[i].Renew(within(b)); err != nil {
						b.Fatal(err)
					}
					renewals[i] = append(renewals[i], time.Since(start))
					if waiters > 0 {
						continue // The cycle's lock has none.
					}
					start = time.Now()
					held, err := locks[i].Acquire(within(b))
					if err != nil {
						b.Fatal(err)
					}
					if err := held.Release(within(b)); err != nil {
						b.Fatal(err)
					}
					cycles[i] = append(cycles[i], time.Since(start))
				}
			}
			for what, times := range map[string][][]time.Duration{"renewal": renewals, "cycle": cycles} {
				for i, how := range []string{"bare", "protected"} {
					if len(times[i]) > 0 {
						slices.Sort(times[i])
						b.ReportMetric(float64(times[i][len(times[i])/2].Microseconds()), "µs-"+what+"-"+how)
					}
				}
			}
		})
	}
}
