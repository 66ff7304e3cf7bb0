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

package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	toolscache "k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// DefaultPodWatches is how many Pods a reaper watches at once at most.
const DefaultPodWatches = 64

// witness watches the Pods of holders. It watches a Pod, with a watch of its own, only while
// clients wait for the lock. A Pod that has terminated proves that the holder will never run
// again, long before its lease ends.
type witness struct {
	cache *lockCache
	pods  corev1client.PodsGetter
	slots chan struct{} // one element per watch

	running sync.WaitGroup
	mu      sync.Mutex // protects the fields below
	watches map[types.NamespacedName]*podWatch
	ended   bool // No watch begins any more.
}

// podWatch is the watch of the Pod of one lock's holder.
type podWatch struct {
	pod    protocol.Pod
	cancel context.CancelFunc
	// over is set when the watch has ended, and terminated if the Pod had terminated then.
	// Both are protected by witness.mu.
	over, terminated bool
}

func newWitness(cache *lockCache, pods corev1client.PodsGetter, most int) *witness {
	return &witness{cache: cache, pods: pods, slots: make(chan struct{}, most), watches: map[types.NamespacedName]*podWatch{}}
}

// Start implements manager.Runnable. Only the replica that leads watches Pods.
func (w *witness) Start(ctx context.Context) error {
	w.cache.subscribe(ctx, func(name types.NamespacedName, e *entry) { w.follow(ctx, name, podToWatch(e)) })
	<-ctx.Done()
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.running.Wait()
	return nil
}

// podToWatch returns the Pod of the lock's holder. It returns the zero Pod if the lock has no
// waiters, no holder, or a holder that names no Pod.
func podToWatch(e *entry) protocol.Pod {
	if e == nil || e.active == nil {
		return protocol.Pod{}
	}
	h := e.active.lock.Holder
	if h == nil || h.Pod.Name == "" || h.Pod.UID == "" || len(e.active.lock.Waiters) == 0 {
		return protocol.Pod{}
	}
	return h.Pod
}

// follow watches a Pod for a lock, and ends the watch of another Pod for the same lock. With
// the zero Pod it only ends that watch.
func (w *witness) follow(ctx context.Context, name types.NamespacedName, pod protocol.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.watches[name]; old != nil {
		if old.pod == pod && (!old.over || old.terminated) {
			return // A watch that did not find its Pod is repeated: the API server may have been behind.
		}
		old.cancel()
		delete(w.watches, name)
	}
	if pod == (protocol.Pod{}) || w.ended {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &podWatch{pod: pod, cancel: cancel}
	w.watches[name] = p
	w.running.Go(func() {
		defer cancel()
		terminated := w.watch(ctx, name.Namespace, pod)
		w.mu.Lock()
		p.over, p.terminated = true, terminated
		w.mu.Unlock()
		if terminated {
			w.cache.recheck(name)
		}
	})
}

// sawTermination reports whether the witness has seen that the holder's Pod has terminated.
func (w *witness) sawTermination(name types.NamespacedName, h *protocol.Holder) bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.watches[name]
	return p != nil && p.terminated && p.pod == h.Pod
}

// errPodGone ends a watch of a Pod that does not exist any more.
var errPodGone = errors.New("the Pod is gone")

// watch waits until the Pod has terminated, and returns true then. It returns false when the
// Pod does not exist any more, or ctx ends.
func (w *witness) watch(ctx context.Context, namespace string, pod protocol.Pod) bool {
	select {
	case w.slots <- struct{}{}:
		defer func() { <-w.slots }()
	case <-ctx.Done():
		return false
	}
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, pod.Name).String()
	pods := w.pods.Pods(namespace)
	list := &toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector = selector
			return pods.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector = selector
			return pods.Watch(ctx, options)
		},
	}
	exists := func(store toolscache.Store) (bool, error) {
		if len(store.ListKeys()) == 0 {
			return false, errPodGone
		}
		return false, nil
	}
	hasTerminated := func(event watch.Event) (bool, error) {
		seen, ok := event.Object.(*corev1.Pod)
		switch {
		case !ok || string(seen.UID) != pod.UID:
			return false, errPodGone // Another Pod has the name.
		case terminated(seen):
			return true, nil
		case event.Type == watch.Deleted:
			return false, errPodGone
		}
		return false, nil
	}
	_, err := watchtools.UntilWithSync(ctx, list, &corev1.Pod{}, exists, hasTerminated)
	return err == nil
}

// terminated reports whether the Pod's kubelet has seen that all containers have stopped and
// will not restart.
//
// Only the kubelet knows that. The Pod's phase does not prove it: the garbage collector sets
// the phase Failed, too, for a Pod whose node is lost, while its containers may still run.
// Terminated containers do not prove it either: the kubelet may be about to restart them. When
// the kubelet itself ends a Pod, it writes a reason into the condition ContainersReady, and no
// other component writes that reason.
func terminated(pod *corev1.Pod) bool {
	status := &pod.Status
	if status.Phase != corev1.PodSucceeded && status.Phase != corev1.PodFailed {
		return false
	}
	byKubelet := slices.ContainsFunc(status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.ContainersReady && c.Status == corev1.ConditionFalse && (c.Reason == podCompleted || c.Reason == podFailed)
	})
	for _, all := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses, status.EphemeralContainerStatuses} {
		for i := range all {
			if all[i].State.Terminated == nil {
				return false
			}
		}
	}
	return byKubelet && len(status.ContainerStatuses) >= len(pod.Spec.Containers) && len(status.InitContainerStatuses) >= len(pod.Spec.InitContainers)
}

// The kubelet writes these reasons into the condition ContainersReady of a Pod that has ended
// (pkg/kubelet/status of Kubernetes).
const (
	podCompleted = "PodCompleted"
	podFailed    = "PodFailed"
)

// terminate ends the hold of a client whose Pod has terminated, and grants the lock to the
// first waiter.
func (r *Reaper) terminate(ctx context.Context, in store.Store, lock protocol.Record) error {
	next, err := protocol.Terminate(lock, r.ServerTime.Reading().Stamp(r.Now()))
	if err != nil {
		return err
	}
	if _, err := in.Update(ctx, next); err != nil {
		return fmt.Errorf("ending the hold of a terminated Pod: %w", err)
	}
	h, successor := lock.Holder, "no client"
	if next.Holder != nil {
		successor = next.Holder.Identity
		locksGranted.Inc()
	}
	holdersTerminated.Inc()
	log.FromContext(ctx).Info("Ended the hold of a Pod that had terminated",
		"holder", h.Identity, "lockID", h.LockID, "pod", h.Pod.Name, "podUID", h.Pod.UID, "successor", successor)
	r.Events.Eventf(object(lock), nil, corev1.EventTypeWarning, "HolderTerminated", "GrantLock",
		"the Pod %s of %s has terminated, %s has the lock now", h.Pod.Name, h.Identity, successor)
	return nil
}
