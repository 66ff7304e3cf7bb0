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
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kubelock/kubelock/internal/cli/view"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// maxReason is how long the text of --reason may be: an Event takes 1 KiB, with who did it
// to whom.
const maxReason = 512

type breaking struct {
	*options
	reason string
	lockID string
	yes    bool
}

func newBreak(o *options) *cobra.Command {
	b := &breaking{options: o}
	cmd := &cobra.Command{
		Use:   "break KEY --reason TEXT",
		Short: "End somebody else's hold by force",
		Long: `Show who holds the lock, ask for confirmation, and end that hold. The lock goes to whoever waits
first; its state stays as the holder last wrote it. If another hold has begun by the time of
the answer, nothing is changed.

A holder that still runs learns of it at its next renewal at the latest, and may go on with its work
until then: stop it first, or let what the lock protects refuse its fencing token. The holds that
follow have greater tokens.

The reason is kept in an Event about the lock, with the name of the user; the lock's last release is
Forced. Where the admission policies are in force the verb "force" on distributedlocks is needed: the
ClusterRole kubelock-force has it, and what writes the Event.

The exit code is 79 if nobody holds the lock, if another hold has begun, or without confirmation.`,
		Example: `  # After a look at the holder
  kubectl dlock break migration --reason "node-3 is gone for good"

  # In a script: that hold, and no other
  kubectl dlock break migration --reason "cleanup" --lock-id "$KUBELOCK_LOCK_ID" --yes`,
		Args:              oneKey,
		ValidArgsFunction: o.completeKey,
		RunE:              func(cmd *cobra.Command, args []string) error { return b.run(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	flags.StringVar(&b.reason, "reason", "", "Why, for those who ask later.")
	flags.StringVar(&b.lockID, "lock-id", "", "Break the hold with this lock ID only.")
	flags.BoolVarP(&b.yes, "yes", "y", false, "Do not ask for confirmation.")
	return cmd
}

func (b *breaking) check() error {
	switch {
	case strings.TrimSpace(b.reason) == "":
		return usage("break needs a --reason, which is kept for those who ask later")
	case len(b.reason) > maxReason:
		return usage("--reason must have at most %d bytes, has %d", maxReason, len(b.reason))
	case !utf8.ValidString(b.reason):
		return usage("--reason must be valid UTF-8, is %q", b.reason)
	case !b.yes && !b.asks():
		return differs("not confirmed, because standard input is no terminal: nothing was changed; look at the holder with \"kubectl dlock describe\", then use --yes")
	}
	return nil
}

// asks reports whether there is a terminal to ask on.
func (b *breaking) asks() bool {
	in, ok := b.In.(*os.File)
	return ok && term.IsTerminal(int(in.Fd()))
}

func (b *breaking) run(ctx context.Context, key string) error {
	if err := b.check(); err != nil {
		return err
	}
	l, err := b.lock(key)
	if err != nil {
		return err
	}
	shown, err := l.mustExist(ctx)
	if err != nil {
		return err
	}
	switch h := shown.Holder; {
	case h == nil:
		return differs("nobody holds the lock %q: there is nothing to break", key)
	case h.Foreign():
		return differs("the lock %q is held by %q, which is no client of kubelock: nothing was changed; end it by its own means", key, h.Identity)
	case b.lockID != "" && h.LockID != b.lockID:
		return differs("the lock %q is held with the lock ID %s now, by %q: nothing was changed", key, h.LockID, h.Identity)
	}
	if err := view.DescribeHold(b.ErrOut, viewOf(l.kind, shown), l.now()); err != nil {
		return err
	}
	if !b.yes {
		if err := b.confirm(ctx, key); err != nil {
			return err
		}
	}
	audit, err := l.audit(ctx, b.reason, shown)
	if err != nil {
		return err
	}
	e := &holdWrite{
		lock: l, what: "breaking", shown: shown,
		ours: func(reason protocol.Reason) bool { return reason == protocol.Forced },
		next: func(r protocol.Record, at protocol.Stamp) (protocol.Record, error) {
			return protocol.Force(r, shown, at)
		},
	}
	after, err := e.do(ctx)
	if errors.Is(err, errEnded) {
		return b.changed(key, after)
	}
	if errors.Is(err, kubelock.ErrUnknownOutcome) {
		if failed := audit.write(ctx, "whether that ended it is not known"); failed != nil {
			return fmt.Errorf("%w; %w", err, failed)
		}
		return err
	}
	if err != nil {
		return err
	}
	now := "it is free now"
	if h := after.Holder; h != nil {
		now = view.OneLine(h.Identity) + " has it now"
	}
	fmt.Fprintf(b.ErrOut, "The lock is broken; %s.\n", now)
	return audit.write(ctx, now)
}

// confirm asks, and returns nil if the answer is yes.
func (b *breaking) confirm(ctx context.Context, key string) error {
	fmt.Fprintf(b.ErrOut, "Break the lock %s? Its holder may still be at work. Type yes to do so: ", view.OneLine(key))
	answers := make(chan string, 1)
	go func() { // It ends with the program where nobody answers.
		answer, err := bufio.NewReader(b.In).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			answer = ""
		}
		answers <- strings.TrimSpace(answer)
	}()
	select {
	case answer := <-answers:
		if answer != "yes" {
			return differs("not confirmed: nothing was changed")
		}
		return nil
	case <-ctx.Done():
		fmt.Fprintln(b.ErrOut)
		return because(ctx, ctx.Err())
	}
}

// changed is the error of a hold that has ended before it was broken.
func (b *breaking) changed(key string, now protocol.Record) error {
	who := "no client holds it now"
	switch h := now.Holder; {
	case now.Resting():
		who = "it rests now, after that hold or a later one"
	case h != nil:
		who = fmt.Sprintf("%q has held it since %s, with the lock ID %s", h.Identity, h.AcquireTime.Format(time.RFC3339), h.LockID)
	}
	return differs("the hold of %q that was shown has ended meanwhile, and %s: nothing was changed", key, who)
}

// differs is the error of things that are not as somebody wanted them to be.
func differs(format string, args ...any) error {
	return &exitError{code: exitDiffers, err: fmt.Errorf(format, args...)}
}
