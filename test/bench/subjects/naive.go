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

package subjects

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// Naive is the name of the simplest lock that uses a watch.
const Naive = "naive race"

// naive returns a lock without a queue: a release wakes every client, and every client tries.
func naive() Subject {
	return Subject{Name: Naive, Open: func(ctx context.Context, servers Servers, meter *Meter, o Options) (Client, error) {
		s, err := servers.Kubernetes.store(meter, store.DistributedLocks)
		if err != nil {
			return nil, err
		}
		// The informers outlive this call. Close ends them.
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		return &naiveClient{store: s, options: o, ctx: ctx, cancel: cancel}, nil
	}}
}

type naiveClient struct {
	store   store.Store
	options Options

	ctx       context.Context //nolint:containedctx // The context of the informers, which Close cancels.
	cancel    context.CancelFunc
	informers sync.WaitGroup
}

func (c *naiveClient) Close() error {
	c.cancel()
	c.informers.Wait()
	return nil
}

func (c *naiveClient) Lock(ctx context.Context, key string) (Lock, error) {
	id := uuid.NewString()
	l := &naiveLock{store: c.store, key: key, size: c.options.Size, versions: make(chan protocol.Record, 1),
		claim: protocol.Claim{Identity: id, Client: id, LockID: id, Duration: c.options.lease()}}
	first := text(0, l.size)
	if _, err := c.store.Create(ctx, protocol.Record{Name: key, Key: key, Value: &first}); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, err
	}
	informer := cache.NewSharedIndexInformer(c.store.Watcher(key, nil), c.store.Kind().New(), 0, cache.Indexers{})
	handler := cache.ResourceEventHandlerFuncs{AddFunc: l.saw, UpdateFunc: func(_, obj any) { l.saw(obj) }}
	if _, err := informer.AddEventHandler(handler); err != nil {
		return nil, err
	}
	c.informers.Go(func() { informer.RunWithContext(c.ctx) })
	return l, nil
}

type naiveLock struct {
	store    store.Store
	key      string
	size, n  int
	claim    protocol.Claim
	versions chan protocol.Record // the newest version seen
}

// saw records a version of the object. Only one goroutine calls it.
func (l *naiveLock) saw(obj any) {
	r, err := l.store.Kind().Decode(obj)
	if err != nil {
		return // It cannot happen: no other program writes these objects.
	}
	select {
	case <-l.versions:
	default:
	}
	l.versions <- r
}

func (l *naiveLock) now() protocol.Stamp {
	return protocol.Stamp{Time: time.Now().UTC().Truncate(time.Microsecond), Source: protocol.Server}
}

func (l *naiveLock) Acquire(ctx context.Context) (Hold, error) {
	safety := time.NewTicker(time.Second) // For a free lock whose event was missed.
	defer safety.Stop()
	for {
		var r protocol.Record
		select {
		case r = <-l.versions:
		case <-safety.C:
			var err error
			if r, err = l.store.Get(ctx, l.key); err != nil {
				return nil, err
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if r.Holder != nil {
			continue
		}
		taken, err := protocol.Take(r, l.claim, 0, l.now())
		if err != nil {
			return nil, err
		}
		taken, err = l.store.Update(ctx, taken)
		if store.OutcomeOf(err) == store.Stale {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("taking %s: %w", l.key, err)
		}
		return &naiveHold{lock: l, record: taken}, nil
	}
}

type naiveHold struct {
	unleased

	lock   *naiveLock
	record protocol.Record
}

func (h *naiveHold) Release(ctx context.Context) error {
	l := h.lock
	l.n++
	value := text(l.n, l.size)
	free, err := protocol.Release(h.record, l.claim, h.record.Holder.Token, protocol.Change{Write: true, Value: &value}, nil, l.now())
	if err != nil {
		return err
	}
	_, err = l.store.Update(ctx, free)
	return err
}
