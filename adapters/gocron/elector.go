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

package gocron

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// ErrNotLeader is what Elector.IsLeader returns on a replica that does not lead. It Is
// kubelock.ErrNotAcquired.
var ErrNotLeader = fmt.Errorf("another replica leads: %w", kubelock.ErrNotAcquired)

// Elector is a gocron.Elector. Of all schedulers that have an Elector with the same key, only the leader runs
// jobs. Use it with gocron.WithDistributedElector. It is safe for concurrent use.
type Elector struct {
	lock    *kubelock.Lock[struct{}]
	options []kubelock.Option
	term    atomic.Pointer[kubelock.Held[struct{}]]
}

// NewElector returns an Elector for the lock of key. opts are the options of each term: kubelock.WithDuration
// says how long the other replicas wait if the leader dies. NewElector does no I/O. Run returns an error if
// client, key or opts are wrong.
func NewElector(client *kubelock.Client, key string, opts ...kubelock.Option) *Elector {
	return &Elector{lock: kubelock.NewLock[struct{}](client, key), options: opts}
}

// Run campaigns for the lock until ctx ends, and leads while it holds the lock. It calls kubelock.Lock.Lead and
// returns its errors. Without Run this replica never leads. Call it once, beside the scheduler.
//
// To stop a replica, first shut down its scheduler, which waits for the jobs, and then end ctx. Otherwise the
// next leader may begin while a job still runs here.
func (e *Elector) Run(ctx context.Context) error {
	return e.lock.Lead(ctx, func(ctx context.Context, held *kubelock.Held[struct{}]) error {
		e.term.Store(held)
		<-ctx.Done()
		e.term.Store(nil)
		return ctx.Err()
	}, e.options...)
}

// IsLeader implements gocron.Elector. It returns nil on the replica that leads, and ErrNotLeader on the others. A
// replica whose lease has ended does not lead any more. IsLeader sends no request.
func (e *Elector) IsLeader(context.Context) error {
	if e.Held().Context().Err() != nil {
		return ErrNotLeader
	}
	return nil
}

// Held returns the hold of this replica's term. It has the fencing token of the term, and a context that ends if
// the lock is lost. If this replica does not lead, Held returns nil, which is valid and stands for a hold that has
// ended. A job must not release the hold.
func (e *Elector) Held() *kubelock.Held[struct{}] { return e.term.Load() }
