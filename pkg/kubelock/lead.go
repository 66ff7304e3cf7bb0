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

package kubelock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// minTerm is how long after the beginning of a term the next campaign begins, at the earliest. A
// function that returns at once would otherwise write to the lock as fast as the API server answers.
const minTerm = time.Second

// Lead campaigns for the lock, calls fn while it has it, hands the lock over when fn has returned,
// and campaigns again. It blocks until ctx ends, fn fails, or the lock cannot be acquired.
//
// A campaign is an Acquire with opts, and with WithAutoRenew: replicas queue, and the first of them
// leads next. WithDuration, or Config.LockDuration, says how long the others wait when a leader dies.
//
// One call of fn is a term. Its context ends when ctx ends, no later than the lease when the hold is
// lost (with the cause ErrLost), and when the client is closed (with the cause ErrClosed). Lead always
// waits for fn, and releases the lock only then. So terms do not overlap, unless fn works on after its
// context has ended. A leader that is paused does so without knowing it: what must not happen twice
// then needs the fencing token, held.Token. fn may use held to save state and to renew; it must not release it.
// Its context says that its bearer has the lock, as that of Do does: see ErrDeadlock.
//
// What fn returns decides how Lead goes on:
//
//   - nil, or an error that Is its context's own: what held.Update was called with is written, and the
//     lock is handed to the next in the queue, in the same write. Lead campaigns again, unless ctx has
//     ended: behind those that wait, and no sooner than a second after the term began. If the hold was
//     lost, or the outcome of the release could not be learned, it campaigns again, too; what was
//     written is then what the next term finds as its state.
//   - another error: the lock is handed over as it was, and Lead returns the error. A leader that meets
//     an error which the next term may not have returns nil.
//
// If fn panics or calls runtime.Goexit, the lock is released as it was, as Do does it.
//
// The error is never nil. It Is
//
//   - ctx's: ctx ended, before a term or in one. This is how Lead ends when its program stops. The lock
//     is released then, which takes a minute at most if the API server does not answer; if the release
//     failed, the error Is that, too;
//   - what fn returned, unchanged for errors.Is, and what Held.Release returned if that failed, too;
//   - ErrClosed: the client was closed. The lock stays held until its lease ends;
//   - another error of Acquire or of Held.Release, as ErrInvalidKey, ErrValueTooLarge, or one of the API
//     server that waiting would not mend.
//
// Lead may be called concurrently: its calls by one client lead one after the other.
func (l *Lock[T]) Lead(ctx context.Context, fn func(ctx context.Context, held *Held[T]) error, opts ...Option) error {
	if err := l.usable(); err != nil {
		return err
	}
	if fn == nil {
		return fmt.Errorf("kubelock: Lead of %q needs a function, got nil", l.name)
	}
	opts = append(slices.Clip(opts), WithAutoRenew())
	for {
		held, err := l.Acquire(ctx, opts...)
		if err != nil {
			return err
		}
		earliest := time.Now().Add(minTerm)
		if err := l.term(ctx, held, fn); err != nil {
			return err
		}
		l.pause(ctx, time.Until(earliest))
		if ctx.Err() != nil {
			return fmt.Errorf("kubelock: leading %q has ended: %w", l.name, endOf(ctx))
		}
	}
}

// term calls fn, and releases the lock. It returns nil if there may be another term.
func (l *Lock[T]) term(ctx context.Context, held *Held[T], fn func(context.Context, *Held[T]) error) error {
	work, end := l.working(ctx, held)
	defer end()
	release := func(how func(context.Context) error) error {
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
		defer cancel()
		return how(rctx)
	}
	asItWas := func(ctx context.Context) error { return held.hold.Release(ctx, protocol.Change{}) }
	returned := false
	defer func() {
		if !returned { // fn panics, or ends its goroutine. The release's own error would hide that.
			_ = release(asItWas)
		}
	}()
	failure := fn(work, held)
	returned = true
	if tellsEnd(work, failure) || tellsEnd(held.Context(), failure) {
		failure = nil
	}
	end()

	if failure != nil {
		err := release(asItWas)
		if errors.Is(err, ErrLost) {
			err = nil // Others may lead. That fn has failed is why Lead ends.
		}
		return joined(failure, err)
	}
	err := release(held.Release)
	if ctx.Err() == nil && (errors.Is(err, ErrLost) || errors.Is(err, ErrUnknownOutcome)) {
		return nil
	}
	if err != nil && ctx.Err() != nil {
		return errors.Join(err, endOf(ctx))
	}
	return err
}

// pause waits for that long, or until ctx ends or the client is closed.
func (l *Lock[T]) pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-l.client.engine.Closing().Done():
	}
}

// tellsEnd reports whether err is what a function returns because ctx has ended.
func tellsEnd(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// endOf is why ctx has ended: its error, and its cause if that is another.
func endOf(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, ctx.Err()) {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return context.Cause(ctx)
}
