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

package kubelock

import (
	"context"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/retry"
	"github.com/kubelock/kubelock/internal/store"
)

// linger is how long a watch stays open after the last waiter has left, so that
// waiters who come and go do not open one each.
const linger = 10 * time.Second

// watches are the informers of a client: one for all locks that it holds, which
// shows what it is given while it queues, and one for each lock that somebody wants
// to see every version of. A client that never waited has none.
type watches struct {
	client  *Client
	mu      sync.Mutex // protects the fields below and what they hold
	byName  map[string]*keyWatch
	waiting map[string]*subscription // to the client's own locks, by object
}

// ownName stands in byName for the informer of the client's own locks. No object has
// it.
const ownName = ""

type keyWatch struct {
	informer cache.SharedIndexInformer
	cancel   context.CancelFunc
	users    map[*subscription]struct{}
	idle     *time.Timer // stops the informer some time after the last user left
	// denials are the denials of the watch since denied, without one that was granted.
	denials *retry.Attempts
	denied  time.Time
}

func newWatches(c *Client) *watches {
	return &watches{client: c, byName: map[string]*keyWatch{}, waiting: map[string]*subscription{}}
}

// subscription is what one waiter gets to see of a lock.
type subscription struct {
	client *Client
	key    key
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

func (s *subscription) show(r protocol.Record) {
	s.put(func() { s.records = append(s.records, r) })
}

// subscribe shows the waiter every version of k's object from now on, through the
// client's informer for it. What a subscription shows may be late, or older than
// what the waiter has read already. The waiter calls stop when it is done.
func (w *watches) subscribe(k key) (s *subscription, stop func(), err error) {
	s = newSubscription(w.client, k)
	kw, err := w.join(k.object, s)
	if err != nil {
		return nil, nil, err
	}
	registration, err := kw.informer.AddEventHandler(s)
	if err != nil { // The informer has been stopped, and only Close does that while it has users.
		w.quit(k.object, kw, s)
		return nil, nil, ErrClosed
	}
	s.synced = registration.HasSyncedChecker().Done()
	s.absent = func() bool { return len(kw.informer.GetStore().ListKeys()) == 0 }
	return s, func() {
		_ = kw.informer.RemoveEventHandler(registration) // Fails only for a handler of another informer.
		w.quit(k.object, kw, s)
	}, nil
}

// own shows the waiter the versions of k's object that this client holds. What came
// before may be shown, too; that the client holds it no more is not. There can be one
// such subscription to a lock, for whoever has the client's turn.
func (w *watches) own(k key) (s *subscription, stop func(), err error) {
	s = newSubscription(w.client, k)
	kw, err := w.join(ownName, s)
	if err != nil {
		return nil, nil, err
	}
	w.mu.Lock()
	w.waiting[k.object] = s
	w.mu.Unlock()
	if r, ok := w.newest(k); ok { // It may have come before.
		s.show(r)
	}
	return s, func() {
		w.mu.Lock()
		if w.waiting[k.object] == s {
			delete(w.waiting, k.object)
		}
		w.mu.Unlock()
		w.quit(ownName, kw, s)
	}, nil
}

// newest returns the newest version of k's object that an informer has seen, if one has:
// that of the client's own locks, or that of the object.
func (w *watches) newest(k key) (protocol.Record, bool) {
	w.mu.Lock()
	kw := w.byName[ownName]
	if kw == nil {
		kw = w.byName[k.object]
	}
	w.mu.Unlock()
	if kw == nil {
		return protocol.Record{}, false
	}
	obj, ok, err := kw.informer.GetStore().GetByKey(w.client.namespace + "/" + k.object)
	if err != nil || !ok {
		return protocol.Record{}, false
	}
	r, err := w.client.store.Kind().Decode(obj)
	return r, err == nil
}

// ownHandler passes on what the informer of the client's own locks shows.
type ownHandler struct{ *watches }

// OnAdd implements cache.ResourceEventHandler.
func (w ownHandler) OnAdd(obj any, _ bool) { w.shown(obj) }

// OnUpdate implements cache.ResourceEventHandler.
func (w ownHandler) OnUpdate(_, obj any) { w.shown(obj) }

// OnDelete implements cache.ResourceEventHandler. That the client does not hold the lock
// any more says nothing to its waiters. A holder that has not released it has lost it.
func (w ownHandler) OnDelete(obj any) {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	if r, err := w.client.store.Kind().Decode(obj); err == nil {
		w.client.vanished(r)
	}
}

func (w ownHandler) shown(obj any) {
	r, err := w.client.store.Kind().Decode(obj)
	if err != nil {
		w.client.log.Error(err, "Got something else than a lock from a watch")
		return
	}
	w.mu.Lock()
	s := w.waiting[r.Name]
	w.mu.Unlock()
	if s != nil {
		s.show(r)
	}
	w.client.shown(r)
}

func newSubscription(c *Client, k key) *subscription {
	return &subscription{client: c, key: k, signal: make(chan struct{}, 1)}
}

func (w *watches) join(name string, s *subscription) (*keyWatch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	kw := w.byName[name]
	if kw == nil {
		var err error
		if kw, err = w.open(name); err != nil {
			return nil, err
		}
		w.byName[name] = kw
	}
	if kw.idle != nil {
		kw.idle.Stop()
		kw.idle = nil
	}
	kw.users[s] = struct{}{}
	return kw, nil
}

// open starts the informer of that name. It needs w.mu.
func (w *watches) open(name string) (*keyWatch, error) {
	c := w.client
	ctx, cancel := context.WithCancel(c.ctx)
	kw := &keyWatch{cancel: cancel, users: map[*subscription]struct{}{}}
	gap := func() { w.missed(kw) }
	source := c.store.HeldBy(c.id, gap)
	if name != ownName {
		source = c.store.Watcher(name, gap)
	}
	kw.informer = cache.NewSharedIndexInformer(source, c.store.Kind().New(), 0, cache.Indexers{})
	err := kw.informer.SetWatchErrorHandlerWithContext(func(_ context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			w.report(kw, err)
		}
	})
	if err == nil && name == ownName {
		_, err = kw.informer.AddEventHandler(ownHandler{w})
	}
	if err == nil && !c.start(func() { kw.informer.RunWithContext(ctx) }) {
		err = ErrClosed
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return kw, nil
}

// report tells the waiters of an error that will not go away by itself. After any
// other the informer tries again, and meanwhile the waiters' own timers make sure
// that nothing is missed for long.
func (w *watches) report(kw *keyWatch, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kw.denials == nil || w.client.access.watched().After(kw.denied) {
		kw.denials, kw.denied = w.client.attempts(), w.client.now()
	}
	if outcome := store.OutcomeOf(err); outcome != store.Denied && !apierrors.IsForbidden(err) || kw.denials.Wrote(err) != store.Rejected {
		w.client.log.V(1).Info("A watch ended, will open it again", "err", err)
		return
	}
	for s := range kw.users {
		s.put(func() { s.err = w.client.explain("list and watch", s.key, err) })
	}
}

// missed tells the waiters that something may have happened that the watch did not show. Each
// of them reads, one after the other.
func (w *watches) missed(kw *keyWatch) {
	const apart = 5 * time.Millisecond
	w.mu.Lock()
	defer w.mu.Unlock()
	var after time.Duration
	for s := range kw.users {
		if after == 0 {
			s.put(func() { s.hint = true })
		} else {
			time.AfterFunc(after, func() { s.put(func() { s.hint = true }) })
		}
		after += apart
	}
}

func (w *watches) quit(name string, kw *keyWatch, s *subscription) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(kw.users, s)
	if len(kw.users) > 0 {
		return
	}
	var idle *time.Timer
	idle = time.AfterFunc(linger, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if kw.idle == idle { // Nobody has come meanwhile.
			delete(w.byName, name)
			kw.cancel()
		}
	})
	kw.idle = idle
}
