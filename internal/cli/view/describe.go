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
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
)

// Event is an event about a lock.
type Event struct {
	Type, Reason, Note string
	Time               time.Time
}

// Description is everything about a lock, for people.
type Description struct {
	Lock   Lock
	Holds  []PastHold // the oldest first
	Events []Event    // the oldest first
	// The reasons why those two are not known; empty if they are.
	HoldsUnknown, EventsUnknown string
}

// Write writes the description as of now, with its columns below each other.
func (d *Description) Write(out io.Writer, now time.Time) error {
	text := &bytes.Buffer{}
	d.Lock.describe(text, now)
	if d.HoldsUnknown == "" {
		timeline(text, d.Holds, now)
	} else {
		fmt.Fprintf(text, "Last holds:\t<unknown>: %s\n", d.HoldsUnknown)
	}
	switch {
	case d.EventsUnknown != "":
		fmt.Fprintf(text, "Events:\t<unknown>: %s\n", d.EventsUnknown)
	case len(d.Events) == 0:
		fmt.Fprintf(text, "Events:\t%s\n", none)
	default:
		fmt.Fprintf(text, "Events:\n")
		for _, e := range d.Events {
			fmt.Fprintf(text, "  %s\t%s\t%s ago\t%s\n", e.Type, e.Reason, Ago(now, e.Time), OneLine(e.Note))
		}
	}
	return aligned(out, text.String())
}

// DescribeHold writes whose hold of the lock would end, and which waiter is next.
func DescribeHold(out io.Writer, l Lock, now time.Time) error {
	text := &bytes.Buffer{}
	fmt.Fprintf(text, "Key:\t%s\nNamespace:\t%s\n", OneLine(l.Key), l.Namespace)
	l.describeHolder(text, now)
	next := none
	if len(l.Waiters) > 0 {
		next = fmt.Sprintf("%s, first of %d", OneLine(l.Waiters[0].Identity), len(l.Waiters))
	}
	fmt.Fprintf(text, "Next:\t%s\n", next)
	return aligned(out, text.String())
}

// describe writes the lock itself, in columns that tabs divide.
func (l Lock) describe(out io.Writer, now time.Time) {
	fmt.Fprintf(out, "Key:\t%s\nNamespace:\t%s\nObject:\t%s/%s\n", OneLine(l.Key), l.Namespace, l.Resource, l.Name)
	if l.Terminating {
		keeps := none
		if len(l.Finalizers) > 0 {
			keeps = OneLine(strings.Join(l.Finalizers, ", "))
		}
		fmt.Fprintf(out, "Terminating:\tits object is being deleted, and exists until these finalizers are removed: %s\n", keeps)
	}
	l.describeHolder(out, now)
	if len(l.Waiters) == 0 {
		fmt.Fprintf(out, "Waiters:\t%s\n", none)
	} else {
		fmt.Fprintf(out, "Waiters:\n")
		for _, w := range l.Waiters {
			fmt.Fprintf(out, "  %d. %s\t(lock ID %s, wants it for %s)\n", w.Position, OneLine(w.Identity), w.LockID, w.Duration)
		}
	}
	if r := l.LastRelease; r != nil && r.Rest {
		fmt.Fprintf(out, "Last release:\tfollowed by a rest, which was over %s ago, after the hold of %s\n", Ago(now, r.Time), OneLine(r.Identity))
	} else if r != nil {
		fmt.Fprintf(out, "Last release:\t%s, %s ago, of the hold of %s (token %d, lock ID %s)\n", r.Reason, Ago(now, r.Time), OneLine(r.Identity), r.Token, r.LockID)
	} else {
		fmt.Fprintf(out, "Last release:\t%s\n", none)
	}
	fmt.Fprintf(out, "Holds so far:\t%d\n", l.Transitions)
	if l.Value == nil {
		fmt.Fprintf(out, "Value:\t%s\n", none)
		return
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, l.Value, "  ", "  ") != nil {
		pretty.Reset()
		pretty.Write(l.Value)
	}
	fmt.Fprintf(out, "Value:\n  %s\n", pretty.String())
}

// describeHolder writes the hold of the lock.
func (l Lock) describeHolder(out io.Writer, now time.Time) {
	h := l.Holder
	if h == nil {
		fmt.Fprintf(out, "Holder:\t%s\n", none)
		return
	}
	expires := "in " + duration.HumanDuration(h.ExpireTime.Sub(now))
	if !now.Before(h.ExpireTime) {
		expires = Ago(now, h.ExpireTime) + " ago"
	}
	if l.Resting {
		fmt.Fprintf(out, "Holder:\t%s\n  Resting:\tafter the hold of %s, for %s, ends %s\n  Lock ID:\t%s\n", none, OneLine(h.Identity), h.Duration, expires, h.LockID)
		return
	}
	fmt.Fprintf(out, "Holder:\t%s\n", OneLine(h.Identity))
	if h.Pod != "" {
		fmt.Fprintf(out, "  Pod:\t%s\n", h.Pod)
	}
	fmt.Fprintf(out, "  Lock ID:\t%s\n  Token:\t%s\n  Held for:\t%s\n  Renewed:\t%s ago\n  Lease:\t%s, expires %s\n",
		h.LockID, l.Token(), l.heldFor(now), Ago(now, h.RenewTime), h.Duration, expires)
}

// aligned writes text with its columns below each other. What others have written into
// the lock cannot control the terminal.
func aligned(out io.Writer, text string) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if _, err := io.WriteString(table, printers.EscapeTerminal(text)); err != nil {
		return err
	}
	return table.Flush()
}
