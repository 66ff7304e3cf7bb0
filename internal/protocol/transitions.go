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

// Take begins a hold: free→held, or held→held after the old hold has expired. The
// caller has made sure of that; the write must be conditioned on r's version, or,
// where there is no object, create it.
func Take(r Record, c Claim, at Stamp) (Record, error) {
	if r.Holder != nil {
		r = end(r, 0, Expired, at)
	}
	h := &Holder{
		Identity:    c.Identity,
		Pod:         c.Pod,
		Client:      c.Client,
		LockID:      c.LockID,
		AcquireTime: at.Time,
		RenewTime:   at.Time,
		Source:      at.Source,
		Duration:    c.Duration,
	}
	if r.Exists() {
		token, err := NextToken(r)
		if err != nil {
			return Record{}, err
		}
		h.Token = token
	}
	if c.ObjectExpiry > 0 {
		r.ObjectExpiry = c.ObjectExpiry
	}
	r.Holder = h
	r.Transitions++
	return r, nil
}

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

// Renew extends the hold lockID and, if change says so, writes the state:
// held→held by renewal. The renewal time grows with every call, so that observers
// see each one, and so that the holder can tell its own attempts apart.
func Renew(r Record, lockID string, token int64, duration time.Duration, change Change, at Stamp) (Record, error) {
	if !r.HeldBy(lockID) {
		return Record{}, ErrNotHolder
	}
	h := *r.Holder
	h.Token = token
	h.RenewTime = at.Time
	if earliest := r.Holder.RenewTime.Add(time.Microsecond); at.Time.Before(earliest) {
		h.RenewTime = earliest
	}
	h.Source = at.Source
	h.Duration = duration
	r.Holder = &h
	return change.apply(r), nil
}

// Release ends the hold lockID and, if change says so, writes the state:
// held→free.
func Release(r Record, lockID string, token int64, change Change, at Stamp) (Record, error) {
	if !r.HeldBy(lockID) {
		return Record{}, ErrNotHolder
	}
	return change.apply(end(r, token, Released, at)), nil
}

// Expire ends a hold that has expired: held→free. The caller has made sure of
// that; the state stays as the holder last wrote it.
func Expire(r Record, at Stamp) (Record, error) {
	if r.Holder == nil {
		return Record{}, ErrNotHolder
	}
	return end(r, 0, Expired, at), nil
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
