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
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubelock/kubelock/internal/protocol"
)

// maxClockSkew is how far the clocks of two API servers may be apart; as the library has
// it by default.
const maxClockSkew = time.Second

type release struct {
	*options
	earlier
}

// earlier is the hold that another process has begun, by "acquire".
type earlier struct{ lockID string }

func (e *earlier) bind(cmd *cobra.Command) {
	cmd.Flags().StringVar(&e.lockID, "lock-id", "", "The lock ID; the default is $KUBELOCK_LOCK_ID.")
}

// ofHold makes sure that the hold is named.
func (e *earlier) ofHold(command string) error {
	if e.lockID == "" {
		e.lockID = os.Getenv("KUBELOCK_LOCK_ID")
	}
	if e.lockID == "" {
		return usage("%s needs the --lock-id that \"kubectl dlock acquire\" printed", command)
	}
	return nil
}

func newRelease(o *options) *cobra.Command {
	r := &release{options: o}
	cmd := &cobra.Command{
		Use:   "release KEY --lock-id ID",
		Short: "Release a lock that \"acquire\" has left held",
		Long: `End the hold that has the lock ID which "acquire" printed. The lock goes to whoever waits
first; its state stays as it is. Where an admission policy is in force, release as the user who
has acquired it.

The exit code is 76 if the hold is over: its lease has ended, or a user broke the lock. What was
done under the lock may then have met what others did.`,
		Example: `  lock=$(kubectl dlock acquire deploy --try -o env) || exit
  eval "$lock"
  kubectl dlock release deploy --lock-id "$KUBELOCK_LOCK_ID"`,
		Args:              oneKey,
		ValidArgsFunction: o.completeKey,
		RunE:              func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args[0]) },
	}
	r.earlier.bind(cmd)
	return cmd
}

func (r *release) run(ctx context.Context, key string) error {
	if err := r.ofHold("release"); err != nil {
		return err
	}
	l, err := r.lock(key)
	if err != nil {
		return err
	}
	now, err := l.read(ctx)
	if err != nil {
		return err
	}
	if !now.HeldBy(r.lockID, 0) || now.Holder.Foreign() || now.Resting() {
		return r.over(now)
	}
	expired, _ := l.clock.Reading().Guess(time.Now(), maxClockSkew).Expired(now, protocol.Observation{}.Observe(now, time.Now()))
	claim := protocol.Claim{Client: now.Holder.Client, LockID: r.lockID}
	e := &holdWrite{
		lock: l, what: "release", shown: now, ours: protocol.Reason.ByHolder,
		next: func(r protocol.Record, at protocol.Stamp) (protocol.Record, error) {
			return protocol.Release(r, claim, r.Holder.Token, protocol.Change{}, nil, at)
		},
	}
	now, err = e.do(ctx)
	if errors.Is(err, errEnded) {
		return r.over(now)
	}
	if err == nil && expired {
		return &exitError{code: exitLost, err: fmt.Errorf("the lease of %q had ended before the release, so others may have gone on without the lock: "+
			"acquire it with a longer --duration", key)}
	}
	return err
}

// over is the error of a hold that is not, or no longer, the current one.
func (e *earlier) over(now protocol.Record) error {
	who := "no client holds it"
	switch h := now.Holder; {
	case now.Resting():
		who = "no client holds it, it rests; \"kubectl dlock break\" ends that"
	case h != nil:
		who = fmt.Sprintf("%q holds it with the lock ID %s", h.Identity, h.LockID)
	}
	how := ""
	if last := now.LastRelease; last != nil && last.LockID == e.lockID {
		how = fmt.Sprintf("; that hold ended at %s: %s", last.Time.Format(time.RFC3339), last.Reason)
	}
	return &exitError{code: exitLost, err: fmt.Errorf("the lock is not held with the lock ID %q: %s%s", e.lockID, who, how)}
}
