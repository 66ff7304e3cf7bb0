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

	"k8s.io/utils/ptr"

	"github.com/kubelock/kubelock/internal/engine"
	"github.com/kubelock/kubelock/internal/protocol"
)

// Lock is one key, seen by one client, with state of type T stored as JSON. Its
// methods may be called concurrently, also by callers that want the same key: they
// are served in the order in which they came.
//
// A hold belongs to the code that has the Held, or runs in Do, and not to a goroutine. A
// call that would wait for its own caller's hold is an error if the call's context
// shows it: see ErrDeadlock.
//
// Locks are made by NewLock. Every call of another one, or with a nil context, is an error.
type Lock[T any] struct {
	client *Client
	name   string
	key    engine.Key
	err    error // what is wrong with the key
}

// Snapshot is a lock as it was at one moment.
type Snapshot[T any] struct {
	// Value is the state; the zero T where there is none.
	Value T
	// Exists reports whether there is state.
	Exists bool
	// Held reports whether the lock is taken: a client holds it, or it rests. A hold that is known to have
	// expired does not count.
	Held bool
	// Resting reports whether the lock is taken although no client holds it: the last hold was released, and its
	// time is not over that WithMinHold has set.
	Resting bool
	// Holder is the identity of the client that holds it, or, if it rests, of the last one.
	Holder string
	// Token is the fencing token of the hold, or of the last one; 0 if unknown, as where a leader elector has the object or
	// has had it last. When the time is over that WithMinHold has set, it is one that no holder had, and greater than the last one's.
	Token int64
}

// NewLock returns the lock of a key. It does no I/O. The key is any non-empty UTF-8
// text of at most 253 bytes; what is wrong with it shows at the first call, as
// ErrInvalidKey.
func NewLock[T any](c *Client, key string) *Lock[T] {
	l := &Lock[T]{client: c, name: key}
	if !c.made() {
		l.err = errNoClient
		return l
	}
	l.key, l.err = engine.NewKey(key)
	return l
}

// Acquire waits until it has the lock, or ctx ends. Waiters queue in the lock's object
// and have the lock in their order. They are woken by a watch, and by a timer when the
// holder's lease ends; there is no polling.
//
// ctx only bounds the wait: the hold lasts on. Without an error the lock is held
// until Held.Deadline, unless it is renewed. The error Is
//
//   - ErrNotAcquired, and ctx's error: ctx ended first. The text says who held the
//     lock, for how long this call waited, and its place in the queue as last seen. It
//     leaves the queue in the background;
//   - ErrUnknownOutcome: ctx ended while a request was under way that may take the
//     lock. If it does, the lock is given back in the background;
//   - ErrDeadlock: ctx belongs to a hold of this lock by this client, which the call would
//     wait for: it is Held.Context, or that which Do gives to its function, or
//     derived from one of them. Without this error the call would only end with ctx;
//   - ErrInvalidKey, ErrClosed, or an error of the API server that waiting would not
//     mend (its text says what to do), or of decoding the state. The lock is not
//     taken then. A client that had access before believes that it has none, or that its writes
//     are refused, after 15 seconds in which no answer says otherwise;
//   - an error that names a field of the lock: the API server has stored something else in it than
//     was written. The lock is given back in the background, if it still shows this hold.
func (l *Lock[T]) Acquire(ctx context.Context, opts ...Option) (*Held[T], error) {
	return l.acquire(ctx, false, opts)
}

// TryAcquire takes the lock if it is free or its holder's lease is known to have
// ended, and no client queues for it; it returns ErrNotAcquired if it is held by another
// client or another caller of the same client, rests after a hold with WithMinHold, or belongs to the clients that queue. It does not
// wait for the lock; for the API server it waits 15 seconds at most. Other errors are those of Acquire; if the API server
// cannot be reached the error is not ErrNotAcquired. If it is the caller's own hold, as for
// ErrDeadlock of Acquire, the error Is ErrDeadlock besides ErrNotAcquired: to try again is vain.
func (l *Lock[T]) TryAcquire(ctx context.Context, opts ...Option) (*Held[T], error) {
	return l.acquire(ctx, true, opts)
}

