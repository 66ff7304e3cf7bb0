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

package report

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// WriteTable writes a Markdown table per case, with a row per subject and a column per metric. The
// ratio to the reference is in brackets.
func (r *Results) WriteTable(path, preamble string) error {
	var b strings.Builder
	b.WriteString(preamble)
	var cases []string
	for _, result := range r.all {
		if !slices.Contains(cases, result.Case) {
			cases = append(cases, result.Case)
		}
	}
	for _, name := range cases {
		r.table(&b, name)
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

func (r *Results) table(b *strings.Builder, name string) {
	var subjects, metrics, references, targets []string
	cells, notRun := map[[2]string]string{}, map[string]string{}
	for _, result := range r.all {
		if result.Case != name {
			continue
		}
		if !slices.Contains(subjects, result.Subject) {
			subjects = append(subjects, result.Subject)
		}
		if result.Value == nil {
			notRun[result.Subject] = result.Unit
			continue
		}
		head := result.Metric + unit(result.Unit)
		if !slices.Contains(metrics, head) {
			metrics = append(metrics, head)
		}
		cell := number(*result.Value)
		if result.Ratio != nil {
			cell += fmt.Sprintf(" (%.2f)", *result.Ratio)
			if line := result.Metric + ": " + result.Reference; !slices.Contains(references, line) {
				references = append(references, line)
			}
		}
		cells[[2]string{result.Subject, head}] = cell
		if result.Target != "" {
			reached := "reached"
			if !result.Reached() {
				reached = "missed"
			}
			targets = append(targets, fmt.Sprintf("%s, %s: %s (%s)", result.Subject, result.Metric, result.Target, reached))
		}
	}
	fmt.Fprintf(b, "\n### %s\n\n| subject | %s |\n|---%s|\n", name, strings.Join(metrics, " | "), strings.Repeat("|---", len(metrics)))
	for _, subject := range subjects {
		row := make([]string, 0, len(metrics))
		for i, metric := range metrics {
			cell := cells[[2]string{subject, metric}]
			if why, ok := notRun[subject]; ok && i == 0 && cell == "" {
				cell = "not run: " + why
			}
			row = append(row, cell)
		}
		fmt.Fprintf(b, "| %s | %s |\n", subject, strings.Join(row, " | "))
	}
	if len(references) > 0 {
		fmt.Fprintf(b, "\nIn brackets the ratio to: %s.\n", strings.Join(references, "; "))
	}
	if len(targets) > 0 {
		fmt.Fprintf(b, "\nTargets: %s.\n", strings.Join(targets, "; "))
	}
}

func unit(u string) string {
	if u == "" {
		return ""
	}
	return " [" + u + "]"
}

// number formats v with three significant digits, or with all digits before the point if there are
// more.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := max(0, 2-int(math.Floor(math.Log10(math.Abs(v)))))
	return fmt.Sprintf("%.*f", min(digits, 3), v)
}
