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

	"github.com/kubelock/kubelock/internal/engine"
)

// The outcomes that callers tell apart, with errors.Is. Errors that wrap none of
// them come from the API server, from the network or from the caller's own
// functions, and can be unwrapped to those.
var (
	// ErrNotAcquired: the caller does not hold the lock. From TryAcquire, another
	// caller does; from Acquire, its context ended first, and the error Is the
	// context's too.
	ErrNotAcquired = engine.ErrNotAcquired
	// ErrLost: the lease ended before the call did its work, or the lock was taken
	// away. Release then has written nothing.
	ErrLost = engine.ErrLost
	// ErrDeadlock: the call's context belongs to a hold of the same key by the same client, whose
	// end the call would wait for: it is that which Do gives to its function, or Held.Context, or
	// derived from one of them. Nothing was sent. TryAcquire, which does not wait, returns it
	// together with ErrNotAcquired. A call with another context is not detected, nor is one by
	// another client: it waits until the hold or its context ends.
	ErrDeadlock = engine.ErrDeadlock
	// ErrClosed: the client was closed.
	ErrClosed = engine.ErrClosed
	// ErrInvalidKey: the key is empty, too long or no UTF-8, or its object belongs to
	// another key.
	ErrInvalidKey = engine.ErrInvalidKey
	// ErrValueTooLarge: the state is larger than the store takes, or the lock's object would be with
	// what others keep in it. Nothing was written.
	ErrValueTooLarge = engine.ErrValueTooLarge
	// ErrUnknownOutcome: a request was sent and what became of it could not be
	// learned before the context ended. It may have been done, or may be done yet.
	ErrUnknownOutcome = engine.ErrUnknownOutcome
)

// What a program passes by mistake is an error, and no panic: most of it comes from an error
// that was not looked at, and would otherwise end a program that holds other locks.
var (
	errNoClient = errors.New("kubelock: this Client is none: use what NewClient returned, after a look at its error")
	errNoLock   = errors.New("kubelock: this Lock is none: use what NewLock returned")
	errNoHold   = errors.New("kubelock: this Held is none: use what Acquire or TryAcquire returned, after a look at its error")
)

// noHoldContext is the context of a Held that is none.
var noHoldContext = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errNoHold)
	return ctx
}()
