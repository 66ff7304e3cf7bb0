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
	"time"

	"github.com/spf13/cobra"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

type waiting struct {
	*options
	timeout time.Duration
}

func newWait(o *options) *cobra.Command {
	w := &waiting{options: o}
	cmd := &cobra.Command{
		Use:   "wait KEY",
		Short: "Wait until a lock is available, without taking it",
		Long: `Return at once if the lock is free or its lease has ended; else at the first end of a hold:
a release, a hand-off to somebody else, an expiry or a deletion. The lock need not stay free.
To have the lock then, use "run" or "acquire" instead.

The exit code is 75 if --timeout ends first.`,
		Example: `  # Until the migration is over, for ten minutes at most
  kubectl dlock wait migration --timeout 10m`,
		Args:              oneKey,
		ValidArgsFunction: o.completeKey,
		RunE:              func(cmd *cobra.Command, args []string) error { return w.run(cmd.Context(), args[0]) },
	}
	cmd.Flags().DurationVar(&w.timeout, "timeout", 0, "How long to wait; 0 waits for ever.")
	return cmd
}

func (w *waiting) run(ctx context.Context, key string) error {
	bounded, cancel, err := within(ctx, w.timeout)
	if err != nil {
		return err
	}
	defer cancel()
	c, err := w.client()
	if err != nil {
		return err
	}
	defer w.closed(c)
	stop := w.tell(ctx, key, c)
	_, err = kubelock.NewLock[any](c, key).Wait(bounded)
	stop()
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		if unreachable := w.server.outOfReach(); unreachable != nil {
			return unreachable
		}
		return &exitError{code: exitNotAcquired, err: err}
	}
	return because(ctx, err)
}
