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
	"time"

	"github.com/spf13/cobra"

	"github.com/kubelock/kubelock/internal/protocol"
)

type renew struct {
	*options
	earlier
	duration time.Duration
	given    bool // --duration
	output   string
}

func newRenew(o *options) *cobra.Command {
	r := &renew{options: o}
	cmd := &cobra.Command{
		Use:   "renew KEY --lock-id ID",
		Short: "Renew a lock that \"acquire\" has left held",
		Long: `Renew the lease of the hold that has the lock ID which "acquire" printed: from now on it lasts
for --duration, by default for as long as it did from its last renewal on. A script of unknown length
renews between its steps, or in the background. The state of the lock stays as it is. Where an
admission policy is in force, renew as the user who has acquired the lock.

A lease never ends earlier by a renewal: if it would, it lasts for as long as it does already,
and standard error says so.

The exit code is 76 if the hold is over, and then nothing is written: its lease has ended, the lock was
released, or a user broke it. What was done under the lock may then have met what others did.
With an outcome that cannot be learned the exit code is 69: try again. As long as the lease
that was printed last is not over, the lock is held.`,
		Example: `  # Hold a lock for as long as the steps of a script take
  lock=$(kubectl dlock acquire deploy --timeout 1m --duration 5m -o env) || exit
  eval "$lock"
  for step in build test; do
    kubectl dlock renew deploy || exit
    echo "$step"
  done
  kubectl dlock release deploy`,
		Args:              oneKey,
		ValidArgsFunction: o.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.given = cmd.Flags().Changed("duration")
			return r.run(cmd.Context(), args[0])
		},
	}
	r.earlier.bind(cmd)
	cmd.Flags().DurationVar(&r.duration, "duration", 0, "How long the lock stays held from now on unless it is released; the default is its present lease.")
	outputFlag(cmd, &r.output, "How to print: text, json or env.", "text", "json", "env")
	return cmd
}

func (r *renew) check() error {
	if err := oneOf("output", r.output, "text", "json", "env"); err != nil {
		return err
	}
	if r.given && (r.duration < minDuration || r.duration > protocol.MaxDuration) {
		return usage("--duration must be at least %v and at most %v, is %v", minDuration, protocol.MaxDuration, r.duration)
	}
	return r.ofHold("renew")
}

func (r *renew) run(ctx context.Context, key string) error {
	if err := r.check(); err != nil {
		return err
	}
	l, err := r.lock(key)
	if err != nil {
		return err
	}
	shown, err := l.read(ctx)
	if err != nil {
		return err
	}
	if !shown.HeldBy(r.lockID, 0) || shown.Holder.Foreign() {
		return r.over(shown)
	}
	var lease time.Duration // of the last write
	w := &holdWrite{lock: l, what: "renew", shown: shown}
	w.next = func(now protocol.Record, at protocol.Stamp) (next protocol.Record, err error) {
		next, lease, err = r.renewed(l, now, at)
		return next, err
	}
	w.lasts = func(now protocol.Record) bool {
		h := now.Holder
		return h != nil && l.clock.Reading().Covers(protocol.Stamp{Time: h.RenewTime, Source: h.Source}, w.wrote(h.RenewTime).at)
	}
	after, err := w.do(ctx)
	if errors.Is(err, errEnded) {
		return r.over(after)
	}
	if err != nil {
		return err
	}
	h := after.Holder
	switch {
	case h.Duration < lease:
		fmt.Fprintf(r.ErrOut, "The lease lasts for %v, and not for %v: leader electors use the object, too.\n", h.Duration, lease)
	case r.given && lease > r.duration:
		fmt.Fprintf(r.ErrOut, "The lease lasts for %v, and not for %v: a renewal does not end it earlier.\n", lease.Round(time.Millisecond), r.duration)
	}
	held := r.acquired(key, h.LockID, h.Token, w.wrote(h.RenewTime).at.Add(h.Duration))
	return held.Write(r.Out, r.output)
}

// renewed is now, which shows the hold, with the hold renewed for lease. Its error says so if the hold's
// lease has ended, though no other client has the lock yet: clients that wait for that may
// have gone on, and a client that runs would not revive its hold, either.
func (r *renew) renewed(l *lock, now protocol.Record, at protocol.Stamp) (_ protocol.Record, lease time.Duration, err error) {
	h, here := now.Holder, time.Now()
	if now.Terminating {
		return now, 0, ended("the object of %q is being deleted, and the lock with it: nothing was renewed", l.key)
	}
	if expired, _ := l.clock.Reading().Guess(here, maxClockSkew).Expired(now, protocol.Observation{}.Observe(now, here)); expired {
		return now, 0, ended("the lease of %q had ended before the renewal, so others may have gone on without the lock: nothing was renewed; "+
			"acquire it with a longer --duration, or renew it more often", l.key)
	}
	lease = h.Duration
	if r.given {
		lease = max(r.duration, remainder(l, now, at))
	}
	claim := protocol.Claim{Pod: h.Pod, LockID: h.LockID, Duration: lease}
	next, err := protocol.Renew(now, claim, h.Token, protocol.Change{}, at)
	return next, lease, err
}

// remainder is how long the lease lasts at most from at on, if it is not renewed. The stamp of the last renewal is
// an upper bound of the server's time then, and now counts by a lower one, so the holder
// counts on no more.
func remainder(l *lock, now protocol.Record, at protocol.Stamp) time.Duration {
	h := now.Holder
	lower, _, ok := l.clock.Reading().Bounds(time.Now())
	if !ok || h.Source != protocol.Server || at.Source != protocol.Server {
		return h.Duration // The two times cannot be compared.
	}
	if at.Time.Before(lower) {
		lower = at.Time
	}
	return min(h.RenewTime.Add(h.Duration).Sub(lower), h.Duration)
}

// ended is the error of a hold that is over.
func ended(format string, args ...any) error {
	return &exitError{code: exitLost, err: fmt.Errorf(format, args...)}
}
