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
	"strings"
	"time"
)

const (
	// slot is the length of time that a character of a history stands for.
	slot = 5 * time.Second
	// slots is how many of them are shown: the last minute.
	slots = 12
)

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
	first := max(since, until-slots*slot, 0)
	for i := int(first / slot); i <= int(until/slot); i++ {
		end := min(time.Duration(i+1)*slot, until)
		h.waited[i] = max(h.waited[i], end-since)
	}
	h.forget(until)
}

// forget forgets what is not shown any more.
func (h history) forget(now time.Duration) {
	for i := range h.acquired {
		if i <= int(now/slot)-slots {
			delete(h.acquired, i)
		}
	}
	for i := range h.waited {
		if i <= int(now/slot)-slots {
			delete(h.waited, i)
		}
	}
}

// draw draws both, the latest slot last.
func (h history) draw(now time.Duration) (acquired, waited string) {
	return bars(h.acquired, int(now/slot)), bars(h.waited, int(now/slot))
}

// levels are the heights of a bar; the first is that of nothing.
var levels = []rune("·▁▂▃▄▅▆▇█")

// bars draws the slots until last, of which the greatest has the full height.
func bars[N int64 | time.Duration](of map[int]N, last int) string {
	greatest := N(0)
	for i := last - slots + 1; i <= last; i++ {
		greatest = max(greatest, of[i])
	}
	var text strings.Builder
	for i := last - slots + 1; i <= last; i++ {
		height := 0
		if of[i] > 0 { // Something is more than nothing, however little it is.
			height = 1 + int(float64(of[i])/float64(greatest)*float64(len(levels)-2))
		}
		text.WriteRune(levels[height])
	}
	return text.String()
}
