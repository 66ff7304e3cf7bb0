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

	"github.com/kubelock/kubelock/hack/chaos/history"
)

// overlaps sweeps over the holds of each lock, as their clients believed in them: from
// when the acquisition had returned until the release was called or the deadline had
// passed. A hold that was taken away by hand ends when the hand begins.
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

// believed is until when a hold could be believed in.
func (r *Run) believed(h *history.Hold) int64 {
	end := h.End()
	for _, hand := range r.Hands {
		// A lock that was taken away by hand is no fault of the library.
		if hand.on(h.Lock()) && hand.To+late >= h.Called && hand.From <= h.End() {
			end = min(end, max(hand.From, h.Called))
		}
	}
	return end
}
