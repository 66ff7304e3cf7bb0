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

package dlock

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

// endOfHold ends a hold that another process has begun. What became of its writes is read
// back where an answer does not tell.
type endOfHold struct {
	*lock
	what  string          // it does, for people
	shown protocol.Record // with the hold to end
	// next ends the hold of r, which is the one to end.
	next func(r protocol.Record, at protocol.Stamp) (protocol.Record, error)
	// ours reports whether that is how next ends a hold.
	ours func(protocol.Reason) bool

	sent  []time.Time // the stamps of the writes; they tell them from each other
	doubt bool        // one of them may have been committed
}

// end returns the lock as the end of the hold left it. Its error is errEnded if the hold
// was over before. It does not stop in the middle of a write.
func (e *endOfHold) end(ctx context.Context) (protocol.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	tries := retry.New(time.Now, nil, 0)
	for refused, from := error(nil), (protocol.Record{}); ctx.Err() == nil; {
		r, err := e.read(ctx)
		switch {
		case err != nil && !e.doubt:
			return r, err
		case err != nil:
			refused = nil
			_ = tries.Pause(ctx) // What has ended meanwhile shows above.
			continue
		case !r.SameHold(e.shown):
			return e.outcome(r)
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
		next, err := e.next(r, e.stamp())
		if err != nil {
			return r, fmt.Errorf("%s %q: %w", e.what, e.key, err)
		}
		after, err := e.amend(ctx, r, next)
		switch tries.Wrote(err) {
		case store.Committed:
			return after, nil
		case store.Altered:
			e.doubt = true
			return r, e.unresolved(explain("update", e.kind, e.namespace, err))
		case store.Rejected, store.Denied:
			return r, e.unresolved(explain("update", e.kind, e.namespace, err))
		case store.Stale: // Transports may send a request twice: one copy's answer hides the other's.
			e.doubt, refused, from = true, err, r
			_ = tries.Raced(ctx)
		case store.Unknown:
			e.doubt = true
			_ = tries.Pause(ctx)
		case store.Busy:
			_ = tries.Pause(ctx)
		}
	}
	return protocol.Record{}, e.unresolved(tries.Because(because(ctx, ctx.Err())))
}

// amend sends one write.
func (e *endOfHold) amend(ctx context.Context, from, to protocol.Record) (protocol.Record, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	e.sent = append(e.sent, to.LastRelease.Time)
	return e.store.Amend(ctx, from, to)
}

// stamp is the time to write, later than that of every write before it.
func (e *endOfHold) stamp() protocol.Stamp {
	stamp := e.clock.Stamp(time.Now())
	if n := len(e.sent); n > 0 {
		if earliest := e.sent[n-1].Add(time.Microsecond); stamp.Time.Before(earliest) {
			stamp.Time = earliest
		}
	}
	return stamp
}

// outcome says what became of the writes, now that r does not show the hold any more.
func (e *endOfHold) outcome(r protocol.Record) (protocol.Record, error) {
	last, hold := r.LastRelease, e.shown.Holder
	ofHold := r.UID == e.shown.UID && last != nil && last.LockID == hold.LockID &&
		(last.Token == hold.Token || last.Token == 0 || hold.Token == 0)
	mine := ofHold && e.ours(last.Reason) && slices.ContainsFunc(e.sent, last.Time.Equal)
	switch {
	case mine:
		return r, nil
	case ofHold || !e.doubt:
		return r, errEnded
	}
	return r, fmt.Errorf("%w: %s %q: others have had the lock since, and whether this let them have it cannot be told", kubelock.ErrUnknownOutcome, e.what, e.key)
}

// unresolved is the error of an end that err kept from being made or learned of.
func (e *endOfHold) unresolved(err error) error {
	if e.doubt {
		return fmt.Errorf("%w: %s %q: see \"kubectl dlock describe\" for what became of it: %w", kubelock.ErrUnknownOutcome, e.what, e.key, err)
	}
	return fmt.Errorf("%s %q: nothing was changed: %w", e.what, e.key, err)
}
