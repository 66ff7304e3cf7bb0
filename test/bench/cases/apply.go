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
)

// Cases of Apply, which changes the state by one call. They measure how many requests a change needs,
// and how many changes callers make that share a write.

const (
	applyCallersCase = "apply-callers-32"
	callersPerChange = "callers ÷ changes/s"
	longestChange    = "longest change"
	// oneRequest is one request per change, plus the requests that cross an edge of a short window.
	oneRequest = 1.05
)

// apply measures a change of a lock that no other client wants.
func apply(ctx context.Context, b *Bench) error {
	name, kinds := b.name("apply"), []string{subjects.DistributedLocks, subjects.Leases, subjects.ConfigMaps}
	names := make([]string, 0, 2*len(kinds)) // Each floor right before its subject.
	for _, kind := range kinds {
		names = append(names, subjects.FloorOf(kind), subjects.ApplyOn(kind))
	}
	for round := range b.rounds(5) {
		if err := b.alone(ctx, name, names, round); err != nil {
			return err
		}
	}
	for _, kind := range kinds {
		b.Results.AtMost(name, subjects.ApplyOn(kind), latency, 0.6)
		b.Results.AtMost(name, subjects.ApplyOn(kind), "requests", oneRequest)
	}
	return nil
}

// applyCallers measures 32 callers of one client that change the same state. It compares them with
// locks whose callers cannot share a write.
func applyCallers(ctx context.Context, b *Bench) error {
	const n = 32
	name, subject := b.name(applyCallersCase), subjects.ApplyOn(subjects.DistributedLocks)
	names, err := b.runnable(name, subject, subjects.EtcdMutex, subjects.Redsync, subjects.Redislock)
	if err != nil {
		return err
	}
	for round := range b.rounds(3) {
		rates := map[string]float64{}
		for _, other := range inTurn(names, round) {
			if rates[other], err = b.share(ctx, name, load{subject: other, clients: 1, callers: n, window: b.lasts(time.Second)}); err != nil {
				return err
			}
		}
		for _, other := range names {
			if other != subject && rates[other] > 0 {
				b.Results.Add(name, subject, "times "+other, "", rates[subject]/rates[other])
			}
		}
	}
	for _, other := range names {
		b.Results.AtLeast(name, subject, "times "+other, 1)
	}
	b.Results.AtLeast(name, subject, throughput, 12)
	b.Results.AtMost(name, subject, "requests", 0.1)
	return nil
}

// applyProcesses measures 8 clients, in separate processes, with 16 callers each.
func applyProcesses(ctx context.Context, b *Bench) error {
	const clients, callers = 8, 16
	name, subject := b.name("apply-%dx%d", clients, callers), subjects.ApplyOn(subjects.DistributedLocks)
	for range b.rounds(3) {
		if _, err := b.share(ctx, name, load{subject: subject, clients: clients, callers: callers, window: b.lasts(2 * time.Second)}); err != nil {
			return err
		}
	}
	b.Results.AtLeast(name, subject, throughput, 6)
	b.Results.AtMost(name, subject, longestChange, 2)
	return nil
}

// share measures bare updates and then callers that change one state. It returns how many changes the
// callers made per second.
func (b *Bench) share(ctx context.Context, name string, l load) (rate float64, err error) {
	floor := floorUnder(l.subject)
	bare, err := b.run(ctx, load{subject: floor, clients: 1, callers: 1, keys: b.keysFor(1), window: b.lasts(time.Second)})
	if err != nil {
		return 0, err
	}
	b.Results.Add(name, floor, "updates/s", "", 2*bare.rate())
	l.keys = b.keysFor(1)
	o, err := b.run(ctx, l)
	if err != nil {
		return 0, err
	}
	b.Results.Against(name, l.subject, throughput, "changes/s", o.rate(), serially, 2*bare.rate())
	b.Results.Add(name, l.subject, "requests", perChange, o.each(o.counts().Requests()))
	b.Results.Add(name, l.subject, "conflicts", perChange, o.each(o.counts().Conflicts))
	if l.clients > 1 {
		b.Results.Add(name, l.subject, "Jain", "", o.jain())
	}
	if o.rate() > 0 {
		b.Results.Against(name, l.subject, longestChange, "s", o.worst(took).Seconds(), callersPerChange, float64(l.clients*l.callers)/o.rate())
	}
	return o.rate(), nil
}

// applyWriters measures 32 writers, in separate processes, that each add to one number: by Apply
// and by Do.
func applyWriters(ctx context.Context, b *Bench) error {
	name, subject := b.name("apply-%d", b.writers()), subjects.ApplyOn(subjects.DistributedLocks)
	if err := b.add(ctx, name, b.writers(), subjects.KubelockDo, subject); err != nil {
		return err
	}
	b.Results.AtLeast(name, subject, throughput, 1)
	b.Results.AtLeast(name, subject, "Jain", 0.99)
	b.Results.AtMost(name, subject, "requests", oneRequest)
	return nil
}

// applyRetry measures 32 writers, in separate processes, that each add to one number: by Apply,
// and by a read-modify-write that is repeated at a conflict.
func applyRetry(ctx context.Context, b *Bench) error {
	name, subject := b.name("apply-retry-%d", b.writers()), subjects.ApplyOn(subjects.DistributedLocks)
	if err := b.add(ctx, name, b.writers(), subjects.RetryOnConflict, subject); err != nil {
		return err
	}
	if !b.Quick { // A quick run has fewer writers, and so fewer conflicts.
		b.Results.AtLeast(name, subject, throughput, 2)
	}
	return nil
}
