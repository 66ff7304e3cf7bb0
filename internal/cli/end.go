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

package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/retry"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// errEnded says that a hold is over, and that it was not this program that ended it.
var errEnded = errors.New("the hold has ended")

// holdWrite ends or renews a hold that another process has begun. What became of its writes is read
// back where an answer does not tell.
type holdWrite struct {
	*lock
	what  string          // it does, for people
	shown protocol.Record // with the hold to end, or to renew
	// next ends or renews the hold of r, which is the one that was shown.
	next func(r protocol.Record, at protocol.Stamp) (protocol.Record, error)
	// ours reports whether that is how next ends a hold; nil if it renews it.
	ours func(protocol.Reason) bool
	// lasts reports whether the hold is renewed, now that r, which shows it, is what a write has
	// left; nil if next ends the hold.
	lasts func(r protocol.Record) bool

	sent   []sentWrite
	unsure bool // one of them may have been committed
}

// sentWrite is one write. Its stamp tells it from the others.
type sentWrite struct{ stamp, at time.Time }

// do returns the lock as the write has left it. Its error is errEnded if the hold
// was over before. It does not stop in the middle of a write.
func (e *holdWrite) do(ctx context.Context) (protocol.Record, error) { //nolint:gocyclo // One loop over what an answer can be.
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	tries := retry.New(time.Now, nil)
	for refused, from := error(nil), (protocol.Record{}); ctx.Err() == nil; {
		r, err := e.read(ctx)
		switch {
		case err != nil && !e.unsure:
			return r, err
		case err != nil:
			refused = nil
			_ = tries.Pause(ctx) // What has ended meanwhile shows above.
			continue
		case !r.SameHold(e.shown):
			return e.outcome(r)
		case e.lasts != nil && e.unsure && e.wrote(r.Holder.RenewTime) != nil && e.lasts(r):
			return r, nil
		}
		if refused != nil { // In the words for a lock that has changed.
			if r.SameVersion(from) {
				if tries.Unchanged() == store.Rejected {
					return r, e.unresolved(explain("update", e.kind, e.namespace, refused))
				}
				_ = tries.Pause(ctx)
			}
			refused = nil
		}
		at := time.Now() // Before the stamp: see servertime.
		next, err := e.next(r, e.stamp(at))
		if err != nil {
			return r, fmt.Errorf("%s %q: %w", e.what, e.key, err)
		}
		after, err := e.amend(ctx, at, r, next)
		switch tries.Wrote(err) {
		case store.Committed:
			if e.lasts == nil || e.lasts(after) {
				return after, nil
			}
		case store.Altered:
			e.unsure = true
			return r, e.unresolved(explain("update", e.kind, e.namespace, err))
		case store.Rejected, store.Denied:
			return r, e.unresolved(explain("update", e.kind, e.namespace, err))
		case store.Stale: // Transports may send a request twice: one copy's answer hides the other's.
			e.unsure, refused, from = true, err, r
			_ = tries.Raced(ctx)
		case store.Unknown:
			e.unsure = true
			_ = tries.Pause(ctx)
		case store.Busy:
			_ = tries.Pause(ctx)
		}
	}
	return protocol.Record{}, e.unresolved(tries.Because(because(ctx, ctx.Err())))
}

// amend sends one write, which was made at at.
func (e *holdWrite) amend(ctx context.Context, at time.Time, from, to protocol.Record) (protocol.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	w := sentWrite{at: at}
	if e.lasts != nil {
		w.stamp = to.Holder.RenewTime
	} else {
		w.stamp = to.LastRelease.Time
	}
	e.sent = append(e.sent, w)
	after, err := e.store.Amend(ctx, from, to)
	switch {
	case err != nil:
	case after.Stamped.IsZero():
		e.clock.Untold()
	default:
		e.clock.Told(after.Stamped, w.at, time.Now())
	}
	return after, err
}

// wrote returns the write that carries that stamp; nil if there is none.
func (e *holdWrite) wrote(stamp time.Time) *sentWrite {
	i := slices.IndexFunc(e.sent, func(w sentWrite) bool { return w.stamp.Equal(stamp) })
	if i < 0 {
		return nil
	}
	return &e.sent[i]
}

// stamp is the time to write, later than that of every write before it.
func (e *holdWrite) stamp(now time.Time) protocol.Stamp {
	stamp := e.clock.Reading().Stamp(now)
	if n := len(e.sent); n > 0 {
		if earliest := e.sent[n-1].stamp.Add(time.Microsecond); stamp.Time.Before(earliest) {
			stamp.Time = earliest
		}
	}
	return stamp
}

// outcome says what became of the writes, now that r does not show the hold any more.
func (e *holdWrite) outcome(r protocol.Record) (protocol.Record, error) {
	last, hold := r.LastRelease, e.shown.Holder
	ofHold := r.UID == e.shown.UID && last != nil && last.LockID == hold.LockID &&
		(last.Token == hold.Token || last.Token == 0 || hold.Token == 0)
	switch {
	case e.lasts != nil: // Whatever became of a renewal, the hold is over.
		return r, errEnded
	case ofHold && e.ours(last.Reason) && e.wrote(last.Time) != nil:
		return r, nil
	case ofHold || !e.unsure:
		return r, errEnded
	}
	return r, fmt.Errorf("%w: %s %q: others have had the lock since, and whether this let them have it cannot be told", kubelock.ErrUnknownOutcome, e.what, e.key)
}

// unresolved is the error of a write that err kept from being made or learned of.
func (e *holdWrite) unresolved(err error) error {
	if e.unsure {
		return fmt.Errorf("%w: %s %q: see \"kubectl dlock describe\" for what became of it: %w", kubelock.ErrUnknownOutcome, e.what, e.key, err)
	}
	return fmt.Errorf("%s %q: nothing was changed: %w", e.what, e.key, err)
}
