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
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// lockCache holds the facts that the reaper needs about the locks of one kind. An informer
// would hold whole objects, several hundred bytes per lock. Most locks are idle in a cluster
// that has many, and all that the reaper needs of an idle lock is the time at which it may be
// deleted. The cache holds no lock's state.
type lockCache struct {
	kind  store.Kind
	judge func() protocol.Judge

	mu    sync.Mutex // protects the fields below
	locks map[types.NamespacedName]entry
	// unsynced holds the namespaces whose locks have not been listed yet. synced is closed when
	// it is empty.
	unsynced      map[string]bool
	synced        chan struct{}
	subscriptions []*subscription
	counts        map[string]int // locks by state
	counting      bool           // whether counts are exported as kubelock_reaper_locks
}

// entry is one lock in the cache. If the lock is idle, and the API server's time is enough to
// decide when it may be deleted, the first two fields are set. Otherwise active is set.
type entry struct {
	free   int64         // since when it has been free, in Unix nanoseconds
	expiry time.Duration // its objectExpiry; 0 if it is kept without end
	active *active
}

// active is a lock that is held, has waiters, is being deleted, is judged by observation, or
// cannot be read.
type active struct {
	lock protocol.Record // without its state and object
	seen protocol.Observation
	err  error // why it cannot be read
}

// subscription is called for each lock that changes, with its new entry, or with nil if the
// lock was deleted. It must not use the cache.
type subscription func(name types.NamespacedName, e *entry)

func newLockCache(kind store.Kind, namespaces []string, judge func() protocol.Judge) *lockCache {
	c := &lockCache{
		kind: kind, judge: judge,
		locks: map[types.NamespacedName]entry{}, unsynced: map[string]bool{}, synced: make(chan struct{}), counts: map[string]int{},
	}
	for _, ns := range namespaces {
		c.unsynced[ns] = true
	}
	return c
}

// get returns a lock as it was last seen, without its state and object, and since when the
// reaper has seen it unchanged. ok is false if there is no such lock. The error says why the
// lock cannot be read.
func (c *lockCache) get(name types.NamespacedName) (lock protocol.Record, seen protocol.Observation, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.locks[name]
	if ok && e.active != nil {
		return e.active.lock, e.active.seen, true, e.active.err
	}
	return e.record(), protocol.Observation{}, ok, nil
}

// record returns what the cache knows of the lock.
func (e entry) record() protocol.Record {
	if e.active != nil {
		return e.active.lock
	}
	return protocol.Record{
		ObjectExpiry: e.expiry,
		LastRelease:  &protocol.LastRelease{Time: time.Unix(0, e.free), Source: protocol.Server},
	}
}

// set replaces the entry of a lock, and notifies the subscriptions.
func (c *lockCache) set(name types.NamespacedName, e entry) {
	old, known := c.locks[name]
	if known {
		c.count(old.state(), -1)
	}
	if e.active != nil {
		var before protocol.Observation
		if old.active != nil {
			before = old.active.seen
		}
		e.active.seen = before.Observe(e.active.lock, c.judge().Now)
	}
	c.locks[name] = e
	c.count(e.state(), 1)
	c.notify(name, &e)
}

func (c *lockCache) remove(name types.NamespacedName) {
	if e, known := c.locks[name]; known {
		c.count(e.state(), -1)
		delete(c.locks, name)
		c.notify(name, nil)
	}
}

func (c *lockCache) notify(name types.NamespacedName, e *entry) {
	for _, s := range c.subscriptions {
		(*s)(name, e)
	}
}

// recheck notifies the subscriptions of a lock that has not changed.
func (c *lockCache) recheck(name types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, known := c.locks[name]; known {
		c.notify(name, &e)
	}
}

// subscribe calls s for each lock that the reaper may have to act on, and then for each
// change until ctx ends.
func (c *lockCache) subscribe(ctx context.Context, s subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range c.names() {
		e := c.locks[name]
		s(name, &e)
	}
	c.subscriptions = append(c.subscriptions, &s)
	context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.subscriptions = slices.DeleteFunc(c.subscriptions, func(other *subscription) bool { return other == &s })
	})
}

// names returns the sorted names of the locks that the reaper may have to act on.
func (c *lockCache) names() []types.NamespacedName {
	var names []types.NamespacedName
	for name, e := range c.locks {
		if e.active != nil || e.expiry > 0 {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, compare)
	return names
}

func compare(a, b types.NamespacedName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

// changes is the source of a controller. It enqueues the relevant locks when the controller
// starts, and then each of them that changes.
type changes struct {
	*lockCache
	relevant func(protocol.Record) bool
}

// String names the source in the controller's messages.
func (s changes) String() string { return "watch of " + s.kind.Resource().Resource }

// Start implements source.Source.
func (s changes) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	s.subscribe(ctx, func(name types.NamespacedName, e *entry) {
		if e != nil && (e.active != nil && e.active.err != nil || s.relevant(e.record())) {
			queue.Add(reconcile.Request{NamespacedName: name})
		}
	})
	return nil
}

// WaitForSync implements source.SyncingSource.
func (s changes) WaitForSync(ctx context.Context) error {
	select {
	case <-s.synced:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
