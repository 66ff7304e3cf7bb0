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
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/kubelock/kubelock/internal/cli/process"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// child is a command that runs while a lock is held.
type child struct {
	genericiooptions.IOStreams
	path  string
	args  []string // with the name
	env   []string // besides the plugin's own
	grace time.Duration
	// folder is removed if the plugin is killed.
	folder string
}

// run runs the command until it has ended. Signals are passed on to its group. When
// hold ends first, the group is ended.
func (c *child) run(ctx, hold context.Context) error {
	// From here on, signals are for the command; those before have ended ctx.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, process.PassedOn()...)
	defer signal.Stop(signals)

	g, err := process.NewGroup(c.folder)
	if err != nil {
		return cannotRun(err)
	}
	defer g.Close()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	cmd := exec.Command(c.path, c.args[1:]...) //nolint:gosec,noctx // It is the user's own, and ends as follows.
	cmd.Args[0] = c.args[0]
	cmd.Env = append(os.Environ(), c.env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.In, c.Out, c.ErrOut
	if err := g.Start(cmd, c.ErrOut); err != nil {
		return cannotRun(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()

	for {
		select {
		case s := <-signals:
			g.Signal(s)
		case err := <-ended:
			return outcome(g, cmd, err)
		case <-hold.Done():
			return c.stop(g, ended, signals)
		}
	}
}

// stop ends the group of a command whose lock is lost. Signals are still passed on.
func (c *child) stop(g *process.Group, ended <-chan error, signals <-chan os.Signal) error {
	g.Terminate()
	fmt.Fprintln(c.ErrOut, "the lock was lost, so the command is told to end")
	grace := time.NewTimer(c.grace)
	defer grace.Stop()
	how := "when told to"
	if !g.Ended(ended, signals, grace.C) {
		how = fmt.Sprintf("not within %v, and was killed", c.grace)
		g.Kill()
		<-ended //nolint:errcheck // How does not matter: the lock is lost.
	}
	return &exitError{code: exitLost, err: fmt.Errorf("%w while the command ran; the command ended %s; its value was not written", kubelock.ErrLost, how)}
}

// outcome is what a command's end means for the plugin.
func outcome(g *process.Group, cmd *exec.Cmd, err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*exec.ExitError](err); !ok {
		return err
	}
	n := process.SignalOf(cmd.ProcessState)
	if n == 0 {
		return &exitError{code: cmd.ProcessState.ExitCode()}
	}
	return &exitError{code: exitSignal + n, interrupted: n == int(syscall.SIGINT) && g.Foreground()}
}
