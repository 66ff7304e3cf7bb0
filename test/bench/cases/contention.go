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
	"strings"
	"time"

	"github.com/kubelock/kubelock/test/bench/report"
	"github.com/kubelock/kubelock/test/bench/subjects"
)

// windows are the lengths of the measurements, by the number of clients of one key. They are long
// enough for each client to get the lock.
var windows = map[int]time.Duration{
	2: 800 * time.Millisecond, 8: time.Second, 32: 2 * time.Second, 100: 5 * time.Second,
}

// critical is how long a client holds the lock in the second half of the case.
const critical = 20 * time.Millisecond

func contentionCase(clients int, busy bool) string {
	if busy {
		return fmt.Sprintf("contention-20ms-%d", clients)
	}
	return fmt.Sprintf("contention-%d", clients)
}

// contention measures clients in separate processes that compete for one key.
func contention(ctx context.Context, b *Bench) error {
	sizes, modes := []int{2, 8, 32, 100}, []bool{false, true}
	switch {
	case b.Fsync && b.Quick:
		return nil
	case b.Quick: // More clients would take long to warm up.
		sizes, modes = []int{8}, []bool{false}
	case b.Fsync:
		sizes, modes = []int{8}, []bool{false}
	}
	for _, busy := range modes {
		for i, clients := range sizes {
			if err := contend(ctx, b, i, clients, busy); err != nil {
				return err
			}
		}
	}
	return nil
}

func contend(ctx context.Context, b *Bench, round, clients int, busy bool) error {
	name := b.name("%s", contentionCase(clients, busy))
	wanted := locks
	switch {
	case clients == 100 && busy: // With all other subjects most clients starve, as they do without a critical section.
		wanted = []string{subjects.KubelockOn(subjects.DistributedLocks), subjects.EtcdMutex}
	case clients == 32 && busy:
		wanted = without(wanted, subjects.KubelockOn(subjects.Leases), subjects.KubelockOn(subjects.ConfigMaps), subjects.Naive, subjects.Elector)
	case clients == 100 || busy: // The difference between the kinds is in the uncontended case.
		wanted = without(wanted, subjects.KubelockOn(subjects.Leases), subjects.KubelockOn(subjects.ConfigMaps))
	}
	names, err := b.runnable(name, wanted...)
	if err != nil {
		return err
	}
	delivery, err := subjects.Delivery(ctx, b.Servers, b.keysFor(1)[0], 50)
	if err != nil {
		return err
	}
	delivered := report.Median(inMilliseconds(delivery))
	b.Results.Add(name, "bare watch delivery", "hand-off", "ms", delivered)
	bare := map[string]float64{}
	for _, subject := range inTurn(names, round) {
		floor := floorUnder(subject)
		if _, ok := bare[floor]; !ok || strings.HasPrefix(subject, subjects.KubelockOn("")) { // Right before its subject: the machine's speed changes over time.
			o, err := b.run(ctx, load{subject: floor, clients: 1, callers: 1, keys: b.keysFor(1), window: b.lasts(600 * time.Millisecond)})
			if err != nil {
				return err
			}
			bare[floor] = 2 * o.rate()
			b.Results.Add(name, floor, "updates/s", "", bare[floor])
		}
		l := load{subject: subject, clients: clients, callers: 1, keys: b.keysFor(1), window: b.lasts(windows[clients])}
		if busy {
			l.critical = critical
		}
		o, err := b.run(ctx, l)
		if err != nil {
			return err
		}
		b.contended(name, o, clients, bare[floor], delivered)
	}
	return nil
}

// contended adds what callers of one key have measured to the results.
func (b *Bench) contended(name string, o outcome, callers int, bare, delivered float64) {
	subject := o.load.subject
	handOffs, overlaps := o.handOffs()
	b.Results.Against(name, subject, throughput, cyclesPerS, o.rate(), serially, bare)
	if o.rate() == 0 { // Only a lower bound of the wait is known.
		b.Results.Add(name, subject, worstWait, "s", o.worst(waited).Seconds())
		return
	}
	b.Results.Against(name, subject, "hand-off", "ms", quantile(handOffs, 0.5), "bare watch delivery", delivered)
	b.Results.Add(name, subject, "hand-off p99", "ms", quantile(handOffs, 0.99))
	b.Results.Add(name, subject, "requests", perCycle, o.each(o.counts().Requests()))
	b.Results.Add(name, subject, "conflicts", perCycle, o.each(o.counts().Conflicts))
	b.Results.Add(name, subject, "events", perCycle, o.each(o.counts().Events))
	if o.cold == 0 {
		b.Results.Add(name, subject, "until all are warm", "s", o.begin.Since(o.started).Seconds())
	}
	if len(o.answers) > 1 {
		b.Results.Add(name, subject, "Jain", "", o.jain())
	}
	b.Results.Against(name, subject, worstWait, "s", o.worst(waited).Seconds(), "clients ÷ cycles/s", float64(callers)/o.rate())
	if overlaps > 0 {
		b.Results.Add(name, subject, "holds at once", "", float64(overlaps))
	}
}

func inMilliseconds(times []time.Duration) []float64 {
	out := make([]float64, 0, len(times))
	for _, t := range times {
		out = append(out, milliseconds(t))
	}
	return out
}

func without(names []string, others ...string) []string {
	var out []string
	for _, n := range names {
		if !strings.Contains(strings.Join(others, "\n"), n) {
			out = append(out, n)
		}
	}
	return out
}

// ContentionPlots returns plots of the figures against the number of clients.
func ContentionPlots() []report.Series {
	named := func(busy bool) map[int]string {
		out := map[int]string{}
		for n := range windows {
			out[n] = contentionCase(n, busy)
		}
		return out
	}
	return []report.Series{
		{File: "throughput", Title: "One key: throughput", X: "clients", Y: "cycles a second", Cases: named(false), Metric: throughput, LogY: true},
		{File: "worst-wait", Title: "One key: the longest wait", X: "clients", Y: "seconds", Cases: named(false), Metric: worstWait, LogY: true},
		{File: "throughput-20ms", Title: "One key, held for 20 ms: throughput", X: "clients", Y: "cycles a second", Cases: named(true), Metric: throughput, LogY: true},
		{File: "worst-wait-20ms", Title: "One key, held for 20 ms: the longest wait", X: "clients", Y: "seconds", Cases: named(true), Metric: worstWait, LogY: true},
	}
}
