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
	"strings"
	"time"
)

// A lock rests when its holder has released it, and no client may have it for some time yet: see
// Rest. The record shows that as one more hold, which belongs to no client. So all clients, those of
// versions that know nothing of a rest, too, leave the lock alone until that lease is over, and take it
// over then as after any other. That hold has a lock ID, a token and a number of its own, as any other
// has: the schema, the admission policies and leader electors need no rule for it.

// restPrefix begins the lock ID, and the client, of a rest. No client has such an ID: its own has no hyphen.
const restPrefix = "rest-"

// RestID is the lock ID of the rest after the hold of that lock ID.
func RestID(lockID string) string { return restPrefix + lockID }

// rest is what holds the lock after last, for that long. It names no Pod: that this one terminates
// is no reason to end the rest.
func rest(last *LastRelease, token int64, d time.Duration, at Stamp) *Holder {
	const precision = time.Millisecond // People read it.
	id := RestID(last.LockID)
	return &Holder{
		Identity:    last.Identity,
		Client:      Waiter{LockID: id}.Client(),
		LockID:      id,
		Token:       token,
		AcquireTime: at.Time,
		RenewTime:   at.Time,
		Source:      at.Source,
		Duration:    (d + precision - 1).Truncate(precision),
	}
}

// Rests reports whether h is a rest. A nil h is none, and neither is an elector of whatever name.
func (h *Holder) Rests() bool {
	return h != nil && !h.Foreign() && strings.HasPrefix(h.LockID, restPrefix)
}

// Resting reports whether r rests: no client holds the lock, and none may have it before the lease
// that r shows is over.
func (r Record) Resting() bool {
	return r.Holder != nil && r.LastRelease != nil && r.Holder.LockID == RestID(r.LastRelease.LockID)
}

// Rested is the lock ID of the hold after which the rest came that l tells the end of; "" if it does
// not tell of a rest. That hold was released. An elector's hold is no rest, whatever its name.
func (l *LastRelease) Rested() string {
	if l == nil || l.Foreign() {
		return ""
	}
	lockID, ok := strings.CutPrefix(l.LockID, restPrefix)
	if !ok {
		return ""
	}
	return lockID
}

func (l *LastRelease) ofRest() bool { return l.Rested() != "" }

// died reports whether l tells of a holder that has not renewed its lease.
func (l *LastRelease) died() bool { return l != nil && l.Reason == Expired && !l.ofRest() }
