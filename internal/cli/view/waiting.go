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
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// Waiting is what a command waits for.
type Waiting struct {
	Key           string
	Held          bool
	Holder        string
	HeldSince     time.Time
	Place, Queued int // the client's own place in the queue, 0 if it has none, and how many there are
}

// Text is that in one line.
func (w Waiting) Text(now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "waiting for %q", w.Key)
	if w.Held {
		fmt.Fprintf(&b, ": held by %q for %s", w.Holder, Ago(now, w.HeldSince))
	}
	if w.Place > 0 {
		fmt.Fprintf(&b, ", place %d of %d in the queue", w.Place, w.Queued)
	}
	return b.String()
}

// StatusLine is a line on a terminal that is drawn again and again, and cleared at last.
type StatusLine struct {
	Terminal *os.File
	drawn    bool
}

// Draw draws text in place of what was there. Spaces and no control sequences clear that: NO_COLOR and dumb
// terminals are respected.
func (l *StatusLine) Draw(text string) {
	l.drawn = true
	fmt.Fprintf(l.Terminal, "\r%s", fit(text, l.columns()))
}

// Clear removes the line, if there is one.
func (l *StatusLine) Clear() {
	if l.drawn {
		l.drawn = false
		fmt.Fprintf(l.Terminal, "\r%s\r", strings.Repeat(" ", l.columns()))
	}
}

// columns is the room for the line: without the last column, after which terminals differ.
func (l *StatusLine) columns() int {
	if columns, _, err := term.GetSize(int(l.Terminal.Fd())); err == nil && columns > 1 {
		return columns - 1
	}
	return 79
}
