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
	"fmt"
	"slices"
	"sync"
	"time"
	"unique"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/kubelock/kubelock/internal/store"
)

// lockWatch keeps a cache up to date. It also runs in replicas that do not lead. If such a
// replica becomes the leader, it has all locks, and knows for how long it has seen each hold
// unchanged.
type lockWatch struct {
	*lockCache
	mgr manager.Manager
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (lockWatch) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (w lockWatch) Start(ctx context.Context) error {
	resource := w.kind.Resource().Resource
	var reflectors []*toolscache.Reflector
	for _, ns := range w.namespaces() {
		locks, err := w.kind.Open(w.mgr.GetConfig(), w.mgr.GetHTTPClient(), ns)
		if err != nil {
			return fmt.Errorf("watching %s: %w", resource, err)
		}
		reflectors = append(reflectors, toolscache.NewReflectorWithOptions(locks.All(), w.kind.New(), namespaceStore{w.lockCache, ns},
			toolscache.ReflectorOptions{Name: resource, ResyncPeriod: resyncPeriod}))
	}
	var running sync.WaitGroup
	for _, reflector := range reflectors {
		running.Go(func() { reflector.RunWithContext(ctx) })
	}
	running.Wait()
	return nil
}

// namespaces returns the namespaces to watch. It is called before anything was listed.
func (c *lockCache) namespaces() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	namespaces := make([]string, 0, len(c.unsynced))
	for ns := range c.unsynced {
		namespaces = append(namespaces, ns)
	}
	slices.Sort(namespaces)
	return namespaces
}

// namespaceStore is the part of a cache that one reflector fills: the locks of one namespace,
// or of all namespaces if its name is empty. It implements toolscache.TransformingStore.
type namespaceStore struct {
	*lockCache
	namespace string
}

// Transformer implements toolscache.TransformingStore. A reflector holds all objects of a list
// until the list is complete, so they are reduced to entries at once.
func (p namespaceStore) Transformer() toolscache.TransformFunc {
	return func(obj any) (any, error) { return p.read(obj) }
}

// Add implements toolscache.ReflectorStore.
func (p namespaceStore) Add(obj any) error { return p.Update(obj) }

// Update implements toolscache.ReflectorStore.
func (p namespaceStore) Update(obj any) error {
	n, err := p.read(obj)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set(n.name, n.entry)
	return nil
}

// Delete implements toolscache.ReflectorStore.
func (p namespaceStore) Delete(obj any) error {
	n, err := p.read(obj)
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.remove(n.name)
	return nil
}

// Replace implements toolscache.ReflectorStore.
func (p namespaceStore) Replace(objs []any, _ string) error {
	list := make([]namedEntry, len(objs))
	for i, obj := range objs {
		var err error
		if list[i], err = p.read(obj); err != nil {
			return err
		}
		objs[i] = nil
	}
	// Reflectors list in any order. Sorted, the same locks are always processed in the same order.
	slices.SortFunc(list, func(a, b namedEntry) int { return compare(a.name, b.name) })
	p.mu.Lock()
	defer p.mu.Unlock()
	for name := range p.locks {
		_, found := slices.BinarySearchFunc(list, name, func(n namedEntry, name types.NamespacedName) int { return compare(n.name, name) })
		if !found && p.has(name) {
			p.remove(name)
		}
	}
	for _, n := range list {
		p.set(n.name, n.entry)
	}
	if p.unsynced[p.namespace] {
		delete(p.unsynced, p.namespace)
		if len(p.unsynced) == 0 {
			close(p.synced)
		}
	}
	return nil
}

// Resync implements toolscache.ReflectorStore. The reaper sets no timer beyond timerHorizon, and
// relies on the resync for what is due later.
func (p namespaceStore) Resync() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, name := range p.names() {
		if p.has(name) {
			e := p.locks[name]
			p.notify(name, &e)
		}
	}
	return nil
}

func (p namespaceStore) has(name types.NamespacedName) bool {
	return p.namespace == metav1.NamespaceAll || p.namespace == name.Namespace
}

// read returns the entry for an object. The entry does not refer to the object's memory.
func (c *lockCache) read(obj any) (namedEntry, error) {
	if n, ok := obj.(namedEntry); ok { // The Transformer has read the object already.
		return n, nil
	}
	if unknown, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	typed, ok := obj.(store.Object)
	if !ok {
		return namedEntry{}, fmt.Errorf("got a %T, want a %T", obj, c.kind.New())
	}
	n := namedEntry{name: types.NamespacedName{Namespace: unique.Make(typed.GetNamespace()).Value(), Name: typed.GetName()}}
	lock, err := c.kind.Decode(typed)
	lock = applyKeepAnnotation(lock)
	last := lock.LastTransition()
	n.free, n.expiry = last.Time.UnixNano(), lock.ObjectExpiry
	timed := c.judge().Compares(last.Source) && time.Unix(0, n.free).Equal(last.Time) // Nanoseconds reach from 1678 to 2262.
	if err == nil && lock.Holder == nil && len(lock.Waiters) == 0 && !lock.Terminating && (lock.ObjectExpiry <= 0 || timed) {
		return n, nil
	}
	lock.Key, lock.Value, lock.Stored = "", nil, nil
	n.active = &active{lock: lock, err: err}
	return n, nil
}

// namedEntry is an entry with the name of its lock, as a reflector passes it to a namespaceStore.
type namedEntry struct {
	name types.NamespacedName
	entry
}

// GetObjectMeta implements metav1.ObjectMetaAccessor. Reflectors take the lock's key from it.
func (n namedEntry) GetObjectMeta() metav1.Object {
	return &metav1.ObjectMeta{Namespace: n.name.Namespace, Name: n.name.Name}
}
