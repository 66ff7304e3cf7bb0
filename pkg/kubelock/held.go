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
	"sync"
	"time"

	"github.com/kubelock/kubelock/internal/engine"
	"github.com/kubelock/kubelock/internal/protocol"
)

// Held is a lock that the caller holds: one period of ownership, with the state as
// it was when it began. It ends with Release, or is lost when its lease ends first.
// It is safe for concurrent use.
//
// A nil or zero Held, as there is beside an error of Acquire, is no hold: its context has
// ended, and Save, Renew and Release return an error.
//
// Work that needs the lock should use Context, and stop when that ends.
type Held[T any] struct {
	hold *engine.Hold

	mu     sync.Mutex // protects the fields below
	value  T
	exists bool
	change protocol.Change // what Save or Release will write
	bad    error           // why change is not what Update was called with
}

// none reports whether h is not what Acquire or TryAcquire returned without an error.
func (h *Held[T]) none() bool { return h == nil || h.hold == nil }

// Key returns the key, as it was given to NewLock.
func (h *Held[T]) Key() string {
	if h.none() {
		return ""
	}
	return h.hold.Key().Name()
}

// ID returns the lock ID: unique to this hold, and shown in the object.
func (h *Held[T]) ID() string {
	if h.none() {
		return ""
	}
	return h.hold.LockID()
}

// Token returns the fencing token: constant during a hold, and greater than that of
// every earlier hold of the same key by any client, also when the object was
// deleted in between. Pass it along with each request to a system that the lock
// protects, and let that system refuse a token smaller than the greatest it has
// seen: no lock can keep a process from being paused between its last look at the
// lock and the arrival of its request.
//
// Tokens come from the cluster's resource versions. Tokens of different keys can be
// compared but mean nothing; restoring the cluster's etcd from a backup can lower
// them.
func (h *Held[T]) Token() int64 {
	if h.none() {
		return 0
	}
	return h.hold.Token()
}

// Value returns the state: what Update was last called with, otherwise what was there
// when the hold began; the zero T where there is none.
func (h *Held[T]) Value() T {
	if h.none() {
		var none T
		return none
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.value
}

// Exists reports whether there is state, so that the zero T can be told from none.
func (h *Held[T]) Exists() bool {
	if h.none() {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.exists
}

// Update sets what the next Save or Release will write, and returns h. It sends
// nothing. The value is encoded now: later changes to what it points to do not
// count. That it cannot be encoded, is no valid UTF-8 or is too large shows at the Save or Release.
func (h *Held[T]) Update(v T) *Held[T] {
	if h.none() {
		return h
	}
	text, err := encodeState(v, h.hold.Limit())
	h.mu.Lock()
	defer h.mu.Unlock()
	h.value, h.exists = v, true
	h.change, h.bad = protocol.Change{Write: true, Value: text}, err
	if err != nil {
		h.change = protocol.Change{}
	}
	return h
}

// Clear makes the next Save or Release leave no state, and returns h. It sends
// nothing.
func (h *Held[T]) Clear() *Held[T] {
	if h.none() {
		return h
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	var none T
	h.value, h.exists = none, false
	h.change, h.bad = protocol.Change{Write: true}, nil
	return h
}

// Save writes what Update or Clear was called with and keeps the lock. Like every
// write of a holder it renews the lease; with nothing to write it does only that.
//
// It blocks until the API server has answered, and tries again while the lease
// lasts if no answer comes. It returns
//
//   - nil: the state is written, and the lease is renewed;
//   - ErrLost: the lease ended or the lock was taken away;
//   - ErrValueTooLarge or an encoding error: the value is bad. Nothing is written, and the lock is
//     kept;
//   - ErrUnknownOutcome: ctx ended, or the lock was lost (then it Is ErrLost too), before it was
//     known whether the state was written;
//   - ErrClosed: the client was closed;
//   - an error of the API server, or of what stands before it. Nothing is written, and the lock is
//     kept. What may end by itself, as a permission that is missing for a moment, is tried again for
//     15 seconds first;
//   - an error that names a field of the lock: the API server has stored something else in it than
//     was written, as an admission webhook may make it do. It Is ErrLost if the lock does not show
//     this hold any more. Otherwise the lock is kept, with the state as it is stored.
func (h *Held[T]) Save(ctx context.Context) error {
	if h.none() {
		return errNoHold
	}
	h.mu.Lock()
	change, bad := h.change, h.bad
	h.mu.Unlock()
	if bad != nil {
		return bad
	}
	if err := h.hold.Update(ctx, change); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.change == change { // Update was not called meanwhile.
		h.change = protocol.Change{}
	}
	return nil
}

// Renew extends the lease to its full duration from now. It blocks, and returns, as
// Save does, but writes no state.
func (h *Held[T]) Renew(ctx context.Context) error {
	if h.none() {
		return errNoHold
	}
	return h.hold.Update(ctx, protocol.Change{})
}

// Deadline returns the end of the lease by the local clock, as far as renewals have
// been confirmed. It counts from before the request that began or renewed the hold
// was sent, so no other client has the lock before it. It has a monotonic reading: use
// time.Until.
//
// A lock that the last holder has handed over has a short lease at first, at most five
// seconds from when this client last knew that it did not have it; it is renewed to its
// whole duration in the background when a part of that is over. In a Lease that leader
// electors use, too, the deadline is never more than 15 seconds ahead, and renewals in the
// background move it for as long as the hold's duration says.
func (h *Held[T]) Deadline() time.Time {
	if h.none() {
		return time.Time{}
	}
	return h.hold.Deadline()
}

// Context returns a context that ends when the lock is released or lost, whatever
// the network does. When it is lost, context.Cause returns ErrLost. It has no
// parent: the context given to Acquire only bounds the wait. Acquire, Do, Wait and Delete of
// the same key and client return ErrDeadlock with it, and with a context that is derived from it.
func (h *Held[T]) Context() context.Context {
	if h.none() {
		return noHoldContext
	}
	return h.hold.Context()
}

// Release writes what Update or Clear was called with, if anything, and releases
// the lock, in one request. Context ends first.
//
// It blocks until it is known what became of it or ctx ends; in that case the
// release goes on in the background. It returns
//
//   - nil: the state was written and the lock is released;
//   - ErrLost: the lease had ended or the lock was taken away; nothing was written;
//   - ErrUnknownOutcome: a request was sent, or is about to be, and it is not known
//     what became of it. Release may be called again, to learn more;
//   - ErrValueTooLarge or an encoding error: the value is bad. The lock is released
//     without it;
//   - ErrClosed: the client was closed; the lock stays held until its lease ends;
//   - an error of the API server which refuses to store the state, or an error that names the field
//     which is stored otherwise than it was written: by a policy, a webhook or a quota, for example.
//     The lock is released, without the state or with it as it is stored;
//   - an error of the API server which refuses the release without the state, too, or denies access
//     for 15 seconds. The lock stays held until its lease ends. Release may be called again.
//
// Whichever call of Release sends its state first decides what is written; what Update
// is called with later is not. A hold that was released can only say what it was; its
// other methods fail.
func (h *Held[T]) Release(ctx context.Context) error {
	if h.none() {
		return errNoHold
	}
	h.mu.Lock()
	change, bad := h.change, h.bad
	h.mu.Unlock()
	err := h.hold.Release(ctx, change)
	if bad != nil {
		return joined(bad, err)
	}
	return err
}
