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
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"

	"github.com/kubelock/kubelock/internal/cli/view"
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
	shown := view.Description{Lock: viewOf(l.kind, r), Holds: holdsOf(versions), Events: make([]view.Event, 0, len(events))}
	if unread != nil {
		shown.HoldsUnknown = inFlags(explain("watch", l.kind, l.namespace, unread))
	}
	if problem != nil {
		shown.EventsUnknown = problem.Error()
	}
	for i := range events {
		e := &events[i]
		shown.Events = append(shown.Events, view.Event{Type: e.Type, Reason: e.Reason, Note: e.Note, Time: lastSeen(e)})
	}
	return shown.Write(o.Out, l.now())
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
