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

	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubelock/kubelock/internal/protocol"
)

// tryTimeout bounds a call that does not wait for the lock, but has to learn what
// became of its write.
const tryTimeout = 15 * time.Second

var (
	errNoAnswer = errors.New("no answer from the API server")
	errAgain    = errors.New("the lock has to be looked at again")
	errTooLate  = errors.New("the lease ended before the API server's answer came: use a longer duration")
)

// acquire gets the lock for one caller, or says why not. If try is set it does not
// wait for the lock to become available. accept sees the state before the lock is
// taken and can refuse it.
func (c *Client) acquire(ctx context.Context, k key, o options, try bool, accept func(value *string) error) (h *hold, err error) {
	asked := c.now()
	defer func() { c.metrics.observeAcquire(c.now().Sub(asked), err) }()

	if ctx.Err() != nil {
		return nil, ended(ctx, &notAcquiredError{key: k.name})
	}
	if try {
		if !c.turns.tryEnter(k.object) {
			return nil, &notAcquiredError{key: k.name, holder: c.identity}
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, tryTimeout, errNoAnswer)
		defer cancel()
	} else if ahead, err := c.turns.enter(ctx, k.object); err != nil {
		return nil, ended(ctx, &notAcquiredError{key: k.name, holder: c.identity, waited: c.now().Sub(asked), ahead: ahead})
	}
	defer func() {
		if h == nil {
			c.turns.leave(k.object)
		}
	}()

	a := newContest(c, k, o.duration, asked, try)
	defer a.stop()
	if err := a.begin(ctx); err != nil {
		return nil, err
	}
	for {
		h, err := a.round(ctx, accept)
		if !errors.Is(err, errAgain) {
			return h, err
		}
	}
}

// contest is one caller's competition for a lock, while it has its client's turn.
type contest struct {
	observer
	asked   time.Time
	try     bool // do not wait for the lock
	claim   protocol.Claim
	backoff *wait.Backoff

	// attempts are the writes of this claim that may have been, or may yet be,
	// committed.
	attempts []attempt
	// inFlight delivers the answer to the last attempt, if the caller could not wait
	// for it.
	inFlight <-chan answer
}

func newContest(c *Client, k key, duration time.Duration, asked time.Time, try bool) *contest {
	a := &contest{observer: observer{client: c, key: k}, asked: asked, try: try, backoff: newBackoff()}
	a.claim = protocol.Claim{
		Identity:     c.identity,
		Pod:          c.pod,
		Client:       c.id,
		Duration:     duration,
		ObjectExpiry: c.objectExpiry,
	}
	a.newLockID()
	return a
}

// newLockID makes a new lock ID, so that nothing that was written under the last one is
// taken for an answer to what comes.
func (a *contest) newLockID() {
	a.claim.LockID = string(uuid.NewUUID())
	a.attempts = nil
}

// round waits until the lock is available and tries to take it. It returns errAgain
// when the lock has to be looked at again.
func (a *contest) round(ctx context.Context, accept func(value *string) error) (*hold, error) {
	if a.record.HeldBy(a.claim.LockID) { // An attempt of which no answer came, or the wrong one.
		return a.enter(ctx, a.record, a.sentFor(a.record))
	}
	if err := a.available(ctx); err != nil {
		return nil, err
	}
	if err := accept(a.record.Value); err != nil {
		return nil, a.failed(ctx, err)
	}
	return a.take(ctx)
}

// begin finds out how the lock stands: from this client's last release, or by a
// read.
func (a *contest) begin(ctx context.Context) error {
	if r, ok := a.client.recall(a.key.object); ok {
		a.see(r)
		return nil
	}
	return a.read(ctx)
}

func (a *contest) read(ctx context.Context) error {
	var r protocol.Record
	var err error
	if a.try && len(a.attempts) == 0 { // Nothing to learn that would be worth a wait.
		r, err = a.client.readOnce(ctx, a.key)
	} else {
		r, err = a.client.readUntil(ctx, a.key, requestTimeout)
	}
	if err != nil {
		return a.failed(ctx, err)
	}
	a.see(r)
	if !r.HeldBy(a.claim.LockID) {
		// What was conditioned on another version cannot be committed any more.
		a.attempts = slices.DeleteFunc(a.attempts, func(t attempt) bool { return t.base != r.ResourceVersion })
	}
	return nil
}

// holder names who was last seen to hold the lock.
func (a *contest) holder() string {
	if h := a.record.Holder; h != nil {
		return h.Identity
	}
	return ""
}

// failed says why the contest ends with err, which may be nil if ctx has ended.
// Where an attempt may have been committed, or may yet be, it says that instead of
// "not acquired", and sees to it that the lock is given back.
func (a *contest) failed(ctx context.Context, err error) error {
	if len(a.attempts) > 0 {
		a.abandon()
		switch {
		case err == nil:
			err = causeOf(ctx)
		case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
			err = fmt.Errorf("%w: %w", causeOf(ctx), err)
		}
		return fmt.Errorf("%w: acquiring %q: %w", ErrUnknownOutcome, a.key.name, err)
	}
	if ctx.Err() == nil || a.try && err != nil {
		return err
	}
	e := &notAcquiredError{key: a.key.name, holder: a.holder(), waited: a.client.now().Sub(a.asked)}
	if err != nil && !errors.Is(err, ctx.Err()) {
		e.causes = append(e.causes, err)
	}
	return ended(ctx, e)
}

// ended completes e for a call whose context has ended, or whose client was closed.
func ended(ctx context.Context, e *notAcquiredError) error {
	cause := causeOf(ctx)
	if errors.Is(cause, ErrClosed) {
		return cause
	}
	e.causes = append(e.causes, cause)
	return e
}

// available waits until the lock is free for the taking, as far as is known.
func (a *contest) available(ctx context.Context) error {
	for {
		h := a.record.Holder
		if h == nil {
			return nil
		}
		// Its client is this one, whose turn the caller has: the hold is dead, whatever
		// became of it. Nobody here believes in it any more.
		if h.Client == a.claim.Client {
			return nil
		}
		expired, remaining := a.client.judge().Expired(a.record, a.seen)
		if expired {
			return nil
		}
		if a.try {
			return &notAcquiredError{key: a.key.name, holder: h.Identity}
		}
		versions, reread, err := a.await(ctx, remaining)
		if err != nil {
			return a.failed(ctx, err)
		}
		for _, r := range versions {
			a.see(r)
		}
		if reread {
			if err := a.read(ctx); err != nil {
				return err
			}
		}
	}
}
