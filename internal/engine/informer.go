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

package engine

import (
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// informer keeps the objects that one list and watch shows, and calls its handlers with each change. It is client-go's
// controller. client-go's shared informer has a buffer of 16 KB and two goroutines for each handler, which is a
// quarter of the memory of a waiter; this one calls them itself. So handlers must not block, and must not call the
// informer. An informer is safe for concurrent use.
type informer struct {
	cache.Controller

	objects cache.Store
	synced  <-chan struct{} // closed when all objects of the first list have been shown

	mu       sync.Mutex
	handlers []cache.ResourceEventHandler // replaced as a whole
}

// newInformer returns an informer of what source lists and watches: objects of that type. It calls failed when a list
// or watch ends with an error.
func newInformer(source cache.ListerWatcher, object runtime.Object, failed cache.WatchErrorHandlerWithContext) *informer {
	i := &informer{objects: cache.NewStore(cache.DeletionHandlingMetaNamespaceKeyFunc)}
	i.Controller = cache.New(&cache.Config{
		Queue:                        cache.NewRealFIFOWithOptions(cache.RealFIFOOptions{KeyFunction: cache.MetaNamespaceKeyFunc, KnownObjects: i.objects}),
		ListerWatcher:                source,
		ObjectType:                   object,
		Process:                      i.process,
		WatchErrorHandlerWithContext: failed,
	})
	i.synced = i.HasSyncedChecker().Done()
	return i
}

// add has the informer call a handler with each change from now on. Objects that it has already stand in objects:
// the caller looks there afterwards, and may see a change twice.
func (i *informer) add(h cache.ResourceEventHandler) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handlers = append(slices.Clone(i.handlers), h)
}

// remove ends what add has begun. A change that is under way may still reach the handler.
func (i *informer) remove(h cache.ResourceEventHandler) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handlers = slices.DeleteFunc(slices.Clone(i.handlers), func(other cache.ResourceEventHandler) bool { return other == h })
}

// absent reports whether the informer has shown all objects of its first list, and there is none now.
func (i *informer) absent() bool {
	select {
	case <-i.synced:
		return len(i.objects.ListKeys()) == 0
	default:
		return false
	}
}

// process implements cache.ProcessFunc.
func (i *informer) process(item any, initial bool) error {
	deltas, ok := item.(cache.Deltas)
	if !ok {
		return fmt.Errorf("a queue of changes has %T", item)
	}
	for _, d := range deltas {
		if err := i.change(d, initial); err != nil {
			return err
		}
	}
	return nil
}

func (i *informer) change(d cache.Delta, initial bool) error {
	tell := func(h cache.ResourceEventHandler) { h.OnAdd(d.Object, initial) }
	var err error
	switch old, exists, _ := i.objects.Get(d.Object); {
	case d.Type == cache.Deleted:
		err = i.objects.Delete(d.Object)
		tell = func(h cache.ResourceEventHandler) { h.OnDelete(d.Object) }
	case exists:
		err = i.objects.Update(d.Object)
		tell = func(h cache.ResourceEventHandler) { h.OnUpdate(old, d.Object) }
	default:
		err = i.objects.Add(d.Object)
	}
	if err != nil {
		return err
	}
	i.mu.Lock() // After the change: a handler that is added now finds it in objects, or is called.
	handlers := i.handlers
	i.mu.Unlock()
	for _, h := range handlers {
		tell(h)
	}
	return nil
}
