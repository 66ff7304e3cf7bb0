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

// ParseWaiter reads an entry of the queue. ok is false for what no client wrote.
func ParseWaiter(text string) (w Waiter, ok bool) {
	lockID, rest, _ := strings.Cut(text, " ")
	duration, identity, _ := strings.Cut(rest, " ")
	d, err := time.ParseDuration(duration)
	if strings.LastIndexByte(lockID, '-') <= 0 || err != nil || d <= 0 || identity == "" {
		return Waiter{}, false
	}
	return Waiter{LockID: lockID, Duration: d, Identity: identity}, true
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

// grant is the hold that w is given. Its lease is short until w extends it.
func (w Waiter) grant(token int64, at Stamp) *Holder {
	return &Holder{
		Identity:    w.Identity,
		Client:      w.Client(),
		LockID:      w.LockID,
		Token:       token,
		AcquireTime: at.Time,
		RenewTime:   at.Time,
		Source:      at.Source,
		Duration:    min(w.Duration, Grace),
	}
}
