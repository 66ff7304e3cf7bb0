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

package protocol

import (
	"errors"
	"math"
	"slices"
	"time"
)

// Claim is what a caller that wants the lock writes when it gets it.
type Claim struct {
	Identity     string
	Pod          Pod
	Client       string
	LockID       string
	Duration     time.Duration
	ObjectExpiry time.Duration // 0 leaves the object's as it is
}

// Waiter is the entry by which the claim queues.
func (c Claim) Waiter() Waiter {
	return Waiter{LockID: c.LockID, Duration: c.Duration, Identity: c.Identity}
}

// Take begins a hold: free→held, or held→held after the old hold has expired. The
// caller has made sure of that, and that the first drop entries of the queue, its
// own among them, have had their chance or are not needed any more. The write must
// be conditioned on r's version, or, where there is no object, create it.
func Take(r Record, c Claim, drop int, at Stamp) (Record, error) {
	if r.Terminating {
		return Record{}, ErrTerminating
	}
	var token int64
	if r.Exists() {
		var err error
		if token, err = NextToken(r); err != nil {
			return Record{}, err
		}
	}
	if r.Holder != nil {
		r = end(r, 0, Expired, at)
	}
	r.Waiters = slices.Clone(r.Waiters[drop:])
	return begin(r, c, token, at), nil
}

// Apply begins a hold and ends it, in the same write: free→free, with the state that change says. The
// lock must be free, and its queue empty. The write must be conditioned on r's version. So there must be an object: a
// creation is conditioned on no version, and may store its state at any time.
func Apply(r Record, c Claim, change Change, at Stamp) (Record, error) {
	switch {
	case !r.Exists():
		return Record{}, errors.New("the lock has no object yet")
	case r.Holder != nil || len(r.Waiters) > 0:
		return Record{}, errors.New("the lock is held, or queued for")
	}
	next, err := Take(r, c, 0, at)
	if err != nil {
		return Record{}, err
	}
	return end(change.apply(next), 0, Released, at), nil
}

// begin puts the claim's hold into a free lock.
func begin(r Record, c Claim, token int64, at Stamp) Record {
	h := &Holder{
		Identity:    c.Identity,
		Pod:         c.Pod,
		Client:      c.Client,
		LockID:      c.LockID,
		Token:       token,
		AcquireTime: at.Time,
		RenewTime:   at.Time,
		Source:      at.Source,
		Duration:    r.lease(c.Duration),
	}
	if c.ObjectExpiry > 0 {
		r.ObjectExpiry = c.ObjectExpiry
	}
	return hold(r, h)
}

// hold gives a free lock to h.
func hold(r Record, h *Holder) Record {
	r.Holder = h
	if r.Transitions < math.MaxInt64 { // The schema does not let them begin anew.
		r.Transitions++
	}
	return r
}

// ErrTerminating says that a transition was asked for that an object which is being deleted
// cannot have any more.
var ErrTerminating = errors.New("the lock's object is being deleted")

// ErrNotHolder says that a transition was asked for on a hold that is not, or no
// longer, the current one.
var ErrNotHolder = errors.New("the lock is not held by this hold")

// Change is what a holder's write does to the state.
type Change struct {
	Write bool    // false: leave the state as it is
	Value *string // nil: no state
}

// Unless returns c, or if condition holds a change that leaves the state alone.
func (c Change) Unless(condition bool) Change {
	if condition {
		return Change{}
	}
	return c
}

func (c Change) apply(r Record) Record {
	if c.Write {
		r.Value = c.Value
	}
	return r
}

// Renew extends c's hold to c's duration and, if change says so, writes the state:
// held→held by renewal. The renewal time grows with every call, so that observers
// see each one, and so that the holder can tell its own attempts apart.
func Renew(r Record, c Claim, token int64, change Change, at Stamp) (Record, error) {
	if !r.HeldBy(c.LockID, token) {
		return Record{}, ErrNotHolder
	}
	if r.Terminating {
		return Record{}, ErrTerminating
	}
	h := *r.Holder
	h.Pod = c.Pod // Who was given the lock had no room for it in the queue.
	h.Token = token
	h.RenewTime = at.Time
	if earliest := r.Holder.RenewTime.Add(time.Microsecond); at.Time.Before(earliest) {
		h.RenewTime = earliest
		at.Source = r.Holder.Source // Whose clock was ahead.
	}
	h.Source = at.Source
	h.Duration = r.lease(c.Duration)
	if c.ObjectExpiry > 0 {
		r.ObjectExpiry = c.ObjectExpiry
	}
	r.Holder = &h
	return change.apply(r), nil
}

