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
	"time"

	"github.com/kubelock/kubelock/hack/bench/report"
	"github.com/kubelock/kubelock/hack/bench/subjects"
	"github.com/kubelock/kubelock/hack/bench/worker"
)

// held is how many locks a client keeps at once.
var held = []int{1, 10, 100, 1000}

// holds measures what locks cost that are renewed in the background, for longer than
// their lease.
func holds(ctx context.Context, b *Bench) error {
	kinds := []string{subjects.DistributedLocks, subjects.Leases, subjects.ConfigMaps}
	if b.Quick {
		kinds = kinds[:1]
	}
	for _, kind := range kinds {
		if err := b.holdsOf(ctx, subjects.KubelockOn(kind)); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	return nil
}

// holdsOf lets a process of its own keep each number of locks, all of them at once.
func (b *Bench) holdsOf(ctx context.Context, subject string) (err error) {
	lease := b.lasts(12 * time.Second)
	workers := make([]*worker.Process, len(held))
	for i, n := range held {
		if workers[i], err = worker.Start(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, workers[i].Stop()) }()
		if err := workers[i].Open(worker.Client{
			Subject: subject, Servers: b.Servers, Keys: b.keysFor(n), Callers: min(n, 8), Options: subjects.Options{Lease: lease, Renew: true},
		}); err != nil {
			return err
		}
	}
	if err := worker.Each(workers, func(_ int, p *worker.Process) error {
		_, err := p.Acquire(time.Minute)
		return err
	}); err != nil {
		return err
	}
	ask := func() ([]worker.Answer, error) {
		answers := make([]worker.Answer, len(workers))
		return answers, worker.Each(workers, func(i int, p *worker.Process) (err error) {
			answers[i], err = p.Stats()
			return err
		})
	}
	before, err := ask()
	if err != nil {
		return err
	}
	from := worker.Now()
	stay(ctx, lease+time.Second)
	took := worker.Now().Since(from).Seconds()
	after, err := ask()
	if err != nil {
		return err
	}
	one := after[0]
	for i, n := range held {
		a, name := after[i], b.name("%s", holdsCase(n))
		if a.Held != n {
			return fmt.Errorf("%d locks are held, not %d", a.Held, n)
		}
		if n > 1 {
			b.Results.Add(name, subject, memoryAHold, "KB", (float64(a.Heap)-float64(one.Heap))/1000/float64(n-1))
		}
		b.Results.Add(name, subject, "memory", "MB", float64(a.Heap)/1e6)
		b.Results.Add(name, subject, "CPU", "% of a core", 100*(a.CPU-before[i].CPU).Seconds()/took)
		b.Results.Add(name, subject, "requests", "/s", float64(a.Counts.Minus(before[i].Counts).Requests())/took)
		b.Results.Add(name, subject, "renewals lost", "", float64(a.Lost))
	}
	return nil
}

func holdsCase(n int) string { return fmt.Sprintf("holds-%d", n) }

// HoldsPlots show what a client costs as it keeps more locks.
func HoldsPlots() []report.Series {
	named := map[int]string{}
	for _, n := range held {
		named[n] = holdsCase(n)
	}
	return []report.Series{
		{File: "holds-memory", Title: "Memory of a client that renews its locks", X: "locks", Y: "MB", Cases: named, Metric: "memory"},
		{File: "holds-cpu", Title: "CPU of a client that renews its locks", X: "locks", Y: "% of a core", Cases: named, Metric: "CPU"},
	}
}
