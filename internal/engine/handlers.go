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
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// driverHandler tells a driver's session what an informer of its lock shows.
type driverHandler struct{ *driver }

// OnAdd implements cache.ResourceEventHandler.
func (d driverHandler) OnAdd(obj any, _ bool) { d.see(obj) }

// OnUpdate implements cache.ResourceEventHandler.
func (d driverHandler) OnUpdate(_, obj any) { d.see(obj) }

// OnDelete implements cache.ResourceEventHandler.
func (d driverHandler) OnDelete(any) { d.missed() }

func (d driverHandler) see(obj any) { d.post(d.shows(obj)) }

// shows is the event by which the session learns of an object that the watch of its lock shows.
func (d *driver) shows(obj any) session.Event {
	r, err := d.client.store.Kind().Decode(obj)
	if err == nil {
		err = d.key.check(r)
	}
	if err != nil {
		return session.Event{Kind: session.WatchLost, Err: d.key.unusable(err)}
	}
	return session.Event{Kind: session.Shown, Record: r}
}

// missed tells the session that something may have happened which no watch has shown.
func (d *driver) missed() { d.post(session.Event{Kind: session.Missed}) }

// failed tells the session that there can be no watch.
func (d *driver) failed(err error) { d.post(session.Event{Kind: session.WatchLost, Err: err}) }

// watched is the key of the lock that is to be watched.
func (d *driver) watched() Key { return d.key }

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
		w.tell(r, session.Vanished)
	}
}

func (w ownHandler) shown(obj any) {
	r, err := w.client.store.Kind().Decode(obj)
	if err != nil {
		w.client.Log.Error(err, "Got something else than a lock from a watch")
		return
	}
	w.tell(r, session.Shown)
}

// tell tells the session of a lock what the watch of the client's own locks shows. There is one at least
// where the client has the lock and no call knows of that.
func (w *watches) tell(r protocol.Record, kind session.EventKind) {
	c := w.client
	k, err := NewKey(r.Key)
	if err != nil || k.object != r.Name { // It is made by hand, and says nothing of the lock whose key it has.
		c.Log.V(1).Info("The object of another key has this client's label", "key", r.Key, "object", r.Name)
		return
	}
	d := c.drivers.driver(k, kind == session.Shown && r.Holder != nil && r.Holder.Client == c.id)
	if d == nil {
		return
	}
	defer c.drivers.leave(d)
	d.post(session.Event{Kind: kind, Record: r})
}
