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
	"github.com/kubelock/kubelock/internal/store"
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
		return nil, err
	}
	return a.take(ctx)
}

// tryTimeout bounds a call that does not wait for the lock, but has to learn what
// became of its write.
const tryTimeout = 15 * time.Second

var (
	errNoAnswer = errors.New("no answer from the API server")
	errAgain    = errors.New("the lock has to be looked at again")
	errTooLate  = errors.New("the lease ended before the API server's answer came: use a longer duration")
)

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

// attempt is a write that was sent. Together with the lock ID, the stamp that it
// wrote tells it from every other.
type attempt struct {
	stamp time.Time
	sent  time.Time // before it was sent: deadlines count from here
	base  string    // the resourceVersion that it was conditioned on; "" for a create
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
	a.renew()
	return a
}

// renew makes a new lock ID, so that nothing that was written under the last one is
// taken for an answer to what comes.
func (a *contest) renew() {
	a.claim.LockID = string(uuid.NewUUID())
	a.attempts = nil
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

// take writes the claim into the lock, which is available. It returns errAgain when
// the lock has to be looked at again.
func (a *contest) take(ctx context.Context) (*hold, error) {
	c := a.client
	sent := c.now() // Before the stamp: others may count from that.
	stamp := c.stamp()
	next, err := protocol.Take(a.record, a.claim, stamp)
	if err != nil {
		return nil, fmt.Errorf("kubelock: %w", err)
	}
	if !a.record.Exists() {
		next.Name, next.Key = a.key.object, a.key.name
	}
	a.attempts = append(a.attempts, attempt{stamp: stamp.Time, sent: sent, base: a.record.ResourceVersion})

	answers := make(chan answer, 1)
	if !c.start(func() { answers <- c.write(max(a.claim.Duration, time.Second), next) }) {
		return nil, ErrClosed
	}
	var ans answer
	select {
	case ans = <-answers:
	case <-ctx.Done():
		a.inFlight = answers
		return nil, a.failed(ctx, nil)
	}

	switch store.OutcomeOf(ans.err) {
	case store.Committed:
		return a.enter(ctx, ans.record, sent)
	case store.Rejected:
		a.attempts = a.attempts[:len(a.attempts)-1]
		return nil, a.failed(ctx, c.explain(verb(next), a.key, ans.err))
	case store.Busy:
		a.attempts = a.attempts[:len(a.attempts)-1]
		if pause(ctx, a.backoff, ans.err) != nil {
			return nil, a.failed(ctx, nil)
		}
		return nil, errAgain
	case store.Unknown:
		c.log.V(1).Info("Got no answer to a write, will read back", "key", a.key.name, "err", ans.err)
		if pause(ctx, a.backoff, ans.err) != nil {
			return nil, a.failed(ctx, ans.err)
		}
	case store.Stale: // The read tells how the lock stands, and whether a copy of this very write was committed.
	}
	if err := a.read(ctx); err != nil {
		return nil, err
	}
	return nil, errAgain
}

// sentFor finds when the attempt was sent that made r what it is. Where that cannot
// be told, it is the earliest, so that the deadline is never too late.
func (a *contest) sentFor(r protocol.Record) time.Time {
	for _, t := range a.attempts {
		if t.stamp.Equal(r.Holder.RenewTime) {
			return t.sent
		}
	}
	return a.attempts[0].sent
}

// enter makes a hold of the record that the write sent at sent gave. A hold whose
// deadline has passed already, or could be taken for passed by others, is not
// entered: then it returns errAgain, and the contest goes on under another lock ID.
func (a *contest) enter(ctx context.Context, r protocol.Record, sent time.Time) (*hold, error) {
	h, err := newHold(a.client, a.key, r, sent.Add(a.claim.Duration))
	stamp := protocol.Stamp{Time: r.Holder.RenewTime, Source: r.Holder.Source}
	if err == nil && a.client.stampHolds(stamp, sent) && h.open() {
		return h, nil
	}
	if err != nil || a.try {
		a.abandon()
	}
	switch {
	case err != nil:
		return nil, fmt.Errorf("kubelock: %w", err)
	case a.try:
		return nil, &notAcquiredError{key: a.key.name, causes: []error{errTooLate}}
	}
	if pause(ctx, a.backoff, nil) != nil {
		return nil, a.failed(ctx, errTooLate)
	}
	a.record = r // This client's own, and dead: it can be taken.
	a.renew()
	return nil, errAgain
}

// abandon sees to it, in the background, that a claim whose caller does not get the
// lock does not keep it from others until its lease ends: if one of the attempts
// was committed, the hold is released. It gives up when the lease has ended anyway.
func (a *contest) abandon() {
	c, k, lockID, inFlight := a.client, a.key, a.claim.LockID, a.inFlight
	ends := a.attempts[len(a.attempts)-1].sent.Add(a.claim.Duration)
	c.start(func() { // If the client is closed, the lease ends by itself.
		ctx, cancel := context.WithTimeout(c.ctx, max(ends.Sub(c.now()), requestTimeout))
		defer cancel()
		if inFlight != nil {
			<-inFlight
		}
		backoff := newBackoff()
		for {
			r, err := c.readUntil(ctx, k, requestTimeout)
			if err != nil || !r.HeldBy(lockID) {
				return
			}
			next, err := protocol.Release(r, lockID, 0, protocol.Change{}, c.stamp())
			if err != nil {
				return
			}
			if ans := c.write(requestTimeout, next); ans.err == nil || pause(ctx, backoff, ans.err) != nil {
				return
			}
		}
	})
}

func verb(r protocol.Record) string {
	if r.Exists() {
		return "update"
	}
	return "create"
}
