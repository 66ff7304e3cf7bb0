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
	"slices"
	"time"

	"github.com/kubelock/kubelock/hack/bench/report"
	"github.com/kubelock/kubelock/hack/bench/subjects"
	"github.com/kubelock/kubelock/hack/bench/worker"
)

// outcome is what the workers of a load have told.
type outcome struct {
	load                load
	started, begin, end worker.Instant
	cold                int // cycles that were missing at begin until all callers were warm
	answers             []worker.Answer
}

// counted are the cycles of a worker that ended within the time that is measured.
func (o outcome) counted(a worker.Answer) []worker.Cycle {
	var in []worker.Cycle
	for _, c := range a.Cycles {
		if c.Done >= o.begin && c.Done < o.end {
			in = append(in, c)
		}
	}
	return in
}

func (o outcome) cycles() []worker.Cycle {
	var all []worker.Cycle //nolint:prealloc // How many they are is not known before.
	for _, a := range o.answers {
		all = append(all, o.counted(a)...)
	}
	return all
}

// rate is in cycles per second.
func (o outcome) rate() float64 { return float64(len(o.cycles())) / o.load.window.Seconds() }

func (o outcome) counts() (sum subjects.Counts) {
	for _, a := range o.answers {
		sum = sum.Plus(a.Counts)
	}
	return sum
}

// each is n a cycle.
func (o outcome) each(n int64) float64 { return float64(n) / float64(max(len(o.cycles()), 1)) }

// mallocs is how many objects a cycle allocated.
func (o outcome) mallocs() float64 {
	var sum uint64
	for _, a := range o.answers {
		sum += a.Mallocs
	}
	return float64(sum) / float64(max(len(o.cycles()), 1))
}

// jain is Jain's fairness index: 1 if all clients have had the lock equally often, 1/n
// if one had it always.
func (o outcome) jain() float64 {
	var sum, squares float64
	for _, a := range o.answers {
		n := float64(len(o.counted(a)))
		sum += n
		squares += n * n
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (float64(len(o.answers)) * squares)
}

// latencies are what the cycles took, in milliseconds.
func (o outcome) latencies() []float64 {
	cycles := o.cycles()
	all := make([]float64, 0, len(cycles))
	for _, c := range cycles {
		all = append(all, milliseconds(c.Done.Since(c.Asked)))
	}
	return all
}

// worst is the longest that a caller waited for the lock, or the cycle took where the
// subject does not tell them apart. Callers that wait at the end have waited at least so
// long.
func (o outcome) worst(of func(worker.Cycle) time.Duration) time.Duration {
	var worst time.Duration
	for _, c := range o.cycles() {
		worst = max(worst, of(c))
	}
	for _, a := range o.answers {
		for _, since := range a.Waiting {
			worst = max(worst, o.end.Since(since))
		}
	}
	return worst
}

func waited(c worker.Cycle) time.Duration { return c.Acquired.Since(c.Asked) }
func took(c worker.Cycle) time.Duration   { return c.Done.Since(c.Asked) }

// handOffs are the times between the call that released the one key and the next
// acquisition, in milliseconds. overlaps counts those below zero: two that had the lock
// at once.
func (o outcome) handOffs() (times []float64, overlaps int) {
	var all []worker.Cycle
	for _, a := range o.answers {
		all = append(all, a.Cycles...)
	}
	slices.SortFunc(all, func(a, b worker.Cycle) int { return int(a.Acquired - b.Acquired) })
	for i := 1; i < len(all); i++ {
		between := all[i].Acquired.Since(all[i-1].Releasing)
		if between < 0 {
			overlaps++
		}
		if all[i].Acquired >= o.begin && all[i].Acquired < o.end {
			times = append(times, milliseconds(between))
		}
	}
	return times, overlaps
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// quantile is 0 where there are no samples.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	return report.Quantile(samples, q)
}
