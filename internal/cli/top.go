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
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kubelock/kubelock/internal/cli/view"
)

type top struct {
	*options
	all      bool
	interval time.Duration
}

func newTop(o *options) *cobra.Command {
	t := &top{options: o}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the locks that are held or waited for",
		Long: `Show the locks that are held, waited for or were acquired in the last ten seconds, the
most wanted first, on the whole screen:

  HELD FOR  since when the holder has had it; "expired" if its lease is over
  WAITERS   how many clients wait
  ACQ/S     acquisitions a second, of the last ten seconds
  MAX WAIT  the longest that a client was seen to wait since the view began

From 112 columns on there are also

  CHANGES       how often the holder changed since the view began, by hand-overs and by acquisitions of
                a free lock; a client that acquires the lock again counts, and a rest does not

and what was seen in the last minute, five seconds per character and each to a scale of its own:

  ACQUISITIONS  how often the lock was acquired
  WAITS         how long the client that waited longest had waited by then

Press q or Ctrl-C to quit; the exit code is 0 then. If standard output is no terminal, the
locks are watched for one --interval and printed once. NO_COLOR is respected.`,
		Example: `  # The locks of this namespace
  kubectl dlock top

  # Once, as text: those of all namespaces
  kubectl dlock top -A | cat`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return t.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.BoolVarP(&t.all, "all-namespaces", "A", false, "Show the locks of all namespaces.")
	flags.DurationVar(&t.interval, "interval", time.Second, "How long to wait from one picture to the next.")
	return cmd
}

// minInterval is the shortest that a person could read.
const minInterval = 100 * time.Millisecond

func (t *top) run(ctx context.Context) error {
	if t.interval < minInterval {
		return usage("--interval must be at least %v, is %v", minInterval, t.interval)
	}
	r, err := t.reader(t.all)
	if err != nil {
		return err
	}
	kinds, err := t.kinds()
	if err != nil {
		return err
	}
	changes, stop, err := r.watch(ctx, kinds)
	if err != nil {
		return err
	}
	defer stop()
	b := t.newBoard(kinds)
	for !b.listed() { // So that what prevents it is told on the usual screen.
		select {
		case <-ctx.Done():
			return nil
		case c := <-changes:
			if err := b.take(c); err != nil {
				return err
			}
		}
	}
	return t.show(ctx, r, b, changes)
}

// show draws what the board has, again and again, until it is asked to end.
func (t *top) show(ctx context.Context, r *reader, b *board, changes <-chan change) error {
	var trouble error
	b.warn = func(err error) { trouble = err }
	began := time.Now()
	seen := newActivity(began)
	for _, r := range b.rows {
		seen.see(r, began)
	}

	s := &view.Screen{Out: t.Out}
	if file, ok := t.Out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		s.Terminal = file
	}
	quit, restore, err := s.Begin(t.In)
	if err != nil {
		return err
	}
	defer restore()
	where := "namespace " + r.namespace
	if t.all {
		where = "all namespaces"
	}
	draw := func() error {
		if !b.troubled {
			trouble = nil
		}
		now := time.Now()
		picture := seen.view(now)
		picture.Where, picture.Namespaces, picture.Trouble = where, t.all, trouble
		return s.Show(picture.Lines(s.Columns(), r.now()), s.Terminal != nil)
	}
	if s.Terminal != nil {
		if err := draw(); err != nil {
			return err
		}
	}
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-quit:
			return nil
		case c := <-changes:
			if err := b.take(c); err != nil {
				return err
			}
			for _, r := range c.rows {
				seen.see(r, time.Now())
			}
		case <-tick.C:
			if err := draw(); err != nil || s.Terminal == nil {
				return err
			}
		}
	}
}
