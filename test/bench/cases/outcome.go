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

	"github.com/kubelock/kubelock/test/bench/report"
	"github.com/kubelock/kubelock/test/bench/subjects"
	"github.com/kubelock/kubelock/test/bench/worker"
)

// outcome has the answers of the workers of a load.
type outcome struct {
	load                load
	started, begin, end worker.Instant
	cold                int // cycles that callers still needed at begin to be warm
	answers             []worker.Answer
}

// counted returns the cycles of a worker that ended within the window.
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
	var all []worker.Cycle //nolint:prealloc // The number is not known in advance.
	for _, a := range o.answers {
		all = append(all, o.counted(a)...)
	}
	return all
}

// rate returns the cycles per second.
func (o outcome) rate() float64 { return float64(len(o.cycles())) / o.load.window.Seconds() }

func (o outcome) counts() (sum subjects.Counts) {
	for _, a := range o.answers {
		sum = sum.Plus(a.Counts)
	}
	return sum
}

// each returns n per cycle.
func (o outcome) each(n int64) float64 { return float64(n) / float64(max(len(o.cycles()), 1)) }

// mallocs returns the number of allocated objects per cycle.
func (o outcome) mallocs() float64 {
	var sum uint64
	for _, a := range o.answers {
		sum += a.Mallocs
	}
	return float64(sum) / float64(max(len(o.cycles()), 1))
}

// jain returns Jain's fairness index: 1 if all n clients had the lock equally often, and 1/n if one
// client had it every time.
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

// latencies returns the durations of the cycles in milliseconds.
func (o outcome) latencies() []float64 {
	cycles := o.cycles()
	all := make([]float64, 0, len(cycles))
	for _, c := range cycles {
		all = append(all, milliseconds(c.Done.Since(c.Asked)))
	}
	return all
}

// worst returns the longest duration, as of selects it from a cycle. A cycle that ends after the window,
// and a caller that still waits at its end, count with their part up to the end of the window.
func (o outcome) worst(of func(worker.Cycle) time.Duration) time.Duration {
	var worst time.Duration
	for _, a := range o.answers {
		for _, c := range o.counted(a) {
			worst = max(worst, of(c))
		}
		for _, c := range a.Cycles {
			if c.Done >= o.end {
				worst = max(worst, min(of(c), o.end.Since(c.Asked)))
			}
		}
		for _, since := range a.Waiting {
			worst = max(worst, o.end.Since(since))
		}
	}
	return worst
}

func waited(c worker.Cycle) time.Duration { return c.Acquired.Since(c.Asked) }
func took(c worker.Cycle) time.Duration   { return c.Done.Since(c.Asked) }

// handOffs returns the times from each call of Release to the next acquisition of the key, in
// milliseconds. overlaps counts the negative ones: two callers had the lock at once.
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

// quantile returns the q-quantile of samples, and 0 if there are none.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return 0
	}
	return report.Quantile(samples, q)
}
