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
	"time"
)

const (
	// maxHolds is how many holds a timeline shows at most: the last.
	maxHolds = 10
	// timelineWidth is how many characters it has.
	timelineWidth = 32
)

// PastHold is a hold that versions of a lock have shown.
type PastHold struct {
	LockID, Identity string
	From             time.Time // zero: before the first version
	Until            time.Time // zero: it goes on
	How              string    // it ended, or goes on
}

// timeline writes holds below each other, each where it was on a line until now.
func timeline(out io.Writer, holds []PastHold, now time.Time) {
	holds = holds[max(0, len(holds)-maxHolds):]
	if len(holds) == 0 {
		fmt.Fprintf(out, "Last holds:\t%s\n", none)
		return
	}
	begin := now
	for _, h := range holds {
		for _, at := range []time.Time{h.From, h.Until} {
			if !at.IsZero() && at.Before(begin) {
				begin = at
			}
		}
	}
	scale := fit(Ago(now, begin)+" ago", timelineWidth-len("now")) + "now"
	fmt.Fprintf(out, "Last holds:\t%s\n", scale)
	for _, h := range holds {
		fmt.Fprintf(out, "  %s\t%s  %s\n", OneLine(h.Identity), h.bar(begin, now), h.length(now))
	}
}

// bar draws a hold on a line from begin to now.
func (h PastHold) bar(begin, now time.Time) string {
	cell := func(at time.Time) int {
		if all := now.Sub(begin); all > 0 {
			return min(max(int(timelineWidth*float64(at.Sub(begin))/float64(all)), 0), timelineWidth-1)
		}
		return 0
	}
	first, last := 0, timelineWidth-1
	if !h.From.IsZero() {
		first = cell(h.From)
	}
	if !h.Until.IsZero() {
		last = max(cell(h.Until), first)
	}
	held := strings.Repeat("━", last-first+1)
	if h.From.IsZero() {
		held = strings.Repeat("╌", last-first+1) // Since when is not known.
	}
	return strings.Repeat("·", first) + held + strings.Repeat("·", timelineWidth-1-last)
}

// length is how long the hold was, and how it ended.
func (h PastHold) length(now time.Time) string {
	until := h.Until
	if until.IsZero() {
		until = now
	}
	if h.From.IsZero() {
		return h.How
	}
	return fmt.Sprintf("%s, %s", waited(max(until.Sub(h.From), time.Millisecond)), h.How)
}
