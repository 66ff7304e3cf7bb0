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
	"fmt"
)

// Apply replaces the state by what fn makes of it, as if under the lock, and returns the state that its own fn
// made. Use it for a state that is computed from the one before (a counter, a cursor, a last run), and Do
// where something else has to happen while no other client has the lock.
//
// fn only computes. It must not wait for anything, and must not use what other calls of fn use without a
// mutex of its own. It is called again if the state has changed before the result could be stored, so only its last
// call counts. It gets the zero T where there is no state. The state that it gets belongs to it, and may be changed in place.
// fn has no context and no fencing token: there is no hold that it could lose.
//
// Where the lock is free and no client queues for it, Apply takes and releases it in one write, after a read
// only if this client does not remember the lock. Where the lock has no object, Apply takes it by creating the object, and
// stores the state by a second write. Otherwise it queues as Acquire does, and the write that hands the
// lock to the next client stores the state. All calls of a client that wait for the same key when its turn comes share
// that write: their functions are applied one after another, each to the result of the one before. A
// call returns when the write is known to be done, so each change that Apply returns is stored exactly once.
//
// Apply blocks until then, or until ctx ends. The error Is, or is,
//
//   - fn's own, or one of decoding or encoding the state, or ErrValueTooLarge: this call has changed nothing. Calls that
//     share its write are not concerned. What fn has seen is stored, unless the error Is one of those below, too;
//   - ErrNotAcquired, and ctx's error: ctx ended first, and nothing is changed;
//   - ErrUnknownOutcome: the write was sent, and it is not known what became of it: ctx ended before the answer,
//     or the answer was lost and others have had the lock since;
//   - ErrLost: the lease of the client ended before the state was written. Nothing is changed;
//   - ErrDeadlock: ctx belongs to a hold of this lock by this client, as for Acquire;
//   - ErrInvalidKey, ErrClosed, or an error of the API server, as for Acquire and Held.Release. A write that several calls
//     share, and that is refused, is sent again for each call alone.
//
// A panic of fn, or runtime.Goexit in it, is that of the call, and leaves its change out. WithDuration says how long the lock
// is kept for this client if it dies between a hand-over, or a creation, and its write; of calls that share a write, the first one's counts.
// WithAutoRenew and WithMinHold are errors: no hold lasts that could be renewed, or kept.
func (l *Lock[T]) Apply(ctx context.Context, fn func(state T) (T, error), opts ...Option) (T, error) {
	var zero T
	if err := l.usable(); err != nil {
		return zero, err
	}
	if fn == nil {
		return zero, fmt.Errorf("kubelock: Apply of %q needs a function, got nil", l.name)
	}
	o, err := l.client.options(opts)
	switch {
	case err != nil:
		return zero, err
	case o.minHold > 0:
		return zero, fmt.Errorf("kubelock: Apply of %q: WithMinHold keeps the lock after a hold, and Apply leaves none: leave it out, or use Do", l.name)
	case o.autoRenew:
		return zero, fmt.Errorf("kubelock: Apply of %q: WithAutoRenew renews a hold, and Apply leaves none: leave it out, or use Do", l.name)
	}
	var made T
	err = l.client.engine.Apply(ctx, l.key, o.duration, o.name, func(text *string) (*string, error) {
		state, err := decodeState[T](l.key, text)
		if err != nil {
			return nil, err
		}
		if state, err = fn(state); err != nil {
			return nil, err
		}
		next, err := encodeState(state, l.client.engine.Limit())
		made = state
		return next, err
	})
	if err != nil {
		return zero, err
	}
	return made, nil
}
