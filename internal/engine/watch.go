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
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/retry"
	"github.com/kubelock/kubelock/internal/session"
	"github.com/kubelock/kubelock/internal/store"
)

// linger is how long a watch stays open after the last waiter has left, so that
// waiters who come and go do not open one each.
const linger = 10 * time.Second

// watches are the informers of a client: one for all locks that it holds, which
// shows what it is given while it queues, and one for each lock of which a
// session, or a call of Wait, wants to see every version. A client that never waited has none.
type watches struct {
	client *Client
	mu     sync.Mutex // protects the fields below and what they hold
	byName map[string]*keyWatch
}

// watcher learns what its watch does not show.
type watcher interface {
	watched() Key
	// missed says that something may have happened that the watch has not shown.
	missed()
	// failed says that there can be no watch.
	failed(err error)
}

// ownName stands in byName for the informer of the client's own locks. No object has
// it.
const ownName = ""

type keyWatch struct {
	informer *informer
	cancel   context.CancelFunc
	ended    <-chan struct{} // is closed when it is stopped
	users    map[watcher]struct{}
	shown    *driver     // whose session is shown what it shows; under that driver's mutex
	idle     *time.Timer // stops the informer some time after the last user left
	// denials are the denials of the watch since denied, without one that was granted.
	denials *retry.Attempts
	denied  time.Time
}

func newWatches(c *Client) *watches {
	return &watches{client: c, byName: map[string]*keyWatch{}}
}

// follow shows a driver's session the versions of its lock from now on: each of them if lock is set, and
// otherwise those that this client holds. The driver calls stop when it is done.
func (w *watches) follow(d *driver, lock bool) (stop func(), err error) {
	if !lock { // Each session is shown what there is in the informer of the client's own locks.
		kw, err := w.join(ownName, d)
		if err != nil {
			return nil, err
		}
		return func() { w.quit(ownName, kw, d) }, nil
	}
	kw, err := w.join(d.key.object, d)
	if err != nil {
		return nil, err
	}
	if err := w.show(kw, d); err != nil {
		w.quit(d.key.object, kw, d)
		return nil, err
	}
	return func() { w.quit(d.key.object, kw, d) }, nil
}

// show shows a driver's session what an informer of its lock shows, as long as that runs: what a holder
// sees of those that queue behind it is of use. It needs the driver's mutex.
func (w *watches) show(kw *keyWatch, d *driver) error {
	i, before := kw.informer, kw.shown
	if before != d {
		if before != nil { // A driver that was forgotten.
			i.remove(driverHandler{before})
		}
		kw.shown = d
		i.add(driverHandler{d})
		for _, obj := range i.objects.List() {
			d.queue = append(d.queue, d.shows(obj))
		}
	}
	// Where there is no object, it may have been deleted just before, and nothing more would be shown.
	select {
	case <-i.synced:
		if i.absent() {
			d.queue = append(d.queue, session.Event{Kind: session.Missed})
		}
		return nil
	default:
	}
	if before == d { // It is waited for already.
		return nil
	}
	started := w.client.start(func() {
		select {
		case <-i.synced:
			if i.absent() {
				d.missed()
			}
		case <-kw.ended:
		}
	})
	if !started {
		return ErrClosed
	}
	return nil
}

func (w *watches) join(name string, s watcher) (*keyWatch, error) {
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
	kw := &keyWatch{cancel: cancel, ended: ctx.Done(), users: map[watcher]struct{}{}}
	gap := func() { w.missed(kw) }
	source := c.store.HeldBy(c.id, gap)
	if name != ownName {
		source = c.store.Watcher(name, gap)
	}
	kw.informer = newInformer(source, c.store.Kind().New(), func(_ context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			w.report(kw, err)
		}
	})
	if name == ownName {
		kw.informer.add(ownHandler{w})
	}
	if !c.start(func() { kw.informer.RunWithContext(ctx) }) {
		cancel()
		return nil, ErrClosed
	}
	return kw, nil
}

// report tells the waiters of an error that will not go away by itself. After any
// other the informer tries again, and meanwhile the waiters' own timers make sure
// that nothing is missed for long.
func (w *watches) report(kw *keyWatch, err error) {
	if !w.believed(kw, err) {
		w.client.Log.V(1).Info("A watch ended, will open it again", "err", err)
		return
	}
	for _, s := range w.usersOf(kw) {
		s.failed(w.client.explain("list and watch", s.watched(), err))
	}
}

// believed reports whether err is a denial that was doubted for long enough.
func (w *watches) believed(kw *keyWatch, err error) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if kw.denials == nil || w.client.access.watched().After(kw.denied) {
		kw.denials, kw.denied = retry.New(w.client.now, w.client.access), w.client.now()
	}
	outcome := store.OutcomeOf(err)
	return (outcome == store.Denied || apierrors.IsForbidden(err)) && kw.denials.Wrote(err) == store.Rejected
}

func (w *watches) usersOf(kw *keyWatch) []watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Keys(kw.users))
}

// missed tells the waiters that something may have happened that the watch did not show. Each
// of them reads, one after the other.
func (w *watches) missed(kw *keyWatch) {
	const apart = 5 * time.Millisecond
	for i, s := range w.usersOf(kw) {
		if i == 0 {
			s.missed()
		} else {
			time.AfterFunc(time.Duration(i)*apart, s.missed)
		}
	}
}

func (w *watches) quit(name string, kw *keyWatch, s watcher) {
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
		if kw.idle == idle { // No user has come meanwhile.
			delete(w.byName, name)
			kw.cancel()
		}
	})
	kw.idle = idle
}
