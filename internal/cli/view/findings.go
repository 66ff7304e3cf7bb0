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

package view

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Grade is how good it is what check found.
type Grade string

// The grades.
const (
	Good    Grade = "ok"
	Warning Grade = "warning"
	Fault   Grade = "fault"
)

// Finding is what one look at the cluster showed.
type Finding struct {
	Grade  Grade
	About  string
	Text   string
	Remedy string // what a person can do, unless it is good
}

// Findings writes a line for each finding. A remedy that several in a row have is written once.
func Findings(out io.Writer, findings []Finding) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for i, f := range findings {
		fmt.Fprintf(table, "%s\t%s\t%s\n", f.Grade, f.About, strings.ReplaceAll(f.Text, "\n", " "))
		if f.Remedy != "" && (i+1 == len(findings) || findings[i+1].Remedy != f.Remedy) {
			for line := range strings.SplitSeq(f.Remedy, "\n") {
				fmt.Fprintf(table, "\t\t%s\n", line)
			}
		}
	}
	return table.Flush()
}
