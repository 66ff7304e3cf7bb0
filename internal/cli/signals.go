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
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/kubelock/kubelock/internal/cli/process"
)

// interruptError is the cause of a context that a signal has ended.
type interruptError struct{ signal os.Signal }

func (e *interruptError) Error() string { return fmt.Sprintf("ended by the signal %q", e.signal) }

func (e *interruptError) number() int {
	if s, ok := e.signal.(syscall.Signal); ok {
		return int(s)
	}
	return 0
}

// interruptible returns a context that the first signal to end ends; the cause is an
// *interruptError. After stop, signals do what they do to any program.
func interruptible(ctx context.Context) (_ context.Context, stop func()) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, process.Ending()...)
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		select {
		case s := <-signals:
			cancel(&interruptError{s})
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel(nil)
	}
}

// because returns the signal that ended ctx in place of err, or else err.
func because(ctx context.Context, err error) error {
	if cause, ok := context.Cause(ctx).(*interruptError); ok && err != nil { //nolint:errorlint // It is never wrapped.
		return cause
	}
	return err
}
