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
	"time"

	"github.com/kubelock/kubelock/internal/engine"
	"github.com/kubelock/kubelock/internal/protocol"
)

// releaseTimeout bounds the release at the end of Do, which does not end with the
// caller's context: for as long as an API server lets a request take.
const releaseTimeout = time.Minute

// Do acquires the lock, calls fn with the state, writes the state that fn returns,
// and releases the lock. It returns that state.
//
// It blocks until the lock is acquired, as Acquire does, and until fn has returned:
// also when ctx ends or the lock is lost meanwhile. fn's context then ends, with the
// cause ErrLost if the lock was lost, or ErrClosed if the client was closed, and fn
// should return. The release does not depend on ctx any more; it takes at most 15 seconds.
//
// fn's context also says that its bearer has the lock: with it, or one that is derived from it, Do,
// Acquire, Wait and Delete of the same key and client return ErrDeadlock at once. Other
// keys can be locked in fn. Two programs that lock two keys in different orders wait for each
// other until one's context or lease ends; nothing detects that.
//
// Without an error, the state is written. Otherwise the zero T is returned, and
// nothing is written unless the error Is ErrUnknownOutcome, or names a field that was stored
// otherwise than it was written. If the API server does not answer, the release is given up after a
// minute, or when the lease ends. The error is what
// Acquire or Held.Release return, or, unchanged for errors.Is, what fn returned;
// then the lock is released as it was. If fn takes longer than the lease, the result is
// ErrLost: use WithDuration or WithAutoRenew. If the client is closed while fn runs,
// the result is ErrClosed, and the lock stays held until its lease ends.
//
// If fn panics or calls runtime.Goexit (as the FailNow of a test does), the lock is released as
// it was, and the panic or the end of the goroutine goes on after that. A process that ends in fn,
// by os.Exit or by a panic in another goroutine, releases nothing: others wait until the lease ends.
func (l *Lock[T]) Do(ctx context.Context, fn func(ctx context.Context, state T) (T, error), opts ...Option) (T, error) {
	var zero T
	if err := l.usable(); err != nil {
		return zero, err
	}
	if fn == nil {
		return zero, fmt.Errorf("kubelock: Do of %q needs a function, got nil", l.name)
	}
	held, err := l.Acquire(ctx, opts...)
	if err != nil {
		return zero, err
	}

	work, end := l.working(ctx, held)
	defer end()
	releaseCtx := func() (context.Context, context.CancelFunc) {
		return context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	}
	returned := false
	defer func() {
		if !returned { // fn panics, or the encoding of its state, or it ends its goroutine. The release's own error would hide that.
			rctx, cancel := releaseCtx()
			defer cancel()
			_ = held.hold.Release(rctx, protocol.Change{})
		}
	}()
	state, err := fn(work, held.Value())
	if err == nil {
		held.Update(state) // It may panic, too.
	}
	returned = true
	end()

	rctx, cancelRelease := releaseCtx()
	defer cancelRelease()
	if err != nil {
		return zero, joined(err, held.hold.Release(rctx, protocol.Change{}))
	}
	if err := held.Release(rctx); err != nil {
		return zero, err
	}
	return state, nil
}

// working returns the context of work under held: it ends with ctx, with the hold, and when the client
// is closed, because what is done from then on cannot be written. end ends it otherwise.
func (l *Lock[T]) working(ctx context.Context, held *Held[T]) (work context.Context, end func()) {
	work, cancel := context.WithCancelCause(engine.WithHold(held.hold.Under(ctx), held.hold))
	lost := context.AfterFunc(held.Context(), func() { cancel(context.Cause(held.Context())) })
	closed := context.AfterFunc(l.client.engine.Closing(), func() { cancel(ErrClosed) })
	return work, func() { lost(); closed(); cancel(nil) }
}

// joined returns first, and second with it if there is one.
func joined(first, second error) error {
	if second == nil {
		return first
	}
	return errors.Join(first, second)
}
