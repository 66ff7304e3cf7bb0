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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// DefaultPodWatches is how many Pods a reaper watches at once at most.
const DefaultPodWatches = 64

// witness watches the Pods of those who hold a lock that others wait for, each by itself,
// for as long as that is so. A Pod that has terminated says that its holder will never run
// again, long before its lease is over.
type witness struct {
	cache *lockCache
	pods  corev1client.PodsGetter
	slots chan struct{} // one for each watch

	running sync.WaitGroup
	mu      sync.Mutex // protects the fields below
	watches map[types.NamespacedName]*podWatch
	ended   bool // No watch begins any more.
}

// podWatch is about the Pod of one lock's holder.
type podWatch struct {
	pod    protocol.Pod
	cancel context.CancelFunc
	// Protected by witness.mu: the watch has ended, and whether by the Pod's termination.
	over, terminated bool
}

func newWitness(cache *lockCache, pods corev1client.PodsGetter, most int) *witness {
	return &witness{cache: cache, pods: pods, slots: make(chan struct{}, most), watches: map[types.NamespacedName]*podWatch{}}
}

// Start implements manager.Runnable. Pods are watched by the replica that leads.
func (w *witness) Start(ctx context.Context) error {
	w.cache.subscribe(ctx, func(name types.NamespacedName, e *entry) { w.follow(ctx, name, testifies(e)) })
	<-ctx.Done()
	w.mu.Lock()
	w.ended = true
	w.mu.Unlock()
	w.running.Wait()
	return nil
}

// testifies returns the Pod that may tell of a lock's holder before its lease does; the
// zero Pod if nobody waits for that, or there is none.
func testifies(e *entry) protocol.Pod {
	if e == nil || e.active == nil {
		return protocol.Pod{}
	}
	h := e.active.lock.Holder
	if h == nil || h.Pod.Name == "" || h.Pod.UID == "" || len(e.active.lock.Waiters) == 0 {
		return protocol.Pod{}
	}
	return h.Pod
}

// follow watches the Pod of a lock's holder, and no other for this lock; the zero Pod:
// none.
func (w *witness) follow(ctx context.Context, name types.NamespacedName, pod protocol.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if old := w.watches[name]; old != nil {
		if old.pod == pod && (!old.over || old.terminated) {
			return // Else the Pod was not to be found, maybe by an API server that was behind.
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
			w.cache.look(name)
		}
	})
}

// saw reports whether the holder's Pod has been seen to have terminated.
func (w *witness) saw(name types.NamespacedName, h *protocol.Holder) bool {
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.watches[name]
	return p != nil && p.terminated && p.pod == h.Pod
}

// errNoWitness ends a watch that will never tell anything.
var errNoWitness = errors.New("the Pod is gone")

// watch returns whether the Pod has terminated, as soon as it has, or when it never will:
// because it is not there any more, or ctx ended.
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
	there := func(store toolscache.Store) (bool, error) {
		if len(store.ListKeys()) == 0 {
			return false, errNoWitness
		}
		return false, nil
	}
	tells := func(event watch.Event) (bool, error) {
		seen, ok := event.Object.(*corev1.Pod)
		switch {
		case !ok || string(seen.UID) != pod.UID:
			return false, errNoWitness // Another one has the name.
		case terminated(seen):
			return true, nil
		case event.Type == watch.Deleted:
			return false, errNoWitness
		}
		return false, nil
	}
	_, err := watchtools.UntilWithSync(ctx, list, &corev1.Pod{}, there, tells)
	return err == nil
}

// terminated reports whether all containers of a Pod have stopped for good, as its kubelet
// has seen it. Only the kubelet knows. The garbage collector calls a Pod failed, too, whose
// node is lost while its containers may go on; and what the kubelet said before may have been
// of containers that it was going to restart. So the kubelet must have called the Pod
// terminal itself: it then says so of the containers' readiness, which nobody else writes.
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

// The reasons for which the kubelet calls the containers of a terminal Pod not ready
// (pkg/kubelet/status of Kubernetes).
const (
	podCompleted = "PodCompleted"
	podFailed    = "PodFailed"
)

// terminate ends the hold of a Pod that has terminated, and gives the lock to the first
// waiter.
func (r *Reaper) terminate(ctx context.Context, obj store.Object) error {
	lock, err := r.Kind.Decode(obj)
	if err != nil {
		return err
	}
	next, err := protocol.Terminate(lock, r.ServerTime.Stamp(r.Now()))
	if err != nil {
		return err
	}
	if err := r.Client.Update(ctx, r.Kind.Encode(next), client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("ending the hold of a terminated Pod: %w", err)
	}
	h, successor := lock.Holder, "nobody"
	if next.Holder != nil {
		successor = next.Holder.Identity
		locksGranted.Inc()
	}
	holdersTerminated.Inc()
	log.FromContext(ctx).Info("Ended the hold of a Pod that had terminated",
		"holder", h.Identity, "lockID", h.LockID, "pod", h.Pod.Name, "podUID", h.Pod.UID, "successor", successor)
	r.Events.Eventf(obj, nil, corev1.EventTypeWarning, "HolderTerminated", "GrantLock",
		"the Pod %s of %s has terminated, %s has the lock now", h.Pod.Name, h.Identity, successor)
	return nil
}
