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
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/kubernetes"

	"github.com/kubelock/kubelock/internal/protocol"
)

// maxEvents is how many events are shown at most: the last.
const maxEvents = 20

func newDescribe(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "describe KEY",
		Short: "Show everything about a lock",
		Long: `Show a lock for people: who holds it, who waits in which order, how its last hold ended, its
state, its last holds on a line of time, and recent events about it. For programs there is "get -o json".

The last holds, ten at most, are those that the API server still remembers: it keeps what has changed
for some minutes.`,
		Example: `  kubectl dlock describe orders`,
		Args:    oneKey, ValidArgsFunction: o.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error { return describe(cmd.Context(), o, args[0]) },
	}
}

func describe(ctx context.Context, o *options, key string) error {
	l, err := o.lock(key)
	if err != nil {
		return err
	}
	r, err := l.mustExist(ctx)
	if err != nil {
		return err
	}
	events, problem := l.events(ctx, r)
	versions, unread := l.past(ctx, r)
	text := &bytes.Buffer{}
	shown, now := rowOf(l.kind, r), l.now()
	shown.describe(text, now)
	if unread == nil {
		timeline(text, holdsOf(versions), now)
	} else {
		fmt.Fprintf(text, "Last holds:\t<unknown>: %s\n", inFlags(explain("watch", l.kind, l.namespace, unread)))
	}
	switch {
	case problem != nil:
		fmt.Fprintf(text, "Events:\t<unknown>: %v\n", problem)
	case len(events) == 0:
		fmt.Fprintf(text, "Events:\t%s\n", none)
	default:
		fmt.Fprintf(text, "Events:\n")
		for i := range events {
			e := &events[i]
			fmt.Fprintf(text, "  %s\t%s\t%s ago\t%s\n", e.Type, e.Reason, ago(now, lastSeen(e)), oneLine(e.Note))
		}
	}
	return aligned(o.Out, text.String())
}

// describe writes all but the events, in columns that tabs divide.
func (r row) describe(out io.Writer, now time.Time) {
	fmt.Fprintf(out, "Key:\t%s\nNamespace:\t%s\nObject:\t%s/%s\n", oneLine(r.Key), r.Namespace, r.resource, r.Name)
	if r.Terminating {
		keeps := none
		if len(r.Finalizers) > 0 {
			keeps = oneLine(strings.Join(r.Finalizers, ", "))
		}
		fmt.Fprintf(out, "Terminating:\tits object is being deleted, and exists until these finalizers are removed: %s\n", keeps)
	}
	r.describeHolder(out, now)
	if len(r.Waiters) == 0 {
		fmt.Fprintf(out, "Waiters:\t%s\n", none)
	} else {
		fmt.Fprintf(out, "Waiters:\n")
		for _, w := range r.Waiters {
			fmt.Fprintf(out, "  %d. %s\t(lock ID %s, wants it for %s)\n", w.Position, oneLine(w.Identity), w.LockID, w.Duration)
		}
	}
	if l := r.LastRelease; l != nil && l.rest {
		fmt.Fprintf(out, "Last release:\tfollowed by a rest, which was over %s ago, after the hold of %s\n", ago(now, l.Time), oneLine(l.Identity))
	} else if l != nil {
		fmt.Fprintf(out, "Last release:\t%s, %s ago, of the hold of %s (token %d, lock ID %s)\n", l.Reason, ago(now, l.Time), oneLine(l.Identity), l.Token, l.LockID)
	} else {
		fmt.Fprintf(out, "Last release:\t%s\n", none)
	}
	fmt.Fprintf(out, "Holds so far:\t%d\n", r.Transitions)
	if r.Value == nil {
		fmt.Fprintf(out, "Value:\t%s\n", none)
		return
	}
	var pretty bytes.Buffer
	if json.Indent(&pretty, r.Value, "  ", "  ") != nil {
		pretty.Reset()
		pretty.Write(r.Value)
	}
	fmt.Fprintf(out, "Value:\n  %s\n", pretty.String())
}

// describeHolder writes who holds the lock.
func (r row) describeHolder(out io.Writer, now time.Time) {
	h := r.Holder
	if h == nil {
		fmt.Fprintf(out, "Holder:\t%s\n", none)
		return
	}
	expires := "in " + duration.HumanDuration(h.ExpireTime.Sub(now))
	if !now.Before(h.ExpireTime) {
		expires = ago(now, h.ExpireTime) + " ago"
	}
	if r.Resting {
		fmt.Fprintf(out, "Holder:\t%s\n  Resting:\tafter the hold of %s, for %s, ends %s\n  Lock ID:\t%s\n", none, oneLine(h.Identity), h.Duration, expires, h.LockID)
		return
	}
	fmt.Fprintf(out, "Holder:\t%s\n", oneLine(h.Identity))
	if h.Pod != "" {
		fmt.Fprintf(out, "  Pod:\t%s\n", h.Pod)
	}
	fmt.Fprintf(out, "  Lock ID:\t%s\n  Token:\t%s\n  Held for:\t%s\n  Renewed:\t%s ago\n  Lease:\t%s, expires %s\n",
		h.LockID, r.token(), r.heldFor(now), ago(now, h.RenewTime), h.Duration, expires)
}

// oneLine is text that others have written as one line and one column.
func oneLine(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return strconv.Quote(text)
	}
	return text
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

// events are the last about the object, the oldest first.
func (l *lock) events(ctx context.Context, r protocol.Record) ([]eventsv1.Event, error) {
	c, err := kubernetes.NewForConfigAndClient(l.config, l.http)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	list, err := c.EventsV1().Events(l.namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("regarding.uid", r.UID).String(),
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(list.Items, func(a, b eventsv1.Event) int {
		return cmp.Or(lastSeen(&a).Compare(lastSeen(&b)), strings.Compare(a.Name, b.Name))
	})
	return list.Items[max(0, len(list.Items)-maxEvents):], nil
}

// lastSeen is when an event was last so.
func lastSeen(e *eventsv1.Event) time.Time {
	if e.Series != nil {
		return e.Series.LastObservedTime.Time
	}
	return e.EventTime.Time
}
