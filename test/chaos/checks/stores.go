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

package checks

import (
	"fmt"

	"github.com/kubelock/kubelock/test/chaos/history"
)

// fenced checks that the fenced store accepted no token after a newer one, and lost no update.
func fenced(r *Run) (violations []Violation, looked int) {
	newest := map[string]int64{}
	for _, a := range r.Accesses {
		looked++
		if !a.Accepted {
			continue
		}
		if a.Token < newest[a.Key] {
			violations = append(violations, Violation{"fenced store", history.Lock{Key: a.Key}, fmt.Sprintf("accepted token %d after %d", a.Token, newest[a.Key])})
		}
		newest[a.Key] = max(newest[a.Key], a.Token)
	}
	for key, c := range r.Fenced {
		if c.Value != c.Accepted {
			violations = append(violations, Violation{"fenced store", history.Lock{Key: key}, fmt.Sprintf("accepted %d additions and counts %d", c.Accepted, c.Value)})
		}
	}
	return violations, looked
}

// LostUpdates returns how many updates the store without fencing lost. If it lost none, the faults of
// the run did not show that fencing is needed.
func (r *Run) LostUpdates() int {
	lost := 0
	for _, c := range r.Unfenced {
		lost += c.Accepted - c.Value
	}
	return lost
}
