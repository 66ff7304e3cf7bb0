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
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
)

// Top is what top shows at one moment.
type Top struct {
	Where      string // whose locks they are
	Namespaces bool   // There is a column for them.
	Trouble    error  // with what is watched; nil if there is none

	Locks, Held, Contended int
	Rate                   float64
	Rows                   []TopRow
}

// TopRow is a lock in the picture of top.
type TopRow struct {
	Lock
	Rate    float64       // acquisitions per second
	Longest time.Duration // the longest wait
	Changes int64         // how often the holder changed since the view began
	// What was seen of it in the last minute: its acquisitions, and how long others waited.
	Acquired [Slots]int64
	Waits    [Slots]time.Duration
}

const (
	// pictured is the width from which on there are histories.
	pictured = 112
	// changesWidth is the width of their first column.
	changesWidth = 7
)

// Lines are the picture as of now, for a width.
func (v *Top) Lines(columns int, now time.Time) []Line {
	state := Line{"", plain}
	if v.Trouble != nil {
		state = Line{"warning: " + v.Trouble.Error(), alarming}
	}
	const narrow = 8 + 2 + 7 + 2 + 6 + 2 + 8 // The columns of numbers, with what separates them.
	pictures := columns >= pictured
	if pictures {
		columns -= 2 + changesWidth + 2*(2+Slots)
	}
	wide := max(columns-narrow-4, 20)
	key, holder, ns := wide*3/5, 0, 0
	if v.Namespaces {
		ns = wide * 3 / 10
		key = wide * 4 / 10
		wide -= 2
	}
	holder = wide - key - ns
	text := func(namespace, k, h, held, waiters, rate, longest, changes, acquired, waits string) string {
		begin := ""
		if v.Namespaces {
			begin = fit(namespace, ns) + "  "
		}
		end := ""
		if pictures {
			end = fmt.Sprintf("  %*s", changesWidth, changes) + "  " + fit(acquired, Slots) + "  " + fit(waits, Slots)
		}
		return begin + fit(k, key) + "  " + fit(h, holder) + fmt.Sprintf("  %8s  %7s  %6s  %8s", held, waiters, rate, longest) + end
	}
	out := make([]Line, 0, 4+len(v.Rows))
	out = append(
		out,
		Line{fmt.Sprintf("Locks of %s at %s", v.Where, now.Local().Format(time.TimeOnly)), plain},
		Line{fmt.Sprintf("%d locks, %d held, %d waited for, %.1f acquisitions/s", v.Locks, v.Held, v.Contended, v.Rate), plain},
		state,
		Line{text("NAMESPACE", "KEY", "HOLDER", "HELD FOR", "WAITERS", "ACQ/S", "MAX WAIT", "CHANGES", "ACQUISITIONS", "WAITS"), heading},
	)
	for i := range v.Rows {
		row := &v.Rows[i]
		held, style := row.heldFor(now), plain
		if row.Holder == nil {
			held = "-"
		}
		if len(row.Waiters) > 0 {
			style = wanted
		}
		if row.expiresIn(now) == "expired" {
			held, style = "expired", alarming
		}
		out = append(out, Line{text(row.Namespace, row.Key, row.holder(), held, strconv.Itoa(len(row.Waiters)), fmt.Sprintf("%.1f", row.Rate), waited(row.Longest), strconv.FormatInt(row.Changes, 10), Bars(row.Acquired), Bars(row.Waits)), style})
	}
	return out
}

// waited is a length of time, in tenths of seconds while that is short.
func waited(d time.Duration) string {
	switch {
	case d == 0:
		return "-"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return duration.HumanDuration(d)
}
