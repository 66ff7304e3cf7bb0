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
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Waiter is one entry of the queue: a client that wants the lock. A Waiter is kept
// short, because every write of the lock carries the whole queue.
type Waiter struct {
	LockID   string        // of the hold that it asks for
	Duration time.Duration // of the lease that it asks for
	Identity string
}

// LockID makes a lock ID: unique as long as each client uses each number once, and
// telling its client.
func LockID(client string, number uint64) string {
	return client + "-" + strconv.FormatUint(number, 36)
}

// Client is the instance ID of the waiting client.
func (w Waiter) Client() string {
	return w.LockID[:strings.LastIndexByte(w.LockID, '-')]
}

// String is how the queue stores w.
func (w Waiter) String() string {
	return w.LockID + " " + w.Duration.String() + " " + w.Identity
}

// ParseWaiter reads an entry of the queue. ok is false for what no client wrote, and for
// what could not be granted: an entry whose hold the API server would refuse to store.
// Otherwise each holder would fail to hand the lock over to it.
func ParseWaiter(text string) (w Waiter, ok bool) {
	lockID, rest, _ := strings.Cut(text, " ")
	duration, identity, _ := strings.Cut(rest, " ")
	if !validLockID(lockID) || !ValidIdentity(identity) {
		return Waiter{}, false
	}
	d, err := time.ParseDuration(duration)
	if err != nil || d <= 0 || d > MaxDuration {
		return Waiter{}, false
	}
	return Waiter{LockID: lockID, Duration: d, Identity: identity}, true
}

// ValidIdentity reports whether a holder may have that identity.
func ValidIdentity(identity string) bool {
	return identity != "" && len(identity) <= MaxIdentityBytes && utf8.ValidString(identity)
}

// validLockID reports whether a waiting client may ask for a hold of that lock ID. Both the
// lock ID and the client that it tells must be values of labels, and so parts of names, too.
func validLockID(lockID string) bool {
	end := strings.LastIndexByte(lockID, '-')
	return end > 0 && ValidLabel(lockID) && ValidLabel(lockID[:end])
}

// ValidLabel reports whether text is the value of a label, and not empty.
func ValidLabel(text string) bool {
	last := len(text) - 1
	if last < 0 || last >= MaxLockIDBytes {
		return false
	}
	for i := range len(text) {
		switch c := text[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case c == '-' || c == '_' || c == '.':
			if i == 0 || i == last {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// Place is where the first entry that mine accepts stands in the queue, 0 being its
// head; the length of the queue if there is none.
func (r Record) Place(mine func(lockID string) bool) int {
	for i, text := range r.Waiters {
		if w, ok := ParseWaiter(text); ok && mine(w.LockID) {
			return i
		}
	}
	return len(r.Waiters)
}

// Ahead returns how many waiters come before that place. Entries that cannot be read do not
// count: none of them can be given the lock.
func (r Record) Ahead(place int) (count int) {
	for _, text := range r.Waiters[:min(place, len(r.Waiters))] {
		if _, ok := ParseWaiter(text); ok {
			count++
		}
	}
	return count
}

// BehindHead is the place behind the first waiter; behind the last entry if none can be read.
func (r Record) BehindHead() int {
	return min(r.Place(func(string) bool { return true })+1, len(r.Waiters))
}

const (
	// patientWith is how many waiters in a row have the whole Grace to answer.
	patientWith = 2
	// haste is the head start of each waiter behind those: longer than a request usually takes.
	haste = Grace / 50
)

// headStart is how long all of that many waiters have to take the lock before the next one
// may. The first two have the Grace each. Of those behind two that did not answer it is
// assumed that they are as dead: each has only a moment.
func headStart(waiters int) time.Duration {
	return time.Duration(min(waiters, patientWith))*Grace + time.Duration(max(waiters-patientWith, 0))*haste
}

// graceAfter is the longest lease that the next waiter is granted after r's hold, which
// has expired: 0 if no waiter shall be granted the lock.
//
// A grant that was never renewed, after a hold that expired too, tells of two in a row
// that are dead. Then the next waiter has half of the Grace. If that expires as well, or if the grant was
// no longer than that because its waiter wants a short lease, the lock is freed with its queue
// as it is: whichever waiter lives takes it, after its head start.
func (r Record) graceAfter() time.Duration {
	const hasty = Grace / 2
	h, last := r.Holder, r.LastRelease
	if !last.died() || !h.AcquireTime.Equal(h.RenewTime) {
		return Grace
	}
	switch {
	case h.Duration > Grace: // No grant: its holder has taken the lock.
		return Grace
	case h.Duration > hasty:
		return hasty
	}
	return 0
}

// next is the first waiter that is not of the client except, and the queue behind
// it. What stands before that one is of no use: entries that cannot be read, and
// those of a client that has just had the lock, which wants one hold at a time.
func (r Record) next(except string) (head Waiter, rest []string, ok bool) {
	for i, text := range r.Waiters {
		if w, ok := ParseWaiter(text); ok && w.Client() != except {
			return w, r.Waiters[i+1:], true
		}
	}
	return Waiter{}, nil, false
}

// Contended reports whether somebody of another client than that one waits.
func (r Record) Contended(client string) bool {
	_, _, ok := r.next(client)
	return ok
}

// Newcomers is how many clients queue that did not hold the lock nor queue for it when it
// was as before.
func (r Record) Newcomers(before Record) int {
	known := map[string]bool{}
	if before.Holder != nil {
		known[before.Holder.Client] = true
	}
	for _, text := range before.Waiters {
		if w, ok := ParseWaiter(text); ok {
			known[w.Client()] = true
		}
	}
	count := 0
	for _, text := range r.Waiters {
		if w, ok := ParseWaiter(text); ok && !known[w.Client()] {
			known[w.Client()] = true
			count++
		}
	}
	return count
}

// grant is the hold that w is given. Its lease is no longer than grace until w extends it.
func (w Waiter) grant(token int64, grace time.Duration, at Stamp) *Holder {
	return &Holder{
		Identity:    w.Identity,
		Client:      w.Client(),
		LockID:      w.LockID,
		Token:       token,
		AcquireTime: at.Time,
		RenewTime:   at.Time,
		Source:      at.Source,
		Duration:    min(w.Duration, grace),
	}
}