func (l *Lock[T]) acquire(ctx context.Context, try bool, opts []Option) (*Held[T], error) {
	if err := l.usable(); err != nil {
		return nil, err
	}
	o, err := l.client.options(opts)
	if err != nil {
		return nil, err
	}
	h := &Held[T]{}
	var decoded *string // the text of h.value
	want := engine.Want{Duration: o.duration, MinHold: o.minHold, Try: try}
	h.hold, err = l.client.engine.Acquire(ctx, l.key, want, o.name, func(text *string) (err error) {
		if text != nil && ptr.Equal(decoded, text) {
			return nil // As it was before the lock was taken, most often.
		}
		h.value, err = decodeState[T](l.key, text)
		h.exists, decoded = text != nil, nil
		if err == nil {
			decoded = text
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if o.autoRenew {
		h.hold.KeepAlive()
	}
	return h, nil
}

// Wait waits until the lock is available, without acquiring it, and returns its
// state. If it is free or its holder's lease has ended, that is at once. Otherwise it
// is at the first end of a hold that it sees: a release, a hand-over to another client,
// an expiry or a deletion, with the state as that left it; the lock need not stay
// free. After a hold with WithMinHold it waits until that time is over, too.
//
// The error Is ctx's if that ends first, ErrDeadlock as for Acquire, ErrInvalidKey,
// ErrClosed, or one of the API server or of decoding the state.
func (l *Lock[T]) Wait(ctx context.Context) (Snapshot[T], error) {
	return l.look(ctx, (*engine.Client).Wait)
}

// Get reads the lock now, held or not: one request. Its errors are those of Wait, but
// for ErrDeadlock: it waits for no hold.
func (l *Lock[T]) Get(ctx context.Context) (Snapshot[T], error) {
	return l.look(ctx, (*engine.Client).Get)
}

// usable says what is wrong with the lock.
func (l *Lock[T]) usable() error {
	if l == nil || l.client == nil && l.err == nil {
		return errNoLock
	}
	return l.err
}

func (l *Lock[T]) look(ctx context.Context, how func(*engine.Client, context.Context, engine.Key) (protocol.Record, bool, error)) (Snapshot[T], error) {
	if err := l.usable(); err != nil {
		return Snapshot[T]{}, err
	}
	r, isHeld, err := how(l.client.engine, ctx, l.key)
	if err != nil {
		return Snapshot[T]{}, err
	}
	return snapshot[T](l.key, r, isHeld)
}

// snapshot shows a record to the user.
func snapshot[T any](k engine.Key, r protocol.Record, isHeld bool) (Snapshot[T], error) {
	s := Snapshot[T]{Exists: r.Value != nil, Held: isHeld, Resting: isHeld && r.Resting()}
	if l := r.LastRelease; l != nil && !l.Foreign() {
		s.Token = l.Token
	}
	if h := r.Holder; h != nil {
		switch {
		case h.Foreign():
			s.Token = 0
		case !r.Resting():
			s.Token = h.Token
		}
		if isHeld {
			s.Holder = h.Identity
		}
	}
	var err error
	s.Value, err = decodeState[T](k, r.Value)
	return s, err
}

// Delete waits until no client holds the lock and deletes its object, state and all. It does not wait for
// the time that WithMinHold has set, unless other clients queue: that ends with the object. If
// other clients queue behind it, it hands the lock to them without state instead, and the
// object stays. A client whose callers take the lock in a loop may queue for the next one, which
// then need not come.
// It queues as Acquire does, and has its errors; ErrUnknownOutcome means that ctx
// ended while a deletion was under way. A lock without an object is deleted already.
// Tokens go on to increase if the key is locked again. Those of an object that was copied from another cluster do not, if they are
// above the versions of this one: see docs/guide/backup-restore.md.
func (l *Lock[T]) Delete(ctx context.Context) error {
	if err := l.usable(); err != nil {
		return err
	}
	return l.client.engine.Delete(ctx, l.key, l.client.duration)
}
