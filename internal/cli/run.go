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
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// releaseTimeout bounds the release of what is held, which does not end with a signal.
const releaseTimeout = time.Minute

// hold is how a command takes the lock that it needs.
type hold struct {
	timeout  time.Duration
	duration time.Duration
	try      bool
	minHold  time.Duration
}

func (h *hold) bind(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&h.timeout, "timeout", 0, "How long to wait for the lock; 0 waits for ever.")
	flags.DurationVar(&h.duration, "duration", 30*time.Second, "The lease: how soon others get the lock if the plugin dies.")
}

// minDuration is the shortest lease that the library takes.
const minDuration = 10 * time.Millisecond

// waiting checks the flags, and returns a context that ends when the wait for the lock does.
func (h *hold) waiting(ctx context.Context) (context.Context, context.CancelFunc, error) {
	switch {
	case h.duration < minDuration || h.duration > protocol.MaxDuration:
		return nil, nil, usage("--duration must be at least %v and at most %v, is %v", minDuration, protocol.MaxDuration, h.duration)
	case h.minHold < 0 || h.minHold > protocol.MaxDuration:
		return nil, nil, usage("--min-hold must be at least 0 and at most %v, is %v", protocol.MaxDuration, h.minHold)
	case h.try && h.timeout != 0:
		return nil, nil, usage("use --try, which does not wait, or --timeout, not both")
	}
	return within(ctx, h.timeout)
}

