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

	"github.com/kubelock/kubelock/test/bench/subjects"
	"github.com/kubelock/kubelock/test/bench/worker"
)

// crash kills the process of a holder, and measures how long after the end of its lease a waiter has
// the lock. Then it kills the process of the first waiter, and measures how long after the release the
// next waiter has the lock. It measures all subjects at the same time, and repeats both with a reaper
// for kubelock only. A quick run has only the first part.
func crash(ctx context.Context, b *Bench) error {
	leased, own := without(locks, subjects.Naive), locks[:3] // The naive race has no leases.
	if err := b.crashes(ctx, b.name("crash"), leased, b.crashOfHolder); err != nil || b.Quick {
		return err
	}
	if err := b.crashes(ctx, b.name("crash-of-next"), own, b.crashOfNext); err != nil {
		return err
	}
	stop, err := b.StartReaper(ctx)
	if err != nil {
		return err
	}
	return errors.Join(
		b.crashes(ctx, b.name("crash-reaper"), own, b.crashOfHolder),
		b.crashes(ctx, b.name("crash-of-next-reaper"), own, b.crashOfNext),
		stop(),
	)
}

// crashScene makes a subject's client crash, and returns how late another client has the lock.
type crashScene func(ctx context.Context, subject string, waiter *worker.Process, key string) (metric string, late time.Duration, err error)

func (b *Bench) crashes(ctx context.Context, name string, wanted []string, scene crashScene) error {
	names, err := b.runnable(name, wanted...)
	if err != nil {
		return err
	}
	workers, err := b.workers(len(names))
	if err != nil {
		return err
	}
	for range b.rounds(2) {
		late, metrics, errs := make([]time.Duration, len(names)), make([]string, len(names)), make([]error, len(names))
		var all sync.WaitGroup
		for i, subject := range names {
			all.Go(func() {
				if metrics[i], late[i], errs[i] = scene(ctx, subject, workers[i], fmt.Sprintf("crash-%d-%d", b.keys, i)); errs[i] != nil {
					errs[i] = fmt.Errorf("%s: %w", subject, errs[i])
				}
			})
		}
		all.Wait()
		b.keys++
		if err := errors.Join(errs...); err != nil {
			return err
		}
		reference := 0.0 // No reference.
		if i := indexOf(names, subjects.Elector); i >= 0 {
			reference = late[i].Seconds()
		}
		for i, subject := range names {
			b.Results.Against(name, subject, metrics[i], "s", late[i].Seconds(), subjects.Elector, reference)
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

const (
	crashLease    = 3 * time.Second
	crashAfter    = crashLease * 5 / 6 // how long the holder renews its lease
	crashPatience = time.Minute
)

func (b *Bench) crashOfHolder(ctx context.Context, subject string, waiter *worker.Process, key string) (_ string, late time.Duration, err error) {
	client := worker.Client{Subject: subject, Servers: b.Servers, Keys: []string{key}, Options: subjects.Options{Lease: crashLease, Renew: true}}
	holder, stop, err := mortal(client)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, stop()) }()
	if err := waiter.Open(client); err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, waiter.Close()) }()
	if _, err := holder.Acquire(crashPatience); err != nil {
		return "", 0, err
	}
	if err := waiting(ctx, []*worker.Process{waiter}, crashPatience); err != nil {
		return "", 0, err
	}
	stay(ctx, crashAfter)
	end, err := holder.End()
	if err != nil {
		return "", 0, err
	}
	if err := stop(); err != nil {
		return "", 0, err
	}
	next, err := waiter.Await()
	if err != nil {
		return "", 0, err
	}
	return "after the lease's end", next.Acquired.Since(end.End), waiter.Release()
}

func (b *Bench) crashOfNext(ctx context.Context, subject string, waiter *worker.Process, key string) (_ string, late time.Duration, err error) {
	client := worker.Client{Subject: subject, Servers: b.Servers, Keys: []string{key}, Options: subjects.Options{Lease: 30 * time.Second, Renew: true}} // Longer than the grace.
	holder, stopHolder, err := mortal(client)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, stopHolder()) }()
	first, stopFirst, err := mortal(client)
	if err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, stopFirst()) }()
	if err := waiter.Open(client); err != nil {
		return "", 0, err
	}
	defer func() { err = errors.Join(err, waiter.Close()) }()
	if _, err := holder.Acquire(crashPatience); err != nil {
		return "", 0, err
	}
	for _, p := range []*worker.Process{first, waiter} {
		if err := begin(ctx, p, crashPatience, func(c subjects.Counts) int64 { return c.Writes }); err != nil { // The write that queues it.
			return "", 0, err
		}
	}
	if err := stopFirst(); err != nil {
		return "", 0, err
	}
	released := worker.Now()
	if err := holder.Release(); err != nil {
		return "", 0, err
	}
	next, err := waiter.Await()
	if err != nil {
		return "", 0, err
	}
	return "after the release", next.Acquired.Since(released), waiter.Release()
}

// mortal starts a process, opens a client in it, and returns how to kill the process.
func mortal(c worker.Client) (p *worker.Process, kill func() error, err error) {
	if p, err = worker.Start(); err != nil {
		return nil, nil, err
	}
	kill = sync.OnceValue(p.Kill)
	if err := p.Open(c); err != nil {
		return nil, nil, errors.Join(err, kill())
	}
	return p, kill, nil
}

// waiting makes workers wait for their lock, and returns when each has sent a request.
func waiting(ctx context.Context, workers []*worker.Process, patience time.Duration) error {
	return worker.Each(workers, func(_ int, p *worker.Process) error { return begin(ctx, p, patience, subjects.Counts.Requests) })
}

// begin makes a worker wait for its lock, and returns when the count that is selected by of has grown.
func begin(ctx context.Context, p *worker.Process, patience time.Duration, of func(subjects.Counts) int64) error {
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
		if err != nil || of(now.Counts) > of(before.Counts) {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