// Release ends c's hold and, if change says so, writes the state. The lock goes to
// the first waiter of another client: held→held by hand-off; the claim successor of
// this client, if there is one, joins the queue then. Without such a waiter the
// lock goes to successor. Without both it is free. In a terminating object the hold ends
// without any of that, and the state stays as it is.
func Release(r Record, c Claim, token int64, change Change, successor *Claim, at Stamp) (Record, error) {
	if !r.HeldBy(c.LockID, token) {
		return Record{}, ErrNotHolder
	}
	if c.ObjectExpiry > 0 {
		r.ObjectExpiry = c.ObjectExpiry
	}
	return pass(change.Unless(r.Terminating).apply(r), token, Released, successor, at), nil
}

// Rest ends c's hold as Release does, and keeps the lock from everyone for that long: held→resting. The
// queue stays as it is. See Resting. Where no rest can begin, the hold ends all the same, as by Release: in a
// terminating object, and where there is no token left.
func Rest(r Record, c Claim, token int64, change Change, d time.Duration, at Stamp) (Record, error) {
	if !r.HeldBy(c.LockID, token) {
		return Record{}, ErrNotHolder
	}
	next, err := NextToken(r)
	if err != nil || r.Terminating || d <= 0 {
		return Release(r, c, token, change, nil, at)
	}
	if c.ObjectExpiry > 0 {
		r.ObjectExpiry = c.ObjectExpiry
	}
	r = end(change.apply(r), token, Released, at)
	return hold(r, rest(r.LastRelease, next, d, at)), nil
}

// Expire ends a hold that has expired, and gives the lock to the first waiter if
// there is one: held→held, or held→free. The caller has made sure of the expiry; the
// state stays as the holder last wrote it. The claim successor is of the client that
// had the lock; see Release.
func Expire(r Record, successor *Claim, at Stamp) (Record, error) {
	if r.Holder == nil {
		return Record{}, ErrNotHolder
	}
	return pass(r, 0, Expired, successor, at), nil
}

// Terminate ends a hold, whose lease may not be over, because its holder has ended, and
// gives the lock to the first waiter if there is one. The caller has made sure that the
// holder will never run again; the state stays as it last wrote it.
func Terminate(r Record, at Stamp) (Record, error) {
	if r.Holder == nil {
		return Record{}, ErrNotHolder
	}
	return pass(r, 0, HolderTerminated, nil, at), nil
}

// Force ends a hold, whose lease may not be over, because a person wants it to end, and
// gives the lock to the first waiter if there is one. It ends the hold that the person was
// shown and no other: r may have been renewed and queued for since. The state stays as the
// holder last wrote it.
func Force(r, shown Record, at Stamp) (Record, error) {
	if !r.SameHold(shown) {
		return Record{}, ErrNotHolder
	}
	return pass(r, 0, Forced, nil, at), nil
}

// Grant gives a free lock to the first waiter: free→held. Without one that can be
// read it empties the queue.
func Grant(r Record, at Stamp) (Record, error) {
	if r.Holder != nil {
		return Record{}, errors.New("the lock is held")
	}
	if r.Terminating {
		return Record{}, ErrTerminating
	}
	head, rest, ok := r.next("")
	r.Waiters = slices.Clone(rest)
	if !ok {
		return r, nil
	}
	token, err := NextToken(r)
	if err != nil {
		return Record{}, err
	}
	return hold(r, head.grant(token, Grace, at)), nil
}

// pass ends the current hold and begins that of the next waiter or of successor, if there
// is one and there is a token for it. Otherwise the lock is free, with its queue as it was:
// that the next hold cannot begin is no reason for this one not to end.
func pass(r Record, token int64, reason Reason, successor *Claim, at Stamp) Record {
	if r.Terminating { // A hold that began now would vanish with the object.
		return end(r, token, reason, at)
	}
	head, rest, ok := r.next(r.Holder.Client)
	next, err := NextToken(r)
	grace := Grace
	if reason == Expired {
		grace = r.graceAfter()
	}
	if err != nil || ok && grace == 0 {
		return end(r, token, reason, at)
	}
	r.Waiters = slices.Clone(rest)
	if reason == Released && (ok || successor != nil) {
		reason = HandedOff
	}
	r = end(r, token, reason, at)
	switch {
	case ok:
		r = hold(r, head.grant(next, grace, at))
		if successor != nil {
			r.Waiters = append(r.Waiters, successor.Waiter().String())
		}
	case successor != nil:
		return begin(r, *successor, next, at)
	}
	return r
}

// end removes the holder and notes how its hold ended. token is the hold's where
// the caller knows it; else the record's is used.
func end(r Record, token int64, reason Reason, at Stamp) Record {
	if token == 0 {
		token = r.Holder.Token
	}
	r.LastRelease = &LastRelease{
		LockID:   r.Holder.LockID,
		Identity: r.Holder.Identity,
		Token:    token,
		Time:     at.Time,
		Source:   at.Source,
		Reason:   reason,
	}
	r.Holder = nil
	return r
}
