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
	"io"
	"strings"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// The exit codes, those of sysexits.h where that has one.
const (
	exitUsage       = 64 // EX_USAGE
	exitData        = 65 // EX_DATAERR
	exitNothing     = 66 // EX_NOINPUT
	exitUnavailable = 69 // EX_UNAVAILABLE
	exitNotAcquired = 75 // EX_TEMPFAIL
	exitLost        = 76
	exitFault       = 78 // EX_CONFIG
	exitDiffers     = 79 // The first that sysexits.h leaves free.

	exitCannotRun = 126 // As shells have it.
	exitNotFound  = 127
	exitSignal    = 128
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error // nil: there is nothing to say
	// interrupted is set if Ctrl-C has ended a command, and the plugin's group, such as the
	// script around it, was not told.
	interrupted bool
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// ExitCode tells a person of err, and returns the exit code that tells programs.
func ExitCode(err error, out io.Writer) int {
	if err == nil {
		return 0
	}
	own, ok := errors.AsType[*exitError](err)
	if !ok || own.err != nil {
		fmt.Fprintln(out, "error:", inFlags(err))
	}
	var interrupt *interruptError
	switch {
	case ok:
		return own.code
	case errors.As(err, &interrupt):
		return exitSignal + interrupt.number()
	case errors.Is(err, kubelock.ErrInvalidKey):
		return exitUsage
	case errors.Is(err, kubelock.ErrValueTooLarge):
		return exitData
	case errors.Is(err, kubelock.ErrLost):
		return exitLost
	case errors.Is(err, kubelock.ErrNotAcquired):
		return exitNotAcquired
	default:
		return exitUnavailable
	}
}

// inFlags is an error in the words of a user of the plugin, who has flags. The library speaks to programmers,
// of its Config and of contexts.
func inFlags(err error) string {
	text := strings.TrimPrefix(err.Error(), "kubelock: ")
	if errors.Is(err, kubelock.ErrNotAcquired) {
		text = strings.ReplaceAll(text, ": "+context.DeadlineExceeded.Error(), "")
	}
	return flagWords.Replace(text)
}

var flagWords = strings.NewReplacer(
	"set Config.Namespace to another", "choose another with -n",
	"Config.Identity", "--identity",
	"to this program's service account", "to yourself",
	context.Canceled.Error()+": ", "",
	context.DeadlineExceeded.Error(), "no answer in time",
)
