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
	"errors"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/retry"
	"github.com/kubelock/kubelock/internal/session"
	"github.com/kubelock/kubelock/internal/store"
)

// perform sends one request, and says how it ended.
func (d *driver) perform(ctx context.Context, r *session.Request) session.Answered {
	c, sent := d.client, d.client.now()
	var record protocol.Record
	var err error
	switch r.Kind {
	case session.Read:
		record, err = c.fetch(ctx, d.key, sent)
	case session.Ask:
		err = c.asker.Ask(ctx)
	case session.Write:
		to := r.To
		if !to.Exists() {
			to = store.WithMetadata(c.Kind, to, c.Labels, c.Annotations)
		}
		record, err = store.Write(ctx, c.store, to)
	case session.Amend:
		record, err = c.store.Amend(ctx, r.From, r.To)
	case session.Enqueue:
		if record, err = c.store.Enqueue(ctx, r.From, r.Entry, r.Exact); err == nil {
			c.metrics.queue.Observe(float64(len(record.Waiters) - 1))
		}
	case session.Dequeue:
		record, err = c.store.Dequeue(ctx, r.From, r.Place)
	case session.Delete:
		record, err = c.store.Delete(ctx, r.From)
	}
	a := session.Answered{Request: r.ID, Record: record, Reply: retry.ReplyOf(err)}
	if r.Kind != session.Read && r.Kind != session.Ask {
		c.told(record, err, sent)
	}
	if err == nil {
		d.notePlace(record)
		return a
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.conns.suspect(sent)
	}
	a.Err = err
	switch {
	case errors.Is(err, ErrInvalidKey):
		a.Outcome = protocol.Rejected
		return a
	case r.Kind == session.Ask:
		c.Log.V(1).Info("Could not ask the API server for its time, will go by what is seen of a lock", "lock", d.key.object, "err", err)
		return a
	case a.Outcome == protocol.Stale && r.Kind != session.Read:
		c.metrics.conflicts.Inc()
	case a.Outcome == protocol.Denied:
		a.Doubted, a.HolderDoubts = c.access.Doubts(err), accessOfHolder{c.access}.Doubts(err)
	}
	a.QueueFull = store.QueueFull(err)
	a.Err = c.explain(verb(r), d.key, err)
	c.Log.V(1).Info("A request for a lock failed", "key", d.key.name, "verb", verb(r), "err", err)
	return a
}

// notePlace keeps this client's place in the queue for a trace, if it has one.
func (d *driver) notePlace(r protocol.Record) {
	if d.client.tracing == nil {
		return
	}
	place := r.Place(func(lockID string) bool { return protocol.Waiter{LockID: lockID}.Client() == d.client.id })
	switch queues := place < len(r.Waiters); {
	case queues && d.place.Load() == 0:
		d.place.Store(int32(place + 1)) //nolint:gosec // Queues are short.
	case !queues && (r.Holder == nil || r.Holder.Client != d.client.id): // It has left the queue without the lock.
		d.place.Store(0)
	}
}

// verb is the Kubernetes verb of a request, or that of most requests which do this.
func verb(r *session.Request) string {
	switch {
	case r.Kind == session.Read:
		return verbGet
	case r.Kind == session.Write && !r.To.Exists():
		return "create"
	case r.Kind == session.Delete:
		return "delete"
	case r.Kind == session.Write, r.Kind == session.Amend && r.Closing:
		return "update"
	}
	return "patch"
}
