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

package session

import (
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// Every time and count by which the machine decides, apart from those that protocol shares with
// all clients. What was measured for each stands in docs/design.
const (
	// minute is for how long at most a waiter relies on what it knows.
	minute = time.Minute
	// headWatchAfter is for how long a waiter is the first in the queue before it watches the lock
	// itself: for less than a holder with a usual lease takes to renew it, and for much longer
	// than a busy lock takes to be handed over.
	headWatchAfter = time.Second
	// fullQueueWait is how long a client waits at least, and half as long again at most, before it
	// looks again for room in a queue that was full.
	fullQueueWait = time.Second
	// askPause is for how long a client does not ask for the server's time after it asked in vain.
	askPause = protocol.Grace

	// grantMargin is the part of the grace that passes from the begin of a grant to its use.
	grantMargin = protocol.Grace / 20
	// minEstimateSpan is over how long at least the time from hold to hold is measured.
	minEstimateSpan = 500 * time.Millisecond

	// trustHeldFor is for how long a client relies on having handed a lock over to another client: the
	// queue that it joins then is soon another, and its place would be that of an earlier time.
	trustHeldFor = 100 * time.Millisecond
	// returnsWithin is how soon after its release a caller comes back that takes the lock in a loop.
	returnsWithin = 50 * time.Millisecond
	// sureReturns is how often in a row that must have been so for the next time to be expected. Once is
	// enough where many others wait: the place in the queue is taken back before its turn.
	sureReturns, manyWaiters = 2, 16

	// herdRead is how long a read takes at least where there is a thundering herd. Where one takes less, a few
	// clients take the lock in loops, and their writes are quick.
	herdRead = 25 * time.Millisecond
	// herdNewcomers is how many others join meanwhile where there is one. Where none does it is the
	// line that is slow, and the holder that refuses.
	herdNewcomers = 2
	// maxBackOffs is how often a client backs off before it joins any version.
	maxBackOffs = 5
	// backOffPerAnswer is up to how many times as long as an answer took a client backs off; or up to twice
	// the time before, if that is longer.
	backOffPerAnswer = 8
	maxBackOff       = 8 * time.Second
	// maxBackOffIfFree is for how long at most a client backs off that has seen the lock free, and
	// an empty queue: the clients that were faster may be gone.
	maxBackOffIfFree = 100 * time.Millisecond
	// jitterPerWaiter is by how much the entries of clients are spread that come back to a
	// queue, for each that is in it; less than a lock takes to be handed over.
	jitterPerWaiter = 2 * time.Millisecond

	// renewWith is how much of its lease is left when a hold is renewed that is renewed in the
	// background. There are at least three attempts in that time: see tries.timeout.
	renewWith = 2.0 / 3
	// renewJitter is the part of a lease by which renewals in the background are spread.
	renewJitter = 40
	// readsPerHold is into how many parts the rest of a lease is divided of which a read may take one.
	readsPerHold = 3
	// minLease is the shortest time that a request of a holder is given, and a lease lasts.
	minLease = 10 * time.Millisecond
	// maxAttempts is of how many writes of one claim a session remembers when they were sent. Of a hold that
	// an earlier one has begun, it only knows that it is no older than the first.
	maxAttempts = 64
	// idBits is how many bits of a lock ID's number tell the tenures apart that one event begins.
	idBits = 2
)

// The bounds of tries.
const (
	// Patience is for how long a refusal is doubted that may end by itself: of a program that
	// has had access, or of a write that fits the object as it is.
	Patience = 15 * time.Second
	// FirstRequest is how long the first request of a call may take.
	FirstRequest = 10 * time.Second
	// MaxRequest is how long any request may take: after that an API server gives it up, unless
	// its flags say otherwise.
	MaxRequest = time.Minute

	// firstPause is the shortest pause. Each is twice the one before, up to longPause, and up to
	// half as long again by chance.
	firstPause = 20 * time.Millisecond
	longPause  = 2 * time.Second
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
	// slowRead is the part of the time of an attempt without an answer that the read after it takes at least where
	// the API server is slow, and the attempt was not lost: the next one has all the rest.
	slowRead = 4
	// quiet is after how long without a pause the next one is a short one again.
	quiet = 30 * time.Second
	// leastPause, and that part of the time that a call had in the beginning, are below what a pause
	// is not cut.
	leastPause = 10 * time.Millisecond
	leastPart  = 20
)
