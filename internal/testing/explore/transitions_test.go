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

package explore

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/kubelock/kubelock/internal/session"
)

// rows matches the rows of a table of transitions: from, to, when.
var rows = regexp.MustCompile(`(?m)^\| (\w+) \| (\w+) \| [^|]+ \|$`)

// TestTransitions compares the table of transitions in docs/design/core.md with the transitions of explored
// sessions. Each explored transition must be in the table. If all scopes were explored, each transition of
// the table must have occurred.
func TestTransitions(t *testing.T) {
	page, err := os.ReadFile("../../../docs/design/core.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(string(page), "<!-- transitions -->")
	if !ok {
		t.Fatal("the page has no list of transitions")
	}
	list, _, _ = strings.Cut(list, "\n#")
	documented := map[string]bool{}
	for _, row := range rows.FindAllStringSubmatch(list, -1) {
		if row[1] != "from" {
			documented[row[1]+" to "+row[2]] = true
		}
	}
	if len(transitions) == 0 { // TestExplore has not run before.
		for _, sc := range scopes() {
			Explore(sc, Limits{States: atFirst})
		}
	}
	seen := map[string]bool{}
	for transition := range transitions {
		seen[transition[0].String()+" to "+transition[1].String()] = true
	}
	for transition := range seen {
		if !documented[transition] {
			t.Errorf("sessions go from %s, and the page does not say so", transition)
		}
	}
	for transition := range documented {
		// In these scopes no caller returns often enough for its client to expect it.
		if !seen[transition] && !strings.Contains(transition, session.Expecting.String()) {
			t.Logf("the page has %s, which was not seen", transition)
			if *full {
				t.Fail()
			}
		}
	}
}
