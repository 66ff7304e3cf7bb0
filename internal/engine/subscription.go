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
	"slices"
	"sync"

	"github.com/kubelock/kubelock/internal/protocol"
)

// subscription is what one waiter gets to see of a lock.
type subscription struct {
	client *Client
	key    Key
	// signal has one element when there is something to take.
	signal chan struct{}
	// synced is closed when the watch has begun. If absent then says that there is no
	// object, it may have been deleted just before, and nothing more would be shown.
	synced <-chan struct{}
	absent func() bool

	mu      sync.Mutex // protects the fields below
	records []protocol.Record
	hint    bool
	err     error
}

// take returns what came since the last call: versions of the lock in their order;
// whether the object was deleted, in this or an earlier life of it, or something may have
// been missed, so that only a read can tell what is now; and an error that ends the wait.
func (s *subscription) take() (records []protocol.Record, hint bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	records, hint, err = s.records, s.hint, s.err
	s.records, s.hint = nil, false
	return records, hint, err
}

func (s *subscription) put(change func()) {
	s.mu.Lock()
	change()
	s.mu.Unlock()
	select {
	case s.signal <- struct{}{}:
	default: // There is a signal already.
	}
}

// OnAdd implements cache.ResourceEventHandler.
func (s *subscription) OnAdd(obj any, _ bool) { s.see(obj) }

// OnUpdate implements cache.ResourceEventHandler.
func (s *subscription) OnUpdate(_, obj any) { s.see(obj) }

// OnDelete implements cache.ResourceEventHandler.
func (s *subscription) OnDelete(any) { s.put(func() { s.hint = true }) }

func (s *subscription) see(obj any) {
	r, err := s.client.store.Kind().Decode(obj)
	if err != nil {
		s.put(func() { s.err = s.key.unusable(err) })
		return
	}
	s.show(r)
}

// mostVersions is how many versions a subscription keeps that its waiter has not taken: while its reads are refused, a watch may
// show any number of them.
const mostVersions = 16

func (s *subscription) show(r protocol.Record) {
	s.put(func() {
		if len(s.records) == mostVersions { // A read tells how the lock stands then.
			s.records, s.hint = slices.Delete(s.records, 0, 1), true
		}
		s.records = append(s.records, r)
	})
}

// watched, missed and failed implement watcher.
func (s *subscription) watched() Key { return s.key }

func (s *subscription) missed() { s.put(func() { s.hint = true }) }

func (s *subscription) failed(err error) { s.put(func() { s.err = err }) }

// subscribe shows the waiter every version of k's object from now on, through the
// client's informer for it. What a subscription shows may be late, or older than
// what the waiter has read already. The waiter calls stop when it is done.
func (w *watches) subscribe(k Key) (s *subscription, stop func(), err error) {
	s = newSubscription(w.client, k)
	kw, err := w.join(k.object, s)
	if err != nil {
		return nil, nil, err
	}
	s.synced, s.absent = kw.informer.synced, kw.informer.absent
	kw.informer.add(s)
	for _, obj := range kw.informer.objects.List() {
		s.see(obj)
	}
	return s, func() {
		kw.informer.remove(s)
		w.quit(k.object, kw, s)
	}, nil
}

func newSubscription(c *Client, k Key) *subscription {
	return &subscription{client: c, key: k, signal: make(chan struct{}, 1)}
}
