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
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTargets checks that a table shows the targets and whether each was reached, by the ratio if the
// figure has one.
func TestTargets(t *testing.T) {
	r := &Results{}
	r.Against("a", "s", "latency", "ms", 5, "two updates", 10)
	r.Add("a", "s", "requests", "a change", 1.5)
	r.Add("a", "s", "Jain", "", 0.995)
	r.NotRun("a", "other", "is not there")
	r.AtMost("a", "s", "latency", 0.6)
	r.AtMost("a", "s", "requests", 1)
	r.AtLeast("a", "s", "Jain", 0.99)
	r.AtLeast("a", "other", "Jain", 0.99) // This subject has no figure.
	path := filepath.Join(t.TempDir(), "results.md")
	if err := r.WriteTable(path, ""); err != nil {
		t.Fatal(err)
	}
	table, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := "\nTargets: s, latency: at most 0.60 × two updates (reached); s, requests: at most 1.00 (missed); s, Jain: at least 0.99 (reached).\n"
	if !strings.Contains(string(table), want) {
		t.Errorf("the table is %s\nwithout %s", table, want)
	}
}
