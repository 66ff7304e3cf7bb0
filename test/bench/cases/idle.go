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
	"math"
	"slices"
	"time"

	"github.com/kubelock/kubelock/test/bench/subjects"
	"github.com/kubelock/kubelock/test/bench/worker"
)

// idle measures the cost of 100 clients that wait for a lock while another client holds and renews it.
// redislock polls as often as redsync.
func idle(ctx context.Context, b *Bench) error {
	waiters := 100
	if b.Quick {
		waiters = 20
	}
	name := b.name("idle-%d", waiters)
	names, err := b.runnable(name, without(locks, subjects.KubelockOn(subjects.Leases), subjects.KubelockOn(subjects.ConfigMaps), subjects.Redislock)...)
	if err != nil {
		return err
	}
	for _, subject := range names {
		if err := b.idleOf(ctx, name, subject, waiters); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bench) idleOf(ctx context.Context, name, subject string, n int) (err error) {
	const fresh = 5 // new processes, whose memory is measured: earlier cases have left nothing in them
	pool, err := b.workers(n + 1 - fresh)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, worker.Each(pool, func(_ int, p *worker.Process) error { return p.Close() }))
	}()
	var weighed []*worker.Process
	for range fresh {
		p, err := worker.Start()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.Stop()) }() //nolint:gocritic // The workers run until the case ends.
		weighed = append(weighed, p)
	}
	workers := slices.Concat(pool, weighed)
	client := worker.Client{Subject: subject, Servers: b.Servers, Keys: b.keysFor(1), Options: subjects.Options{Lease: b.lasts(6 * time.Second), Renew: true}}
	if subject == subjects.Redsync || subject == subjects.Redislock {
		client.Options.Lease = time.Minute // The waiting clients do not renew.
	}
	if err := worker.Each(workers, func(_ int, p *worker.Process) error { return p.Open(client) }); err != nil {
		return err
	}
	holder, waiters := workers[0], workers[1:]
	if _, err := holder.Acquire(time.Minute); err != nil {
		return err
	}
	before, err := sum(weighed, (*worker.Process).Stats)
	if err != nil {
		return err
	}
	if err := waiting(ctx, waiters, 10*time.Minute); err != nil {
		return err
	}
	during := b.lasts(6 * time.Second)
	start, err := queued(ctx, waiters, during*2/3)
	if err != nil {
		return err
	}
	from := worker.Now()
	stay(ctx, during)
	end, err := sum(waiters, (*worker.Process).Counts)
	if err != nil {
		return err
	}
	took := worker.Now().Since(from).Seconds()
	after, err := sum(weighed, (*worker.Process).Stats)
	if err != nil {
		return err
	}
	spent := end.Counts.Minus(start.Counts)
	b.Results.Add(name, subject, "requests", "/s", float64(spent.Requests())/took)
	b.Results.Add(name, subject, "watch bytes", "B/s", float64(spent.WatchBytes)/took)
	b.Results.Add(name, subject, "memory a waiter", "KB", (float64(after.Heap)-float64(before.Heap))/1000/fresh)
	b.Results.Add(name, subject, "resident memory of its process", "MB", float64(after.RSS)/1e6/fresh)
	return nil
}

// sum asks each worker, and returns the sum of their answers.
func sum(workers []*worker.Process, ask func(*worker.Process) (worker.Answer, error)) (sum worker.Answer, err error) {
	answers := make([]worker.Answer, len(workers))
	err = worker.Each(workers, func(i int, p *worker.Process) (err error) {
		answers[i], err = ask(p)
		return err
	})
	for _, a := range answers {
		sum.Counts, sum.Heap, sum.RSS = sum.Counts.Plus(a.Counts), sum.Heap+a.Heap, sum.RSS+a.RSS
	}
	return sum, err
}

// stay waits for d, or until ctx ends.
func stay(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// queued waits until all waiters are in the queue, and returns their counts then. 100 clients need
// seconds for that. It returns as soon as one of these is true:
//
//   - no waiter has written anything for the time quiet
//   - from the third such time on: the waiters write no less than in the one before, as their subject
//     polls by writing
//   - four times quiet have passed
func queued(ctx context.Context, waiters []*worker.Process, quiet time.Duration) (worker.Answer, error) {
	now, err := sum(waiters, (*worker.Process).Counts)
	last := int64(math.MaxInt64)
	for i := range 4 {
		if err != nil {
			break
		}
		before := now.Counts.Writes
		stay(ctx, quiet)
		now, err = sum(waiters, (*worker.Process).Counts)
		written := now.Counts.Writes - before
		if written == 0 || i > 1 && written >= last {
			break
		}
		last = written
	}
	return now, err
}
