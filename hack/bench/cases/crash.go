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

package cases

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kubelock/kubelock/hack/bench/subjects"
	"github.com/kubelock/kubelock/hack/bench/worker"
)

// crash kills the process of a holder, and measures how long after the end of its lease
// somebody who waits has the lock. All subjects wait at the same time.
func crash(ctx context.Context, b *Bench) error {
	name := b.name("crash")
	names, err := b.runnable(name, without(locks, subjects.Naive)...) // Which has no leases.
	if err != nil {
		return err
	}
	workers, err := b.workers(len(names))
	if err != nil {
		return err
	}
	for range b.rounds(3) {
		late, errs := make([]time.Duration, len(names)), make([]error, len(names))
		var all sync.WaitGroup
		for i, subject := range names {
			all.Go(func() {
				if late[i], errs[i] = b.crashOf(ctx, subject, workers[i], fmt.Sprintf("crash-%d-%d", b.keys, i)); errs[i] != nil {
					errs[i] = fmt.Errorf("%s: %w", subject, errs[i])
				}
			})
		}
		all.Wait()
		b.keys++
		if err := errors.Join(errs...); err != nil {
			return err
		}
		reference := late[indexOf(names, subjects.Elector)].Seconds()
		for i, subject := range names {
			b.Results.Against(name, subject, "after the lease's end", "s", late[i].Seconds(), subjects.Elector, reference)
		}
	}
	return nil
}

func indexOf(names []string, name string) int {
	for i, n := range names {
		if n == name {
			return i
		}
	}
	return -1
}

func (b *Bench) crashOf(ctx context.Context, subject string, waiter *worker.Process, key string) (late time.Duration, err error) {
	const lease, patience = 3 * time.Second, time.Minute
	holder, err := worker.Start()
	if err != nil {
		return 0, err
	}
	killed := false
	defer func() {
		if !killed {
			err = errors.Join(err, holder.Kill())
		}
	}()
	client := worker.Client{Subject: subject, Servers: b.Servers, Keys: []string{key}, Options: subjects.Options{Lease: lease, Renew: true}}
	if err := errors.Join(holder.Open(client), waiter.Open(client)); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, waiter.Close()) }()
	if _, err := holder.Acquire(patience); err != nil {
		return 0, err
	}
	if err := waiting(ctx, []*worker.Process{waiter}, patience); err != nil {
		return 0, err
	}
	end, err := holder.End()
	if err != nil {
		return 0, err
	}
	killed = true
	if err := holder.Kill(); err != nil {
		return 0, err
	}
	next, err := waiter.Await()
	if err != nil {
		return 0, err
	}
	return next.Acquired.Since(end.End), waiter.Release()
}

// waiting lets workers begin to wait, and returns when each has asked its server.
func waiting(ctx context.Context, workers []*worker.Process, patience time.Duration) error {
	return worker.Each(workers, func(_ int, p *worker.Process) error {
		before, err := p.Counts()
		if err != nil {
			return err
		}
		if err := p.Wait(patience); err != nil {
			return err
		}
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for {
			now, err := p.Counts()
			if err != nil || now.Counts.Requests() > before.Counts.Requests() {
				return err
			}
			select {
			case <-ticker.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}
