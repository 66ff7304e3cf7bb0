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
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

type deletion struct {
	*options
	timeout time.Duration
}

func newDelete(o *options) *cobra.Command {
	d := &deletion{options: o}
	cmd := &cobra.Command{
		Use:   "delete KEY",
		Short: "Delete a lock and its state when no client holds it",
		Long: `Wait until nobody holds the lock, and delete its object with its state. If others queue for
the lock it goes to them without state instead. A lock that is not there is deleted already.
Fencing tokens go on to grow if the key is locked again.

The exit code is 75 if --timeout ends while somebody holds the lock; "break" ends a hold.`,
		Example: `  # When it is free, for a minute at most
  kubectl dlock delete old-shard --timeout 1m`,
		Args:              oneKey,
		ValidArgsFunction: o.completeKey,
		RunE:              func(cmd *cobra.Command, args []string) error { return d.run(cmd.Context(), args[0]) },
	}
	cmd.Flags().DurationVar(&d.timeout, "timeout", 0, "How long to wait for the lock; 0 waits for ever.")
	return cmd
}

func (d *deletion) run(ctx context.Context, key string) error {
	bounded, cancel, err := within(ctx, d.timeout)
	if err != nil {
		return err
	}
	defer cancel()
	c, err := d.admitted(bounded, func(c *kubelock.Client) error {
		stop := d.tell(ctx, key, c)
		defer stop()
		return kubelock.NewLock[json.RawMessage](c, key).Delete(bounded)
	})
	if c != nil {
		defer d.closed(c)
	}
	if errors.Is(err, kubelock.ErrNotAcquired) && ctx.Err() == nil {
		if unreachable := d.server.outOfReach(); unreachable != nil {
			return unreachable
		}
	}
	return because(ctx, err)
}
