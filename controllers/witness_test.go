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
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// witnessRole gives the reaper's account the rights that --pod-witness needs, from the manifests.
var witnessRole = sync.OnceValue(func() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if out, err := env.Kubectl(ctx, "", "apply", "-f", "config/components/podwitness/reaper_role.yaml"); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return env.AwaitAccess(ctx, testenv.AccountUser(testenv.ReaperNamespace, testenv.ReaperAccount),
		authorizationv1.ResourceAttributes{Verb: "watch", Resource: "pods"})
})

// grantWitnessRole gives the reaper's account that role, once for all tests.
func grantWitnessRole(t *testing.T) {
	t.Helper()
	account(t) // The account's other rights are there.
	if err := witnessRole(); err != nil {
		t.Fatal(err)
	}
}

// run creates a running Pod.
func run(t *testing.T, ns, name string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/main"}}},
	}
	pod, err := env.Clientset(t).CoreV1().Pods(ns).Create(soon(t), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return report(t, pod, corev1.PodRunning, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
}

// report sets a Pod's status as the Pod's kubelet would.
func report(t *testing.T, pod *corev1.Pod, phase corev1.PodPhase, state corev1.ContainerState) *corev1.Pod {
	t.Helper()
	return status(t, pod, phase, state, kubeletSays(map[corev1.PodPhase]string{
		corev1.PodSucceeded: "PodCompleted", corev1.PodFailed: "PodFailed",
	}[phase]))
}

// kubeletSays returns the condition by which a kubelet says why containers are not ready.
func kubeletSays(reason string) corev1.PodCondition {
	return corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse, Reason: reason, LastTransitionTime: metav1.Now()}
}

// status sets a Pod's status as any component with the right to do so might.
func status(t *testing.T, pod *corev1.Pod, phase corev1.PodPhase, state corev1.ContainerState, conditions ...corev1.PodCondition) *corev1.Pod {
	t.Helper()
	pod = pod.DeepCopy()
	pod.Status = corev1.PodStatus{Phase: phase, Conditions: conditions, ContainerStatuses: []corev1.ContainerStatus{{Name: "main", State: state}}}
	pod, err := env.Clientset(t).CoreV1().Pods(pod.Namespace).UpdateStatus(soon(t), pod, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// stopped is the state of a container that has ended.
var stopped = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137}}

// holdFrom creates a lock that a client in a Pod holds with a lease of an hour.
func holdFrom(t *testing.T, ns, name, pod string, uid types.UID) {
	t.Helper()
	now := metav1.NowMicro()
	create(t, ns, name, v1alpha1.DistributedLockSpec{Value: new(`"of ` + name + `"`), Transitions: 1, Waiters: []string{}, Holder: &v1alpha1.Holder{
		Identity: "the-holder", Client: "gone", LockID: "gone-1", Pod: &v1alpha1.PodReference{Name: pod, UID: uid},
		AcquireTime: now, RenewTime: now, RenewTimeSource: v1alpha1.TimeSourceServer, Duration: metav1.Duration{Duration: time.Hour},
	}})
}

// queue has a client wait for a lock, and returns when the client is in the queue. Its hold comes
// through the channel.
func queue(t *testing.T, ns, name string, history *testenv.History) <-chan *kubelock.Held[string] {
	t.Helper()
	lock := newLock(t, name, kubelock.Config{Namespace: ns, Identity: "the-next"})
	got := make(chan *kubelock.Held[string], 1)
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	t.Cleanup(func() { cancel(); waiting.Wait() })
	waiting.Go(func() {
		if held, err := lock.Acquire(ctx); err == nil {
			got <- held
		}
	})
	history.Until(patience, name, "queued for", func(v testenv.Version) bool { return len(v.Spec.Waiters) > 0 })
	return got
}

// TestPodThatTerminatedEndsItsHold checks that the reaper grants a lock to its first waiter when
// the holder's Pod has terminated, an hour before the lease ends.
func TestPodThatTerminatedEndsItsHold(t *testing.T) {
	t.Parallel()
	grantWitnessRole(t)
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	reaper{namespaces: []string{ns}, podWitness: true}.start(t)
	pod := run(t, ns, "worker-0")
	holdFrom(t, ns, "orders", pod.Name, pod.UID)
	next := queue(t, ns, "orders", history)
	report(t, pod, corev1.PodFailed, stopped)

	granted := history.Until(patience, "orders", "granted", func(v testenv.Version) bool { return v.Spec.LastRelease != nil })
	last := granted.Spec.LastRelease
	if last.Reason != v1alpha1.ReasonHolderTerminated || last.LockID != "gone-1" || last.Identity != "the-holder" {
		t.Errorf("the end of the hold is noted as %+v, want that its holder terminated", last)
	}
	held := <-next
	if held.Value() != "of orders" || held.Token() <= last.Token {
		t.Errorf("the next holder has the state %q and the token %d after %d", held.Value(), held.Token(), last.Token)
	}
	release(t, held)
	e := env.Event(t, patience, ns, "orders", "HolderTerminated")
	if want := "the Pod worker-0 of the-holder has terminated, the-next has the lock now"; e.Note != want {
		t.Errorf("the event says %q, want %q", e.Note, want)
	}
}

