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

package cli

import (
	"time"

	"github.com/kubelock/kubelock/internal/cli/view"
)

// slot is the length of time that a bar of a history stands for.
const slot = 5 * time.Second

// history is what was seen of a lock, slot by slot since the view began.
type history struct {
	acquired map[int]int64
	waited   map[int]time.Duration // the longest wait by the end of a slot
}

func newHistory() history {
	return history{acquired: map[int]int64{}, waited: map[int]time.Duration{}}
}

// acquisitions notes how many holds have begun.
func (h history) acquisitions(at time.Duration, n int64) {
	h.acquired[int(at/slot)] += n
	h.forget(at)
}

// wait notes a wait, as of each slot that it lasts in.
func (h history) wait(since, until time.Duration) {
	first := max(since, until-view.Slots*slot, 0)
	for i := int(first / slot); i <= int(until/slot); i++ {
		end := min(time.Duration(i+1)*slot, until)
		h.waited[i] = max(h.waited[i], end-since)
	}
	h.forget(until)
}

// forget forgets what is not shown any more.
func (h history) forget(now time.Duration) {
	for i := range h.acquired {
		if i <= int(now/slot)-view.Slots {
			delete(h.acquired, i)
		}
	}
	for i := range h.waited {
		if i <= int(now/slot)-view.Slots {
			delete(h.waited, i)
		}
	}
}

// last is what is shown: the last minute, the latest slot last.
func (h history) last(now time.Duration) (acquired [view.Slots]int64, waited [view.Slots]time.Duration) {
	for i := range view.Slots {
		of := int(now/slot) - view.Slots + 1 + i
		acquired[i], waited[i] = h.acquired[of], h.waited[of]
	}
	return acquired, waited
}
