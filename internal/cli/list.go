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
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/kubelock/kubelock/internal/cli/view"
	"github.com/kubelock/kubelock/internal/store"
)

type list struct {
	*options
	all       bool
	watch     bool
	watchOnly bool
	output    output
	labels    string
	order     string

	table view.Table
}

func newList(o *options) *cobra.Command {
	l := &list{options: o}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List locks, whatever they are kept in",
		Long: `List locks with who holds them, for how long, when their leases end, and how many
clients wait. All kinds of objects are looked through that the API server has and that you may
list; --backend restricts it to one. Where a key stands in several, a column says in which.

With -o json and -o yaml it is one List, whose items are as "get -o json" prints a lock.

With --watch, what changes is printed as it changes: a row for each change of a lock, a
document for each with -o yaml, a line for each with -o json, the template's text for each with
a template. SIGINT or SIGTERM ends that, and the exit code is 0 then. --watch-only leaves out the
locks that there are at first.

--sort-by takes a field of -o json, such as .holder.acquireTime; locks without it come last. With
--watch it sorts the locks that there are at first.`,
		Example: `  # The locks of this namespace
  kubectl dlock list

  # Those whose objects have a label
  kubectl dlock list -l team=shop

  # Those of all namespaces, as JSON
  kubectl dlock list -A -o json

  # Who holds what, the longest hold first
  kubectl dlock list --sort-by .holder.acquireTime -o jsonpath='{range .items[*]}{.key}{"\t"}{.holder.identity}{"\n"}{end}'

  # Those of this namespace, and how they change
  kubectl dlock list --watch`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return l.run(cmd.Context()) },
	}
	cmd.Flags().BoolVarP(&l.all, "all-namespaces", "A", false, "List the locks of all namespaces.")
	cmd.Flags().StringVarP(&l.labels, "selector", "l", "", "List the locks whose objects have labels as in kubectl get -l.")
	l.output.bind(cmd, "How to print: table, wide, json, yaml or name.", "table", "wide", "json", "yaml", "name")
	cmd.Flags().BoolVarP(&l.watch, "watch", "w", false, "Go on and print what changes.")
	cmd.Flags().BoolVar(&l.watchOnly, "watch-only", false, "Print what changes from now on, and nothing else.")
	cmd.Flags().StringVar(&l.order, "sort-by", "", "Sort by a field of -o json, as a JSONPath expression.")
	return cmd
}

func (l *list) run(ctx context.Context) error {
	if err := l.output.check(); err != nil {
		return err
	}
	if l.order != "" {
		if _, err := parsePath(l.order); err != nil {
			return err
		}
	}
	r, err := l.reader(l.all)
	if err != nil {
		return err
	}
	if r.selector, err = labels.Parse(l.labels); err != nil {
		return usage("--selector %q is not valid: %w", l.labels, err)
	}
	kinds, err := l.kinds()
	if err != nil {
		return err
	}
	if l.watch = l.watch || l.watchOnly; l.watch {
		return l.follow(ctx, r, kinds)
	}
	rows := []view.Lock{}
	for i, unread := 0, 0; i < len(kinds); i++ {
		of, err := r.list(ctx, kinds[i])
		if unread < len(kinds)-1 && err != nil && (store.NoSuchResource(err) || forbidden(err)) {
			fmt.Fprintln(l.ErrOut, "warning:", err) // The others may be there.
			unread++
			continue
		}
		if err != nil {
			return because(ctx, err)
		}
		rows = append(rows, of...)
	}
	return l.begin(sorted(rows), r.now())
}

// begin prints the locks that there are at first.
func (l *list) begin(rows []view.Lock, now time.Time) error {
	l.table = view.Table{Out: l.Out, Namespaces: l.all, Kinds: ambiguous(rows), Wide: l.output.format == "wide"}
	if l.watchOnly {
		return nil
	}
	if l.order != "" {
		if err := sortBy(rows, l.order); err != nil {
			return err
		}
	}
	return l.print(rows, now)
}

// sorted sorts rows by namespace, key and kind.
func sorted(rows []view.Lock) []view.Lock {
	slices.SortFunc(rows, func(a, b view.Lock) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Key, b.Key), strings.Compare(a.Kind, b.Kind))
	})
	return rows
}

// follow prints the locks, and then each as it changes.
func (l *list) follow(ctx context.Context, r *reader, kinds []store.Kind) error {
	changes, stop, err := r.watch(ctx, kinds)
	if err != nil {
		return err
	}
	defer stop()
	b := l.newBoard(kinds)
	for {
		select {
		case <-ctx.Done():
			return nil // There is no other way to end it.
		case c := <-changes:
			complete := b.listed()
			if err := b.take(c); err != nil {
				return err
			}
			switch {
			case !b.listed():
			case !complete:
				err = l.begin(b.sorted(), r.now())
			default:
				err = l.print(c.rows, r.now())
			}
			if err != nil {
				return err
			}
		}
	}
}

func (l *list) print(rows []view.Lock, now time.Time) error {
	switch {
	case l.output.format == "table" || l.output.format == "wide":
		if len(rows) > 0 {
			return l.table.Write(rows, now)
		}
		if !l.watch {
			_, err := fmt.Fprintln(l.ErrOut, "No locks found.")
			return err
		}
		return nil
	case l.output.format == "name":
		return view.Names(l.Out, rows)
	case l.watch:
		for _, r := range rows {
			if err := l.output.document(l.Out, r, true); err != nil {
				return err
			}
		}
		return nil
	}
	return l.output.document(l.Out, view.ListOf(rows), false)
}

// ambiguous reports whether a key stands in several kinds of object. The rows are sorted.
func ambiguous(rows []view.Lock) bool {
	for i := 1; i < len(rows); i++ {
		if a, b := rows[i-1], rows[i]; a.Namespace == b.Namespace && a.Key == b.Key {
			return true
		}
	}
	return false
}
