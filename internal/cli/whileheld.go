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

package cli

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// watchAfter is how long a command runs before the plugin watches its lock: a short command
// costs no request for that.
const watchAfter = time.Second

// whileHeld returns a context that ends with held's, and also as soon as the API server shows
// that the hold is over: the object was deleted or is being deleted, or the hold was ended by
// hand. Without it the plugin would learn that at its next renewal. The caller calls stop
// when the command has ended.
func (l *lock) whileHeld(ctx, held context.Context, lockID string) (_ context.Context, stop func()) {
	during, lose := context.WithCancelCause(held)
	watching, cancel := context.WithCancel(ctx)
	look := func() {
		// What a watch shows may be old; a read is not.
		if r, err := l.read(watching); err == nil && (r.Terminating || !r.HeldBy(lockID, 0)) {
			lose(fmt.Errorf("%w: %q: %s", kubelock.ErrLost, l.key, endOf(r)))
		}
	}
	var running sync.WaitGroup
	running.Go(func() {
		timer := time.NewTimer(watchAfter)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-watching.Done():
			return
		}
		suspicious := make(chan struct{}, 1)
		suspect := func(obj any) {
			if r, err := l.kind.Decode(obj); err == nil && !r.Terminating && r.HeldBy(lockID, 0) {
				return
			}
			select {
			case suspicious <- struct{}{}:
			default: // There is a look to come already.
			}
		}
		informer := cache.NewSharedIndexInformer(l.store.Watcher(l.name, func() { suspect(nil) }), l.kind.New(), 0, cache.Indexers{})
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    suspect,
			UpdateFunc: func(_, obj any) { suspect(obj) },
			DeleteFunc: func(any) { suspect(nil) },
		})
		if err != nil {
			return // Only of an informer that has ended. The next renewal tells, too.
		}
		running.Go(func() { informer.RunWithContext(watching) })
		synced := registration.HasSyncedChecker().Done()
		for {
			select {
			case <-synced:
				synced = nil
				if len(informer.GetStore().ListKeys()) == 0 { // It had gone before the watch began.
					look()
				}
			case <-suspicious:
				look()
			case <-watching.Done():
				return
			}
		}
	})
	return during, func() {
		cancel()
		running.Wait()
		lose(nil)
	}
}

// endOf says what became of a hold that r does not show any more.
func endOf(r protocol.Record) string {
	switch {
	case !r.Exists():
		return "its object was deleted"
	case r.Terminating:
		return "its object is being deleted"
	case r.Holder != nil:
		return fmt.Sprintf("%q has it now", r.Holder.Identity)
	}
	return "it is free"
}
