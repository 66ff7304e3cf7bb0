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

// Package report collects the results of the benchmark, and writes them as JSON, as Markdown tables
// and as plots.
package report

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// Result is one figure: the median of its samples, and the median of their ratios to the reference
// that was measured with each sample.
type Result struct {
	Case    string `json:"case"`
	Subject string `json:"subject"`
	Metric  string `json:"metric"`
	// Value is nil if the subject was not run. Then Unit says why.
	Value     *float64  `json:"value"`
	Unit      string    `json:"unit"`
	Reference string    `json:"reference,omitempty"`
	Ratio     *float64  `json:"ratio,omitempty"`
	Samples   []float64 `json:"samples"`
	// Target is the bound that the ratio should keep, or the figure if it has no ratio.
	Target string `json:"target,omitempty"`

	ratios  []float64
	reached func(v float64) bool
}

// Reached reports whether the figure keeps its target.
func (r *Result) Reached() bool {
	if r.Ratio != nil {
		return r.reached(*r.Ratio)
	}
	return r.Value != nil && r.reached(*r.Value)
}

// NotRun is the name of the metric of a subject that was not run.
const NotRun = "not run"

// Results has all figures of a run, in the order in which they were first measured.
type Results struct {
	all           []*Result
	distributions []Distribution
}

// Distribution has every sample of a latency, in milliseconds.
type Distribution struct {
	Case, Subject string
	Samples       []float64
}

func (r *Results) result(name, subject, metric, unit string) *Result {
	for _, known := range r.all {
		if known.Case == name && known.Subject == subject && known.Metric == metric {
			return known
		}
	}
	added := &Result{Case: name, Subject: subject, Metric: metric, Unit: unit, Samples: []float64{}}
	r.all = append(r.all, added)
	return added
}

// Add adds a sample.
func (r *Results) Add(name, subject, metric, unit string, value float64) {
	result := r.result(name, subject, metric, unit)
	result.Samples = append(result.Samples, value)
	result.Value = new(Median(result.Samples))
}

// Against adds a sample and its reference, which was measured in the same round.
func (r *Results) Against(name, subject, metric, unit string, value float64, reference string, of float64) {
	r.Add(name, subject, metric, unit, value)
	if of == 0 {
		return // There is no reference.
	}
	result := r.result(name, subject, metric, unit)
	result.Reference = reference
	result.ratios = append(result.ratios, value/of)
	result.Ratio = new(Median(result.ratios))
}

// AtMost sets a target for a figure that was added: its ratio, or the figure if it has no ratio,
// should be at most bound.
func (r *Results) AtMost(name, subject, metric string, bound float64) {
	r.target(name, subject, metric, "at most", bound, func(v float64) bool { return v <= bound })
}

// AtLeast sets a target for a figure that was added: its ratio, or the figure if it has no ratio,
// should be at least bound.
func (r *Results) AtLeast(name, subject, metric string, bound float64) {
	r.target(name, subject, metric, "at least", bound, func(v float64) bool { return v >= bound })
}

func (r *Results) target(name, subject, metric, than string, bound float64, reached func(float64) bool) {
	for _, known := range r.all {
		if known.Case == name && known.Subject == subject && known.Metric == metric {
			known.Target, known.reached = fmt.Sprintf("%s %.2f", than, bound), reached
			if known.Ratio != nil {
				known.Target += " × " + known.Reference
			}
		}
	}
}

// NotRun says why a subject was not run.
func (r *Results) NotRun(name, subject, why string) { r.result(name, subject, NotRun, why) }

// Distribute adds samples of a latency.
func (r *Results) Distribute(name, subject string, samples []float64) {
	i := slices.IndexFunc(r.distributions, func(d Distribution) bool { return d.Case == name && d.Subject == subject })
	if i < 0 {
		r.distributions = append(r.distributions, Distribution{Case: name, Subject: subject})
		i = len(r.distributions) - 1
	}
	r.distributions[i].Samples = append(r.distributions[i].Samples, samples...)
}

// Value returns a figure.
func (r *Results) Value(name, subject, metric string) (float64, bool) {
	for _, known := range r.all {
		if known.Case == name && known.Subject == subject && known.Metric == metric && known.Value != nil {
			return *known.Value, true
		}
	}
	return 0, false
}

// WriteJSON writes all figures.
func (r *Results) WriteJSON(path string) error {
	text, err := json.MarshalIndent(r.all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Median returns the median of samples. There must be at least one.
func Median(samples []float64) float64 { return Quantile(samples, 0.5) }

// Quantile returns the q-quantile of samples. There must be at least one.
func Quantile(samples []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(samples))
	at := q * float64(len(sorted)-1)
	low := int(at)
	if low+1 == len(sorted) {
		return sorted[low]
	}
	return sorted[low] + (at-float64(low))*(sorted[low+1]-sorted[low])
}
