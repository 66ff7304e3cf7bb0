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

// Package retry is how a call goes on after a request that did not do what it was sent for:
// what its answer means, for how long to wait before the next one, how long that may take,
// and when to give up.
package retry

import (
	"context"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubelock/kubelock/internal/store"
)

const (
	// Patience is for how long a refusal is doubted that may end by itself: of a program that
	// has had access, or of a write that fits the object as it is.
	Patience = 15 * time.Second
	// FirstRequest is how long the first request of a call may take.
	FirstRequest = 10 * time.Second
	// MaxRequest is how long any request may take: after that an API server gives it up, unless
	// its flags say otherwise.
	MaxRequest = time.Minute

	// maxPause is the longest pause, whatever is asked for.
	maxPause = time.Minute
	// fitting is how many attempts at least fit into the time that is left: a pause is no longer
	// than that part of it, so that as many follow.
	fitting = 3
	// shares is into how many parts the time is divided that is left when a holder begins to
	// write. The first two attempts have one each, in case that they are lost, and the last
	// has all others: it may be that the API server needs so long.
	shares = 5
	short  = 2
	// quiet is after how long without a pause the next one is a short one again.
	quiet = 30 * time.Second
	// leastPause, and that part of the time that a call had in the beginning, are below what a pause
	// is not cut.
	leastPause = 10 * time.Millisecond
	leastPart  = 20
)

// Attempts are the requests by which one call tries to get one thing done. Its requests follow
// each other. The zero Attempts is not valid: see New.
type Attempts struct {
	now    func() time.Time
	access Access
	usual  time.Duration // how long a write takes, as far as is known

	backoff wait.Backoff
	paused  time.Time     // when the last pause ended
	floor   time.Duration // of pauses that are cut
	slow    int           // how many attempts in a row had no answer in their time
	raced   bool          // the object has changed under an attempt
	refused time.Time     // since when all answers have been refusals; zero: the last was none
	latest  time.Time     // when the last refusal came
	last    error         // the last answer that was no success
}

// Access is what is known of the access that a program has.
type Access interface {
	// Doubts reports whether there is a reason to doubt a denial, which may end by itself: that
	// there was access before, for example.
	Doubts(denial error) bool
	// Believe takes in a denial that was doubted for long enough.
	Believe(denial error)
}

// New returns attempts whose time is now's. Without access every denial is believed. usual is how
// long the last write took; 0 if that is not known.
func New(now func() time.Time, access Access, usual time.Duration) *Attempts {
	return &Attempts{now: now, access: access, usual: usual, backoff: newBackoff()}
}

func newBackoff() wait.Backoff {
	return wait.Backoff{Duration: 20 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 8, Cap: 2 * time.Second}
}

// Wrote says what became of a write that ended with err. Of what store.OutcomeOf gives, Denied
// is Busy while the denial is doubted, and Rejected then.
func (a *Attempts) Wrote(err error) store.Outcome {
	a.note(err)
	switch outcome := store.OutcomeOf(err); outcome {
	case store.Committed, store.Altered:
		a.refused = time.Time{}
		return outcome
	case store.Denied:
		if a.access == nil || !a.access.Doubts(err) {
			return store.Rejected
		}
		if outcome = a.refuse(); outcome == store.Rejected {
			a.access.Believe(err)
		}
		return outcome
	default:
		return outcome
	}
}

// Read says, of a read that failed with err, whether it may be tried again (Busy) or not
// (Rejected).
func (a *Attempts) Read(err error) store.Outcome {
	switch outcome := a.Wrote(err); outcome {
	case store.Rejected:
		return outcome
	case store.Stale: // Not about an object: that would be no error.
		return a.refuse()
	default:
		return store.Busy
	}
}

// Unchanged says what became of a write that was Stale, when a read has shown that the object
// is at the version which the write changes: it was refused for another reason. Busy stands for
// one that may be sent again, and Rejected for one that would be refused again.
func (a *Attempts) Unchanged() store.Outcome { return a.refuse() }

func (a *Attempts) refuse() store.Outcome {
	now := a.now()
	if a.refused.IsZero() || now.Sub(a.latest) > Patience { // What was refused so long ago was not tried again.
		a.refused = now
	}
	a.latest = now
	if now.Sub(a.refused) < Patience {
		return store.Busy
	}
	a.refused = time.Time{}
	return store.Rejected
}

// note remembers how an attempt ended.
func (a *Attempts) note(err error) {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		a.slow++
		return
	case err == nil:
		a.last = nil
	default:
		if _, ok := errors.AsType[*apierrors.StatusError](err); ok {
			a.last = err
		}
	}
	a.slow = 0
}

// Because adds to err, if it does not say so, what the API server has last answered.
func (a *Attempts) Because(err error) error {
	if a.last == nil || err == nil || errors.Is(err, a.last) {
		return err
	}
	return fmt.Errorf("%w; the last answer was: %w", err, a.last)
}

// Last is the last answer of the API server, if that was no success.
func (a *Attempts) Last() error { return a.last }

// Raced waits before the object is read after a write that was Stale. The first time that is
// not at all. The write that follows has to follow the read at once: beside a program that
// writes the object all the time, what was read before a pause is old after it.
func (a *Attempts) Raced(ctx context.Context) error {
	if !a.raced {
		a.raced = true
		return ctx.Err()
	}
	return a.wait(ctx, nil)
}

// Pause waits before the next attempt: longer each time, or for as long as the API server asks
// for. It never waits for so long that no further attempts fit before ctx ends. It returns ctx's
// error if that ends first.
func (a *Attempts) Pause(ctx context.Context) error { return a.wait(ctx, a.last) }

func (a *Attempts) wait(ctx context.Context, asked error) error {
	timer := time.NewTimer(a.pause(ctx, asked))
	defer timer.Stop()
	select {
	case <-timer.C:
		a.paused = a.now()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Attempts) pause(ctx context.Context, asked error) time.Duration {
	if a.now().Sub(a.paused) > quiet {
		a.backoff = newBackoff()
	}
	d := a.backoff.Step()
	if seconds, ok := apierrors.SuggestsClientDelay(asked); ok {
		d = max(d, min(time.Duration(seconds)*time.Second, maxPause))
	}
	end, ok := ctx.Deadline()
	if !ok {
		return d
	}
	left := time.Until(end)
	if a.floor == 0 {
		a.floor = max(left/leastPart, leastPause)
	}
	return min(d, max(left/fitting, a.floor))
}

// Timeout is how long the next attempt of a holder may take whose lease ends after left: its share
// of that, or longer if the API server usually takes longer.
func (a *Attempts) Timeout(left time.Duration) time.Duration {
	share := left
	if a.slow < short {
		share = min(left, max(left/time.Duration(shares-a.slow), a.usual+a.usual/4))
	}
	return a.Limit(share)
}

// Limit is how long the next request may take, if it need not end before most is over. It is the
// longer, the more have had no answer in their time.
func (a *Attempts) Limit(most time.Duration) time.Duration {
	limit := min(max(FirstRequest, 2*a.usual), MaxRequest)
	for range a.slow {
		if limit *= 2; limit >= MaxRequest {
			limit = MaxRequest
			break
		}
	}
	return max(min(most, limit), leastPause)
}
