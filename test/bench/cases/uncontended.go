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
	"fmt"
	"slices"
	"time"

	"github.com/kubelock/kubelock/test/bench/subjects"
)

// locks are the subjects with mutual exclusion and a state.
var locks = []string{
	subjects.KubelockOn(subjects.DistributedLocks), subjects.KubelockOn(subjects.Leases), subjects.KubelockOn(subjects.ConfigMaps),
	subjects.Naive, subjects.Elector, subjects.EtcdMutex, subjects.Redsync, subjects.Redislock,
}

// floors are the bare updates: a cycle of kubelock cannot take less time than they do.
var floors = []string{
	subjects.FloorOf(subjects.DistributedLocks), subjects.FloorOf(subjects.Leases), subjects.FloorOf(subjects.ConfigMaps),
}

// floorUnder returns the bare updates that a subject is compared with: those of the same kind of
// object, or those of DistributedLocks if the subject uses no object.
func floorUnder(subject string) string {
	for _, kind := range []string{subjects.Leases, subjects.ConfigMaps} {
		if subject == subjects.KubelockOn(kind) || subject == subjects.ApplyOn(kind) {
			return subjects.FloorOf(kind)
		}
	}
	return subjects.FloorOf(subjects.DistributedLocks)
}

const (
	latency     = "latency"
	twoUpdates  = "two bare updates"
	serially    = "bare serial updates/s"
	throughput  = "throughput"
	worstWait   = "worst wait"
	perCycle    = "a cycle"
	perChange   = "a change"
	cyclesPerS  = "cycles/s"
	memoryAHold = "memory a hold"
)

// uncontended measures a cycle of a lock that no other client wants.
func uncontended(ctx context.Context, b *Bench) error {
	name := b.name("uncontended")
	var wanted []string // Each floor right before its subject: the machine's speed changes over time.
	for _, lock := range locks {
		if floor := floorUnder(lock); !slices.Contains(wanted, floor) {
			wanted = append(wanted, floor)
		}
		wanted = append(wanted, lock)
	}
	names, err := b.runnable(name, wanted...)
	if err != nil {
		return err
	}
	rounds, withOthers := b.rounds(5), 2
	if b.Fsync {
		rounds, withOthers = b.rounds(3), 1
	}
	for round := range rounds {
		if round == withOthers {
			names = names[:2*len(floors)] // Only kubelock and its floors.
		}
		if err := b.alone(ctx, name, names, round); err != nil {
			return err
		}
	}
	return nil
}

// alone measures subjects without contention. names has the floor of each subject, too.
func (b *Bench) alone(ctx context.Context, name string, names []string, round int) error {
	outcomes := map[string]outcome{}
	for _, subject := range inTurn(names, 2*round) {
		o, err := b.run(ctx, load{
			subject: subject, clients: 1, callers: 1, keys: b.keysFor(1), window: b.lasts(600 * time.Millisecond),
		})
		if err != nil {
			return err
		}
		outcomes[subject] = o
	}
	for _, subject := range names {
		o, floor := outcomes[subject], outcomes[floorUnder(subject)]
		if o.rate() == 0 {
			return fmt.Errorf("%s: no cycle ended within %v: the machine is too busy to measure anything", subject, o.load.window)
		}
		took := o.latencies()
		median := quantile(took, 0.5)
		b.Results.Against(name, subject, latency, "ms", median, twoUpdates, quantile(floor.latencies(), 0.5))
		b.Results.Add(name, subject, "p99", "ms", quantile(took, 0.99))
		b.Results.Add(name, subject, "requests", perCycle, o.each(o.counts().Requests()))
		b.Results.Add(name, subject, "reads", perCycle, o.each(o.counts().Reads))
		b.Results.Add(name, subject, "allocations", perCycle, o.mallocs())
		b.Results.Add(name, subject, "allocations over the bare updates", perCycle, o.mallocs()-floor.mallocs())
		b.Results.Distribute(name, subject, took)
	}
	return nil
}
