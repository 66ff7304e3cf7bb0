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

// Package cases has the cases of the benchmark, one per file.
package cases

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/kubelock/kubelock/test/bench/report"
	"github.com/kubelock/kubelock/test/bench/subjects"
	"github.com/kubelock/kubelock/test/bench/worker"
)

// Case is one measurement of all subjects.
type Case struct {
	Name string
	Run  func(ctx context.Context, b *Bench) error
	// Durable is set if the case is measured a second time with an etcd that waits for its disk.
	Durable bool
}

// All returns the cases.
func All() []Case {
	return []Case{
		{Name: "uncontended", Run: uncontended, Durable: true},
		{Name: "contention", Run: contention, Durable: true},
		{Name: "callers", Run: callers},
		{Name: "crash", Run: crash},
		{Name: "idle", Run: idle},
		{Name: "keys", Run: keys},
		{Name: "state", Run: state},
		{Name: "holds", Run: holds},
		{Name: "do", Run: increments},
		{Name: "apply", Run: apply},
		{Name: "apply-callers", Run: applyCallers},
		{Name: "apply-32", Run: applyWriters},
		{Name: "apply-8x16", Run: applyProcesses},
		{Name: "apply-retry", Run: applyRetry},
	}
}

// Bench is one run.
type Bench struct {
	Servers  subjects.Servers
	Quick    bool
	Fsync    bool // whether etcd waits for its disk
	Results  *report.Results
	Progress io.Writer
	// StartReaper starts a reaper on the control plane of the case.
	StartReaper func(ctx context.Context) (stop func() error, err error)

	pool []*worker.Process
	keys int
}

// name returns the name of a case in the results.
func (b *Bench) name(format string, args ...any) string {
	name := fmt.Sprintf(format, args...)
	if b.Fsync {
		name += "-fsync"
	}
	return name
}

// rounds returns how often each subject of a case is measured: n times, and once in a quick run.
func (b *Bench) rounds(n int) int {
	if b.Quick {
		return 1
	}
	return n
}

// lasts returns how long to measure: d, and half of it in a quick run.
func (b *Bench) lasts(d time.Duration) time.Duration {
	if b.Quick {
		return d / 2
	}
	return d
}

// keysFor returns n keys that were not used before.
func (b *Bench) keysFor(n int) []string {
	all := make([]string, n)
	b.keys++
	for i := range all {
		all[i] = fmt.Sprintf("bench-%d-%d", b.keys, i)
	}
	return all
}

// workers returns n worker processes. They live until Stop.
func (b *Bench) workers(n int) ([]*worker.Process, error) {
	for len(b.pool) < n {
		p, err := worker.Start()
		if err != nil {
			return nil, err
		}
		b.pool = append(b.pool, p)
	}
	return b.pool[:n], nil
}

// Stop ends the worker processes.
func (b *Bench) Stop() error {
	errs := make([]error, 0, len(b.pool))
	for _, p := range b.pool {
		errs = append(errs, p.Stop())
	}
	b.pool = nil
	return errors.Join(errs...)
}

// A quick run has only the subjects in brief, except for the cases in whole.
var (
	brief = []string{subjects.FloorOf(subjects.DistributedLocks), subjects.KubelockOn(subjects.DistributedLocks), subjects.EtcdMutex}
	whole = []string{"uncontended", contentionCase(8, false), "crash", "apply", applyCallersCase}
)

// runnable returns those of the named subjects that can be run here. For each of the others it adds
// the reason to the results of the case.
func (b *Bench) runnable(name string, names ...string) ([]string, error) {
	var out []string
	for _, n := range names {
		s, err := subjects.Named(n)
		if err != nil {
			return nil, err
		}
		switch {
		case b.Quick && !slices.Contains(whole, name) && !slices.Contains(brief, n):
			b.Results.NotRun(name, n, "left out of the quick run")
		case s.NeedsRedis && b.Fsync:
			b.Results.NotRun(name, n, "has nothing to do with etcd's disk")
		case s.NeedsRedis && b.Servers.Redis == "":
			b.Results.NotRun(name, n, "redis-server is not on the PATH")
		default:
			out = append(out, n)
		}
	}
	return out, nil
}

// load describes what clients do in a closed loop.
type load struct {
	subject          string
	clients, callers int
	keys             []string
	options          subjects.Options
	window, critical time.Duration
}

// client returns the client that each worker of the load opens.
func (b *Bench) client(l load) worker.Client {
	return worker.Client{Subject: l.subject, Servers: b.Servers, Options: l.options, Keys: l.keys, Callers: l.callers}
}

// run runs a load in worker processes.
func (b *Bench) run(ctx context.Context, l load) (_ outcome, err error) {
	if err := ctx.Err(); err != nil {
		return outcome{}, err
	}
	workers, err := b.workers(l.clients)
	if err != nil {
		return outcome{}, err
	}
	defer func() {
		err = errors.Join(err, worker.Each(workers, func(_ int, p *worker.Process) error { return p.Close() }))
	}()
	if err := worker.Each(workers, func(_ int, p *worker.Process) error { return p.Open(b.client(l)) }); err != nil {
		return outcome{}, fmt.Errorf("%s: %w", l.subject, err)
	}
	return loop(ctx, workers, l)
}

// loop runs a load in workers that have opened their clients. It measures as soon as they are warm.
func loop(ctx context.Context, workers []*worker.Process, l load) (outcome, error) {
	o := outcome{load: l, answers: make([]worker.Answer, len(workers)), started: worker.Now()}
	err := worker.Each(workers, func(_ int, p *worker.Process) error { return p.Start(l.critical) })
	if err == nil {
		o.cold, err = warmUp(ctx, workers, l)
	}
	if err == nil {
		o.begin = worker.Now().Add(20 * time.Millisecond) // All workers have got the window by then.
		o.end = o.begin.Add(l.window)
		err = worker.Each(workers, func(i int, p *worker.Process) (err error) {
			o.answers[i], err = p.Measure(worker.Window{Begin: o.begin, End: o.end})
			return err
		})
	}
	if err != nil {
		return o, fmt.Errorf("%s: %w", l.subject, err)
	}
	return o, nil
}

// warmUp waits until each caller has completed its first cycles, and returns how many of these cycles
// are missing. Some are missing if it gives up because callers starve:
//
//   - no caller has completed one of them for half a window and a second, or
//   - most of them are missing after more than one window, or
//   - four windows have passed.
func warmUp(ctx context.Context, workers []*worker.Process, l load) (int, error) {
	start := time.Now()
	progress, least, all := start, math.MaxInt, 0
	for {
		cold := make([]int, len(workers))
		err := worker.Each(workers, func(i int, p *worker.Process) error {
			answer, err := p.Cold()
			cold[i] = answer.Cold
			return err
		})
		sum := 0
		for _, n := range cold {
			sum += n
		}
		all = max(all, sum)
		if sum < least {
			progress, least = time.Now(), sum
		}
		limit := 4*l.window + time.Second
		if sum > all*3/4 {
			limit /= 3
		}
		if err != nil || sum == 0 || time.Since(progress) > l.window/2+time.Second || time.Since(start) > limit {
			return sum, err
		}
		select {
		case <-ctx.Done():
			return sum, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// inTurn returns names in the order of a round. Each round begins with another name.
func inTurn(names []string, round int) []string {
	at := round % len(names)
	return slices.Concat(names[at:], names[:at])
}
