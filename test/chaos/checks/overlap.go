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
	"cmp"
	"fmt"
	"slices"

	"github.com/kubelock/kubelock/test/chaos/history"
)

// overlaps checks that no two holds of a lock overlap. A hold lasts from the return of its
// acquisition until its client calls Release or its deadline passes. If a manual edit may have ended
// it, it lasts until that edit began.
func overlaps(r *Run) (violations []Violation, looked int) {
	byLock := map[history.Lock][]*history.Hold{}
	for _, h := range r.Holds {
		byLock[h.Lock()] = append(byLock[h.Lock()], h)
	}
	for lock, holds := range byLock {
		slices.SortFunc(holds, func(a, b *history.Hold) int { return cmp.Compare(a.Returned, b.Returned) })
		var last *history.Hold
		var until int64
		for _, h := range holds {
			looked++
			if last != nil && h.Returned < until {
				violations = append(violations, Violation{"overlap", lock, fmt.Sprintf(
					"%s has it from %s on, and %s believes in its hold for %s longer", h.ID, seconds(h.Returned), last.ID, seconds(until-h.Returned))})
			}
			if end := r.believed(h); end > until {
				last, until = h, end
			}
		}
	}
	return violations, looked
}

// believed returns until when the client could believe in its hold.
func (r *Run) believed(h *history.Hold) int64 {
	end := h.End()
	for _, edit := range r.ManualEdits {
		// The library cannot prevent that a manual edit ends a hold.
		if edit.covers(h.Lock()) && edit.To+late >= h.Called && edit.From <= h.End() {
			end = min(end, max(edit.From, h.Called))
		}
	}
	return end
}
