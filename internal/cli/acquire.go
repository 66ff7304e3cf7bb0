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
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubelock/kubelock/internal/cli/view"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

type acquire struct {
	*options
	hold
	output string
}

func newAcquire(o *options) *cobra.Command {
	a := &acquire{options: o}
	cmd := &cobra.Command{
		Use:   "acquire KEY",
		Short: "Take a lock and leave it held, for scripts",
		Long: `Take the lock of KEY, print its lock ID and its fencing token, and end. The lock stays held until
"release" is called with the lock ID, or the lease ends. It is renewed by "renew" only, so choose a
--duration that the work, or its longest step between two renewals, surely ends in. Where a command can
be wrapped, prefer "run", which renews, and ends the command if the lock is lost.

With -o env the output is for a shell to evaluate: it sets and exports KUBELOCK_KEY,
KUBELOCK_LOCK_ID and KUBELOCK_TOKEN, and says in a comment how to renew and to release.`,
		Example: `  # Hold a lock across several commands of a script
  lock=$(kubectl dlock acquire deploy --timeout 1m --duration 10m -o env) || exit
  eval "$lock"
  echo "deploying with token $KUBELOCK_TOKEN"
  kubectl dlock release deploy --lock-id "$KUBELOCK_LOCK_ID"`,
		Args:              oneKey,
		ValidArgsFunction: o.completeKey,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.run(cmd.Context(), args[0]) },
	}
	flags := cmd.Flags()
	flags.DurationVar(&a.timeout, "timeout", 0, "How long to wait for the lock; 0 waits for ever.")
	flags.DurationVar(&a.duration, "duration", 30*time.Second, "The lease: how long the lock stays held unless it is released.")
	flags.BoolVar(&a.try, "try", false, "Do not wait for the lock.")
	outputFlag(cmd, &a.output, "How to print: text, json or env.", "text", "json", "env")
	return cmd
}

func (a *acquire) run(ctx context.Context, key string) error {
	if err := oneOf("output", a.output, "text", "json", "env"); err != nil {
		return err
	}
	held, c, err := a.acquire(ctx, a.options, key)
	if err != nil {
		return err
	}
	defer a.closed(c)
	err = a.leave(ctx, held)
	if err == nil {
		return nil
	}
	// Nobody knows the lock ID, so nobody could release it.
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	if released := held.Release(release); released != nil && !errors.Is(err, kubelock.ErrLost) {
		err = fmt.Errorf("%w; the lock may stay held until its lease ends: %w", err, released)
	}
	return err
}

// leave tells of the hold, and leaves it as it is.
func (a *acquire) leave(ctx context.Context, held *kubelock.Held[json.RawMessage]) error {
	// A lock that was handed on has a short lease at first, and one that was created does
	// not show its token.
	if err := held.Renew(ctx); err != nil {
		return because(ctx, err)
	}
	lease := a.acquired(held.Key(), held.ID(), held.Token(), time.Now().Add(time.Until(held.Deadline())))
	return lease.Write(a.Out, a.output)
}

// acquired is what there is to tell of a hold.
func (o *options) acquired(key, lockID string, token int64, expires time.Time) view.Acquired {
	where := ""
	if ns, err := o.namespace(); err == nil {
		where = " -n " + ns
	}
	if kind, backend, err := o.kind(); err == nil && kind != store.DistributedLocks {
		where += " --backend " + string(backend)
	}
	return view.Acquired{Key: key, LockID: lockID, Token: token, ExpireTime: expires.UTC().Truncate(time.Millisecond), Where: where}
}
