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

// lockCache is what a reaper knows of the locks of one kind. An informer would keep each
// object as it is, several hundred bytes of it. Most of many locks are in nobody's use, and
// what there is to know of one is when it may be deleted; so no more is kept. States are
// not kept of any.
type lockCache struct {
	kind  store.Kind
	judge func() protocol.Judge

	mu    sync.Mutex // protects the fields below
	locks map[types.NamespacedName]entry
	// unsynced are the namespaces whose locks have not been listed yet; synced is closed
	// when there are none left.
	unsynced map[string]bool
	synced   chan struct{}
	// subscriptions are told of each lock that concerns them when it changes.
	subscriptions []*subscription
	counts        map[string]int // locks by state
	counting      bool           // as kubelock_reaper_locks
}

// entry is what is known of one lock: of an idle one, of which the API server's time
// tells when it may be deleted, the first two fields, else the third.
type entry struct {
	free   int64         // since when it has been free, in Unix nanoseconds
	expiry time.Duration // its objectExpiry; 0 if it is kept for ever
	active *active
}

// active is a lock that is held, waited for, judged by observation, or cannot be read.
type active struct {
	lock protocol.Record // without its state and object
	seen protocol.Observation
	err  error // why it cannot be read
}

type subscription struct {
	queue    workqueue.TypedInterface[reconcile.Request]
	concerns func(protocol.Record) bool
}

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

// get returns a lock as it was last seen, without its state and object, and since when it
// has been seen like that. The error says that it cannot be read; ok is false if there
// is none.
func (c *lockCache) get(name types.NamespacedName) (lock protocol.Record, seen protocol.Observation, ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.locks[name]
	if ok && e.active != nil {
		return e.active.lock, e.active.seen, true, e.active.err
	}
	return e.record(), protocol.Observation{}, ok, nil
}

// record is the lock as far as it is known.
func (e entry) record() protocol.Record {
	if e.active != nil {
		return e.active.lock
	}
	return protocol.Record{
		ObjectExpiry: e.expiry,
		LastRelease:  &protocol.LastRelease{Time: time.Unix(0, e.free), Source: protocol.Server},
	}
}

// set notes a lock as it is now.
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
	c.tell(name, e)
}

func (c *lockCache) remove(name types.NamespacedName) {
	if e, known := c.locks[name]; known {
		c.count(e.state(), -1)
		delete(c.locks, name)
	}
}

func (c *lockCache) tell(name types.NamespacedName, e entry) {
	for _, s := range c.subscriptions {
		s.tell(name, e)
	}
}

func (s *subscription) tell(name types.NamespacedName, e entry) {
	if e.active != nil && e.active.err != nil || s.concerns(e.record()) {
		s.queue.Add(reconcile.Request{NamespacedName: name})
	}
}

// names are those of all locks that may concern somebody, in order.
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

// changes is the source of a controller: the locks that concern it as they are when it
// begins, and whenever they change.
type changes struct {
	*lockCache
	concerns func(protocol.Record) bool
}

// Start implements source.Source.
func (s changes) Start(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
	sub := &subscription{queue: queue, concerns: s.concerns}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range s.names() {
		sub.tell(name, s.locks[name])
	}
	s.subscriptions = append(s.subscriptions, sub)
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.subscriptions = slices.DeleteFunc(s.subscriptions, func(other *subscription) bool { return other == sub })
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
