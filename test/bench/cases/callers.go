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
	"time"

	"github.com/kubelock/kubelock/test/bench/subjects"
	"github.com/kubelock/kubelock/test/bench/worker"
)

// callers measures 32 callers of one key in one client.
func callers(ctx context.Context, b *Bench) error {
	const n = 32
	name := b.name("callers-32")
	names, err := b.runnable(name, locks...)
	if err != nil {
		return err
	}
	for round := range b.rounds(2) {
		for _, subject := range inTurn(names, round) {
			if round > 0 && subject != subjects.KubelockOn(subjects.DistributedLocks) {
				continue // Only this subject has a target.
			}
			floor := floorUnder(subject)
			bare, err := b.run(ctx, load{subject: floor, clients: 1, callers: 1, keys: b.keysFor(1), window: b.lasts(time.Second)})
			if err != nil {
				return err
			}
			b.Results.Add(name, floor, "updates/s", "", 2*bare.rate())
			o, err := b.run(ctx, load{subject: subject, clients: 1, callers: n, keys: b.keysFor(1), window: b.lasts(time.Second)})
			if err != nil {
				return err
			}
			b.contended(name, o, n, 2*bare.rate(), 0)
		}
	}
	return nil
}

// keys measures 16 callers of one client that cycle through many keys.
func keys(ctx context.Context, b *Bench) error {
	n := 1000
	if b.Quick {
		n = 50
	}
	name := b.name("keys-%d", n)
	names := []string{subjects.FloorOf(subjects.DistributedLocks), subjects.KubelockOn(subjects.DistributedLocks)}
	if !b.Quick {
		names = append(names, subjects.FloorOf(subjects.Leases), subjects.KubelockOn(subjects.Leases), subjects.EtcdMutex)
	}
	workers, err := b.workers(len(names))
	if err != nil {
		return err
	}
	loads := make([]load, len(names))
	for i, subject := range names {
		loads[i] = load{subject: subject, callers: 16, keys: b.keysFor(n), window: b.lasts(1500 * time.Millisecond)}
	}
	err = worker.Each(workers, func(i int, p *worker.Process) error {
		if err := p.Open(b.client(loads[i])); err != nil || names[i] == floorUnder(names[i]) {
			return err // It has also created the objects of the bare updates.
		}
		if _, err := p.Acquire(time.Minute); err != nil {
			return err
		}
		return p.Release()
	})
	if err != nil {
		return err
	}
	for range b.rounds(2) {
		rates := map[string]float64{}
		for i, subject := range names {
			o, err := loop(ctx, workers[i:i+1], loads[i])
			if err != nil {
				return err
			}
			rates[subject] = o.rate()
			if floor := floorUnder(subject); subject != floor {
				b.Results.Against(name, subject, throughput, cyclesPerS, o.rate(), "bare parallel updates/s", 2*rates[floor])
				b.Results.Add(name, subject, "requests", perCycle, o.each(o.counts().Requests()))
				b.Results.Add(name, subject, "conflicts", perCycle, o.each(o.counts().Conflicts))
			} else {
				b.Results.Add(name, subject, "updates/s", "", 2*o.rate())
			}
		}
	}
	for _, p := range workers {
		if err := p.Close(); err != nil {
			return err
		}
	}
	return nil
}
