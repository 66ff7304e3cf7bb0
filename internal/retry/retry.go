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

// Package retry drives session.Tries for calls without a session. Such calls wait with a context.
package retry

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/kubelock/kubelock/internal/session"
	"github.com/kubelock/kubelock/internal/store"
)

// Attempts paces the requests by which one call tries to do one thing. The requests must follow each other.
// The zero Attempts is not valid: see New.
type Attempts struct {
	session.Tries

	now    func() time.Time
	access Access
}

// Access has a program's knowledge of its own access rights.
type Access interface {
	// Doubts reports whether there is a reason to doubt a denial, for example because the program had access
	// before. Such a denial may end by itself.
	Doubts(denial error) bool
	// Believe records a denial that has lasted for so long that it is not doubted any more.
	Believe(denial error)
}

// New returns Attempts that take the time from now. If access is nil, every denial is believed.
func New(now func() time.Time, access Access) *Attempts {
	return &Attempts{now: now, access: access}
}

// ReplyOf returns the reply that err stands for, as the answer to a request. The caller has to set whether a
// denial is doubted.
func ReplyOf(err error) session.Reply {
	r := session.Reply{Outcome: store.OutcomeOf(err), TimedOut: errors.Is(err, context.DeadlineExceeded)}
	if _, ok := errors.AsType[*apierrors.StatusError](err); ok {
		r.Err = err
	}
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok {
		r.RetryAfter = time.Duration(seconds) * time.Second
	}
	return r
}

// Wrote returns the outcome of a write that ended with err: see session.Tries.Take.
func (a *Attempts) Wrote(err error) store.Outcome {
	outcome, believed := a.Take(a.reply(err), a.now(), a.now())
	if believed {
		a.access.Believe(err)
	}
	return outcome
}

// Read returns whether a read that failed with err may be repeated (Busy) or not (Rejected).
func (a *Attempts) Read(err error) store.Outcome {
	outcome, believed := a.TakeRead(a.reply(err), a.now(), a.now())
	if believed {
		a.access.Believe(err)
	}
	return outcome
}

func (a *Attempts) reply(err error) session.Reply {
	r := ReplyOf(err)
	r.Doubted = r.Outcome == store.Denied && a.access != nil && a.access.Doubts(err)
	return r
}

// Unchanged returns the outcome of a write that was Stale, if a read has then shown the very version which
// the write changes: see session.Tries.Refuse.
func (a *Attempts) Unchanged() store.Outcome { return a.Refuse(a.now(), a.now()) }

// Because adds the API server's last answer to err, unless err contains it.
func (a *Attempts) Because(err error) error { return Because(err, a.Last()) }

// Because adds the error last to err, unless err contains it.
func Because(err, last error) error {
	if last == nil || err == nil || errors.Is(err, last) {
		return err
	}
	return fmt.Errorf("%w; the last answer was: %w", err, last)
}

// Raced waits before the read that follows a Stale write: see session.Tries.Race.
func (a *Attempts) Raced(ctx context.Context) error {
	a.Tries.Race(a.now(), a.end(ctx), chance())
	return a.wait(ctx)
}

// Pause waits before the next attempt: see session.Tries.Pause. It returns ctx's error if that ends first.
func (a *Attempts) Pause(ctx context.Context) error {
	a.Tries.Pause(a.now(), a.end(ctx), chance())
	return a.wait(ctx)
}

// end returns when ctx ends, by a's time. It returns the zero time if ctx has no deadline.
func (a *Attempts) end(ctx context.Context) time.Time {
	end, ok := ctx.Deadline()
	if !ok {
		return time.Time{}
	}
	return a.now().Add(time.Until(end))
}

func (a *Attempts) wait(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	timer := time.NewTimer(a.Due().Sub(a.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// chance returns a random number in [0, 1). It uses crypto/rand, so that a simulation can repeat it. It is
// called once per pause.
func chance() float64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand never fails.
	return float64(binary.NativeEndian.Uint64(b[:])>>11) / (1 << 53)
}