// acquire takes the lock. The caller closes the client, unless there is an error.
func (h *hold) acquire(ctx context.Context, o *options, key string, opts ...kubelock.Option) (held *kubelock.Held[json.RawMessage], _ *kubelock.Client, _ error) {
	wait, cancel, err := h.waiting(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer cancel()
	opts = append(opts, kubelock.WithDuration(h.duration), kubelock.WithMinHold(h.minHold))
	c, err := o.admitted(wait, func(c *kubelock.Client) (err error) {
		lock := kubelock.NewLock[json.RawMessage](c, key)
		acquire := lock.Acquire
		if h.try {
			acquire = lock.TryAcquire
		}
		stop := o.tell(ctx, key, c)
		held, err = acquire(wait, opts...)
		stop()
		return err
	})
	if err == nil {
		return held, c, nil
	}
	if c != nil {
		defer o.closed(c)
	}
	return nil, nil, notAcquired(ctx, o, key, err)
}

// notAcquired is the error of a lock that was not acquired because of err.
func notAcquired(ctx context.Context, o *options, key string, err error) error {
	if errors.Is(err, kubelock.ErrNotAcquired) && ctx.Err() == nil {
		// That the API server does not answer does not say that somebody has the lock.
		if unreachable := o.server.outOfReach(); unreachable != nil {
			return fmt.Errorf("%w: the lock %q was not acquired", unreachable, key)
		}
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok {
		return editedState(key)
	}
	return because(ctx, err)
}

type run struct {
	*options
	hold
	noRenew  bool
	grace    time.Duration
	conflict int
}

func newRun(o *options) *cobra.Command {
	r := &run{options: o}
	cmd := &cobra.Command{
		Use:   "run KEY [flags] -- COMMAND [ARGUMENT...]",
		Short: "Run a command while holding a lock",
		Long: `Take the lock of KEY, run COMMAND, and release the lock when it ends. The lock is renewed
while COMMAND runs. COMMAND has in its environment

  KUBELOCK_KEY         the key
  KUBELOCK_TOKEN       the fencing token: let what the lock protects refuse a smaller one
                       than the greatest that it has seen
  KUBELOCK_VALUE_FILE  a file with the lock's state as JSON, empty if there is none. If
                       COMMAND succeeds, what it then has is the lock's state; an empty
                       file is none. If COMMAND fails, the state stays as it was.

With --min-hold the lock stays taken for that long from when it was acquired, also if COMMAND ends before and the
plugin with it. So what several machines start at the same time runs once, if they use --try. It needs COMMAND
to end: if the plugin itself is killed, others have the lock when its lease ends.

As the first process of a container the plugin takes note of the ends of orphans, as init does.

SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 are passed on to COMMAND's process
group, save SIGHUP and SIGINT if they were ignored when the plugin began (nohup); the plugin ends
when COMMAND does. If the lock is lost (the API server could not be
reached for the whole lease, or a user broke the lock), the group gets SIGTERM, and
SIGKILL after --grace. If the plugin itself is killed, the group is killed, too; the lock
ends with its lease. The same goes for a group that COMMAND itself leads, as by setsid. Only a kill
of all processes of this name at once (killall -9) leaves COMMAND running without the lock. What
COMMAND starts outside of both groups, as daemons are, or leaves in the background when it ends,
goes on without the lock, too.

On a terminal COMMAND has the keyboard, in a pipeline from when it first reads from the terminal until it
ends. In the background it is stopped when it reads, keeps the lock, and goes on after fg. Ctrl-Z is
ignored, because a suspended command would keep the lock.

The exit code is that of COMMAND, 128+n if signal n ended it, or
  64   wrong usage
  65   COMMAND succeeded, but left no JSON in the value file; nothing was written
  69   the API server refuses or cannot be reached
  75   the lock was not acquired (see --conflict-exit-code)
  76   the lock was lost; if COMMAND had ended, its value was not written
  126  COMMAND cannot be run
  127  COMMAND was not found`,
		Example: `  # One backup at a time; wait for at most a minute
  kubectl dlock run nightly/backup --timeout 1m -- sh -c 'echo backing up'

  # Not at all if it runs already
  kubectl dlock run nightly/backup --try --conflict-exit-code 0 -- true

  # Once per minute, although the cron of each machine starts it
  kubectl dlock run nightly/report --try --conflict-exit-code 0 --min-hold 55s -- echo reporting

  # Count the runs in the lock's state
  kubectl dlock run counter -- sh -c 'n=$(cat "$KUBELOCK_VALUE_FILE"); echo $((n + 1)) > "$KUBELOCK_VALUE_FILE"'`,
		Args: func(cmd *cobra.Command, args []string) error {
			_, _, err := keyAndCommand(cmd, args)
			return err
		},
		ValidArgsFunction: o.completeKey,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, command, err := keyAndCommand(cmd, args)
			if err != nil {
				return err
			}
			return r.run(cmd.Context(), key, command)
		},
	}
	r.hold.bind(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&r.try, "try", false, "Do not wait for the lock.")
	flags.DurationVar(&r.minHold, "min-hold", 0, "How long the lock stays taken after it was acquired, also if the command ends before.")
	flags.BoolVar(&r.noRenew, "no-renew", false, "Do not renew the lock: the command is ended when the lease is over.")
	flags.DurationVar(&r.grace, "grace", 10*time.Second, "How long the command has from SIGTERM to SIGKILL when the lock is lost.")
	flags.IntVar(&r.conflict, "conflict-exit-code", exitNotAcquired, "The exit code if the lock is not acquired.")
	return cmd
}

// keyAndCommand are what stands before -- and after it; or, for a key that begins with -, between
// two of them and after the second.
func keyAndCommand(cmd *cobra.Command, args []string) (key string, command []string, _ error) {
	switch dash := cmd.ArgsLenAtDash(); {
	case dash == 1 && len(args) > 1:
		return args[0], args[1:], nil
	case dash == 0 && len(args) > 2 && args[1] == "--":
		return args[0], args[2:], nil
	}
	return "", nil, usage("run takes one KEY and, after --, a command: kubectl dlock run KEY -- COMMAND")
}

func (r *run) check() error {
	switch {
	case r.conflict < 0 || r.conflict > 255:
		return usage("--conflict-exit-code must be from 0 to 255, is %d", r.conflict)
	case r.grace < 0:
		return usage("--grace must not be negative, is %v", r.grace)
	case r.noRenew && r.minHold > r.duration:
		return usage("--min-hold of %v is longer than the --duration of %v, and with --no-renew the lease may end first", r.minHold, r.duration)
	}
	return nil
}

func (r *run) run(ctx context.Context, key string, command []string) error {
	if err := r.check(); err != nil {
		return err
	}
	path, err := exec.LookPath(command[0])
	if err != nil { // Before anybody has to wait for it.
		return cannotRun(err)
	}
	var opts []kubelock.Option
	if !r.noRenew {
		opts = append(opts, kubelock.WithAutoRenew())
	}
	held, c, err := r.acquire(ctx, r.options, key, opts...)
	if errors.Is(err, kubelock.ErrNotAcquired) {
		return &exitError{code: r.conflict, err: err}
	}
	if err != nil {
		return err
	}
	defer r.closed(c)
	err = r.underLock(ctx, held, path, command)

	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	stop := r.tell(release, key, c)
	released := held.Release(release)
	stop()
	switch {
	case released == nil:
		return err
	case err == nil:
		return released
	case errors.Is(released, kubelock.ErrLost):
		return lost(key, err)
	}
	fmt.Fprintf(r.ErrOut, "warning: %v; the lock may stay held until its lease ends\n", released)
	return err
}

// underLock runs the command, and prepares what the release will write.
func (r *run) underLock(ctx context.Context, held *kubelock.Held[json.RawMessage], path string, command []string) error {
	file, err := newValueFile(held.Value(), held.Exists())
	if err != nil {
		return cannotRun(err)
	}
	defer func() {
		if failed := file.remove(); failed != nil {
			fmt.Fprintf(r.ErrOut, "warning: a file with the lock's state is left: %v\n", failed)
		}
	}()

	child := &child{
		path: path, args: command, grace: r.grace, IOStreams: r.IOStreams, folder: filepath.Dir(file.path),
		env: []string{
			"KUBELOCK_KEY=" + held.Key(),
			fmt.Sprintf("KUBELOCK_TOKEN=%d", held.Token()),
			"KUBELOCK_VALUE_FILE=" + file.path,
		},
	}
	l, err := r.lock(held.Key())
	if err != nil {
		return err
	}
	during, stop := l.whileHeld(ctx, held.Context(), held.ID())
	err = child.run(ctx, during)
	stop()
	if err != nil {
		return err
	}
	value, changed, err := file.read()
	switch {
	case err != nil:
		return err
	case changed && value == nil:
		held.Clear()
	case changed:
		held.Update(value)
	}
	return nil
}

// lost is the error of a lock that was lost, whatever else its command's end was.
func lost(key string, err error) error {
	if e, ok := errors.AsType[*exitError](err); ok && e.code == exitLost {
		return err
	}
	return &exitError{code: exitLost, err: fmt.Errorf("%w: %q, while the command ran; it ended with %w", kubelock.ErrLost, key, err)}
}

// cannotRun is the error of a command that cannot be started.
func cannotRun(err error) error {
	code := exitCannotRun
	if errors.Is(err, exec.ErrNotFound) {
		code = exitNotFound
	}
	return &exitError{code: code, err: fmt.Errorf("the command cannot be run: %w", err)}
}