// TestWhatProvesNothing checks Pods that must not end a hold before its lease does: Pods that run,
// Pods that were deleted, Pods that another component than their kubelet has set to failed, and
// other Pods of the same name.
func TestWhatProvesNothing(t *testing.T) {
	t.Parallel()
	grantWitnessRole(t)
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	noted := &podRequests{}
	reaper{namespaces: []string{ns}, podWitness: true, wrap: noted.wrap}.start(t)
	remove := func(pod *corev1.Pod) {
		t.Helper()
		if err := env.Clientset(t).CoreV1().Pods(ns).Delete(soon(t), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}); err != nil {
			t.Fatal(err)
		}
	}
	for name, happens := range map[string]func(pod *corev1.Pod){
		"runs":       func(*corev1.Pod) {},
		"force":      remove,
		"unreached":  func(pod *corev1.Pod) { report(t, pod, corev1.PodUnknown, stopped) },
		"restarting": func(pod *corev1.Pod) { report(t, pod, corev1.PodRunning, stopped) },
		"lost node": func(pod *corev1.Pod) {
			report(t, pod, corev1.PodFailed, corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
		},
		"collected": func(pod *corev1.Pod) {
			status(t, pod, corev1.PodFailed, stopped, kubeletSays("ContainersNotReady"), corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC", LastTransitionTime: metav1.Now(),
			})
		},
		"out of service": func(pod *corev1.Pod) { status(t, pod, corev1.PodFailed, stopped, kubeletSays("ContainersNotReady")) },
		"reused": func(pod *corev1.Pod) {
			remove(pod)
			report(t, run(t, ns, pod.Name), corev1.PodSucceeded, stopped)
		},
	} {
		name = strings.ReplaceAll(name, " ", "-")
		pod := run(t, ns, name)
		holdFrom(t, ns, name, name, pod.UID)
		queue(t, ns, name, history)
		noted.await(t, ns, name)
		happens(pod)
	}
	report(t, run(t, ns, "namesake"), corev1.PodSucceeded, stopped)
	holdFrom(t, ns, "namesake", "namesake", "of-the-one-before")
	queue(t, ns, "namesake", history)
	noted.await(t, ns, "namesake")

	// When the reaper has seen this Pod terminate, it has seen the Pods above.
	proof := run(t, ns, "proof")
	holdFrom(t, ns, "proof", "proof", proof.UID)
	next := queue(t, ns, "proof", history)
	report(t, proof, corev1.PodSucceeded, stopped)
	release(t, <-next)
	for _, name := range []string{"runs", "force", "unreached", "restarting", "lost-node", "collected", "out-of-service", "reused", "namesake"} {
		if lock := object(t, ns, name); lock.Spec.Holder == nil || lock.Spec.Holder.LockID != "gone-1" {
			t.Errorf("%s: the hold has ended: %+v", name, lock.Spec.LastRelease)
		}
	}
}

// TestPodsAreWatchedOneByOne checks that the reaper reads only the Pods of holders whose locks have
// waiters.
func TestPodsAreWatchedOneByOne(t *testing.T) {
	t.Parallel()
	grantWitnessRole(t)
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	noted := &podRequests{}
	reaper{namespaces: []string{ns}, podWitness: true, wrap: noted.wrap}.start(t)
	alone, awaited := run(t, ns, "alone"), run(t, ns, "awaited")
	holdFrom(t, ns, "alone", alone.Name, alone.UID)
	report(t, alone, corev1.PodFailed, stopped)
	holdFrom(t, ns, "awaited", awaited.Name, awaited.UID)
	next := queue(t, ns, "awaited", history)
	report(t, awaited, corev1.PodFailed, stopped)
	release(t, <-next)
	noted.mu.Lock()
	defer noted.mu.Unlock()
	for _, request := range noted.seen {
		if want := podRequest(ns, "awaited"); request != want {
			t.Errorf("the reaper asked for %s, want nothing but %s", request, want)
		}
	}
	if len(noted.seen) == 0 || object(t, ns, "alone").Spec.Holder == nil {
		t.Errorf("the reaper asked %d times for Pods; the holder of the lock without waiters is %+v", len(noted.seen), object(t, ns, "alone").Spec.Holder)
	}
}

// TestPodWatchesAreBounded checks that the reaper watches no more Pods at once than permitted, that
// it watches each of them in the end, and that it leaves no watch open that it does not need.
func TestPodWatchesAreBounded(t *testing.T) {
	t.Parallel()
	const locks, bound = 6, 2
	grantWitnessRole(t)
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	noted := &podRequests{}
	reaper{namespaces: []string{ns}, podWitness: true, podWatches: bound, wrap: noted.wrap}.start(t)
	pods, next := make([]*corev1.Pod, 0, locks), make([]<-chan *kubelock.Held[string], 0, locks)
	for i := range locks {
		pod := run(t, ns, fmt.Sprint("pod-", i))
		holdFrom(t, ns, pod.Name, pod.Name, pod.UID)
		pods, next = append(pods, pod), append(next, queue(t, ns, pod.Name, history))
	}
	for _, pod := range pods {
		report(t, pod, corev1.PodFailed, stopped)
	}
	for _, got := range next {
		release(t, <-got)
	}
	err := wait.PollUntilContextCancel(soon(t), 5*time.Millisecond, true, func(context.Context) (bool, error) {
		noted.mu.Lock()
		defer noted.mu.Unlock()
		return noted.open == 0, nil
	})
	noted.mu.Lock()
	defer noted.mu.Unlock()
	if err != nil || noted.most != bound {
		t.Errorf("%d Pods were watched at once, want %d; after the last, %d still are", noted.most, bound, noted.open)
	}
}
