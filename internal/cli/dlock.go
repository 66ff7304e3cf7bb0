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

// Package cli has the commands of the kubectl plugin. What takes, renews and releases
// a lock is the public library; what looks at locks reads their records.
package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/klog/v2"

	"github.com/kubelock/kubelock/internal/cli/process"
	"github.com/kubelock/kubelock/internal/version"
)

// Main runs the plugin with the process's own streams, and returns its exit code.
func Main(args []string) int {
	if len(args) == 2 && args[0] == process.GuardArgument {
		return process.Guard(args[1])
	}
	klog.SetLogger(logr.Discard()) // What went wrong is in the errors that commands return.
	// A pipe whose reader has gone is an error of that write, after which locks are released.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	process.Adopt()
	ctx, stop := interruptible(context.Background())
	defer stop()
	streams := genericiooptions.IOStreams{In: os.Stdin, Out: os.Stdout, ErrOut: os.Stderr}
	root := New(streams)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	code := ExitCode(err, streams.ErrOut)
	if e, ok := errors.AsType[*exitError](err); ok && e.interrupted {
		process.Interrupt()
	}
	return code
}

// New returns the plugin's command.
func New(streams genericiooptions.IOStreams) *cobra.Command {
	o := newOptions(streams)
	root := &cobra.Command{
		Use:   "kubectl-dlock",
		Short: "Locks from the command line",
		Long: `Run commands under a distributed lock that the Kubernetes API keeps, look at locks,
and mend them.

Exit codes, of all commands:
  0    it is done
  64   wrong usage
  65   a value is no JSON
  66   there is no such lock, or it has no state
  69   the API server refuses or cannot be reached
  75   the lock was not acquired
  76   the lock was lost
  78   check found a fault
  79   a condition does not hold: nothing was changed
  128+n  the plugin was ended by signal n
"kubectl dlock run" exits with the status of its command, once that has begun.

A KEY that begins with - comes after --, as in "kubectl dlock get -- -key". Keys are compared byte by
byte: texts that look alike, such as é in one character or in two, are different keys.

While a command waits, it says on standard error if the API server does not answer, and on a
terminal also who holds the lock and its own place in the queue; -q keeps it from that.`,
		Version:       version.String(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl dlock"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("unknown command %q: \"kubectl dlock --help\" lists the commands", args[0])
			}
			return cmd.Help()
		},
		Args: cobra.ArbitraryArgs,
		PersistentPreRun: func(cmd *cobra.Command, args []string) {
			if cmd.Name() == cobra.ShellCompRequestCmd {
				o.typed = args
			}
		},
	}
	root.SetIn(streams.In)
	root.SetOut(streams.Out)
	root.SetErr(streams.ErrOut)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage("%w: \"%s --help\" lists the flags", err, cmd.CommandPath())
	})
	o.bind(root)
	complete(root, "namespace", o.completeNamespace)
	names := make([]string, 0, len(backends))
	for _, b := range backends {
		names = append(names, string(b.name))
	}
	complete(root, "backend", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(
		newRun(o), newList(o), newDescribe(o), newGet(o), newSet(o), newWait(o), newAcquire(o), newRenew(o), newRelease(o),
		newBreak(o), newDelete(o), newTop(o), newCheck(o),
	)
	return root
}

// noArguments accepts none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage("%s takes no arguments, got %q: see \"%[1]s --help\"", cmd.CommandPath(), args)
	}
	return nil
}

// usage is the error of somebody who has to write the command in another way.
func usage(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)}
}
