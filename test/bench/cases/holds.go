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

	"github.com/kubelock/kubelock/test/bench/report"
	"github.com/kubelock/kubelock/test/bench/subjects"
	"github.com/kubelock/kubelock/test/bench/worker"
)

// keeper is a client that holds many locks at once.
type keeper struct {
	kind  string
	locks int
}

// keepers returns the clients of the case. They run at the same time, each in a process of its own.
// The client with one lock shows the cost of a client itself.
func (b *Bench) keepers() []keeper {
	many := 1000
	if b.Quick {
		many = 150
	}
	all := []keeper{{subjects.DistributedLocks, 1}, {subjects.DistributedLocks, 10}, {subjects.DistributedLocks, 100}, {subjects.DistributedLocks, many}}
	if !b.Quick {
		all = append(all, keeper{subjects.Leases, 1}, keeper{subjects.Leases, 100}, keeper{subjects.ConfigMaps, 1}, keeper{subjects.ConfigMaps, 100})
	}
	return all
}

// holds measures the cost of locks that clients renew in the background, for longer than their lease.
func holds(ctx context.Context, b *Bench) (err error) {
	lease := 30 * time.Second // The library's default.
	if b.Quick {
		lease = 5 * time.Second
	}
	keepers := b.keepers()
	workers := make([]*worker.Process, len(keepers))
	for i, k := range keepers {
		if workers[i], err = worker.Start(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, workers[i].Stop()) }() //nolint:gocritic // The workers run until the case ends.
		if err := workers[i].Open(worker.Client{
			Subject: subjects.KubelockOn(k.kind), Servers: b.Servers, Keys: b.keysFor(k.locks), Callers: min(k.locks, 8),
			Options: subjects.Options{Lease: lease, Renew: true},
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
	var one worker.Answer
	for i, k := range keepers {
		a, name, subject := after[i], b.name("%s", holdsCase(k.locks)), subjects.KubelockOn(k.kind)
		if a.Held != k.locks {
			return fmt.Errorf("%d locks are held, not %d", a.Held, k.locks)
		}
		if k.locks == 1 {
			one = a
		} else {
			b.Results.Add(name, subject, memoryAHold, "KB", (float64(a.Heap)-float64(one.Heap))/1000/float64(k.locks-1))
		}
		b.Results.Add(name, subject, "memory", "MB", float64(a.Heap)/1e6)
		b.Results.Add(name, subject, "CPU", "% of a core", 100*(a.CPU-before[i].CPU).Seconds()/took)
		b.Results.Add(name, subject, "requests", "/s", float64(a.Counts.Minus(before[i].Counts).Requests())/took)
		b.Results.Add(name, subject, "holds lost", "", float64(a.Lost))
	}
	return nil
}

func holdsCase(n int) string { return fmt.Sprintf("holds-%d", n) }

// HoldsPlots returns plots of a client's cost against the number of its locks.
func (b *Bench) HoldsPlots() []report.Series {
	named := map[int]string{}
	for _, k := range b.keepers() {
		named[k.locks] = holdsCase(k.locks)
	}
	return []report.Series{
		{File: "holds-memory", Title: "Memory of a client that renews its locks", X: "locks", Y: "MB", Cases: named, Metric: "memory"},
		{File: "holds-cpu", Title: "CPU of a client that renews its locks", X: "locks", Y: "% of a core", Cases: named, Metric: "CPU"},
	}
}
