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

// Tries is how one call goes on after requests that did not do what they were sent for: what an
// answer means, for how long to wait before the next request, how long that may take, and
// when to give up. The zero Tries are those of a call that has sent nothing yet.
type Tries struct {
	// Usual is how long the last write took that was committed; 0 if that is not known.
	Usual time.Duration

	next    time.Time     // no request is sent before
	steps   int           // how often the pause has grown
	paused  time.Time     // when the last pause ended
	floor   time.Duration // of pauses that are cut
	slow    int           // how many attempts in a row had no answer in their time
	given   time.Duration // the time that a holder's last attempt had; 0: there was none
	raced   bool          // the object has changed under an attempt
	refused time.Time     // since when all requests were sent that were refused; zero: the last was not
	latest  time.Time     // when the last one was answered
	ofRead  bool          // they were refusals of reads
	last    error         // the last answer that was no success
	asked   time.Duration // how long that has asked for the next request to wait
}

// Reply is what Tries need to know of an answer.
type Reply struct {
	Outcome protocol.Outcome
	// Err is the API server's own answer, if it was no success and not a missing one.
	Err error
	// RetryAfter is how long the answer asks for the next request to wait.
	RetryAfter time.Duration
	// TimedOut is set if no answer came in the time that the request had.
	TimedOut bool
	// Doubted is set if there is a reason to doubt a denial, which may end by itself.
	Doubted bool
}

// Take takes in the answer to a request that was sent at sent, and says what it means for the call. Denied is Busy while the denial
// is doubted, and Rejected then. believed is set when a denial was doubted for long enough.
func (t *Tries) Take(r Reply, sent, now time.Time) (outcome protocol.Outcome, believed bool) {
	t.refusalsOf(false)
	return t.take(r, sent, now)
}

// refusalsOf begins to count anew when it was the other kind of request that was refused before.
func (t *Tries) refusalsOf(read bool) {
	if t.ofRead != read {
		t.ofRead, t.refused = read, time.Time{}
	}
}

func (t *Tries) take(r Reply, sent, now time.Time) (outcome protocol.Outcome, believed bool) {
	t.note(r)
	switch r.Outcome {
	case protocol.Committed, protocol.Altered:
		t.refused = time.Time{}
	case protocol.Denied:
		if !r.Doubted {
			return protocol.Rejected, false
		}
		outcome = t.Refuse(sent, now)
		return outcome, outcome == protocol.Rejected
	case protocol.Unknown, protocol.Stale, protocol.Busy, protocol.Rejected:
	}
	return r.Outcome, false
}

// TakeRead is Take for a read: the answer is Committed, Busy if the read may be tried again, or
// Rejected.
func (t *Tries) TakeRead(r Reply, sent, now time.Time) (outcome protocol.Outcome, believed bool) {
	if r.Outcome == protocol.Committed { // It says nothing of what a write was refused for.
		if t.slow > 0 && t.given > 0 && now.Sub(sent) > t.given/slowRead { // The attempt was not lost: it would have taken longer.
			t.slow = max(t.slow, short)
		}
		if t.ofRead {
			t.refused = time.Time{}
		}
		return protocol.Committed, false
	}
	t.refusalsOf(true)
	switch outcome, believed = t.take(r, sent, now); outcome {
	case protocol.Rejected:
		return outcome, believed
	case protocol.Stale: // Not about an object: that would be no error.
		return t.Refuse(sent, now), false
	case protocol.Unknown, protocol.Busy, protocol.Denied, protocol.Altered, protocol.Committed:
	}
	return protocol.Busy, false
}

// Refuse takes in that a request which was sent at sent was refused, which may end by itself: a denial
// that is doubted, or a write that was refused as stale although the object is as it assumes. Busy stands
// for one that may be sent again, and Rejected for one that would be refused again. An answer that takes
// long to come says nothing of the time since its request was sent.
func (t *Tries) Refuse(sent, now time.Time) protocol.Outcome {
	if t.refused.IsZero() || sent.Sub(t.latest) > Patience { // What was refused so long ago was not tried again.
		t.refused = sent
	}
	t.latest = now
	if sent.Sub(t.refused) < Patience {
		return protocol.Busy
	}
	t.refused = time.Time{}
	return protocol.Rejected
}

func (t *Tries) note(r Reply) {
	switch {
	case r.TimedOut:
		t.slow++
		return
	case r.Outcome == protocol.Committed:
		t.last, t.asked = nil, 0
	case r.Err != nil:
		t.last, t.asked = r.Err, r.RetryAfter
	}
	t.slow = 0
}

// Last is the last answer of the API server, if that was no success.
func (t *Tries) Last() error { return t.last }

// Race lets the read that follows a write which was Stale wait. The first time that is not at
// all. The write that follows has to follow the read at once: beside a program that
// writes the object all the time, what was read before a pause is old after it.
func (t *Tries) Race(now, end time.Time, random float64) {
	if !t.raced {
		t.raced = true
		return
	}
	t.wait(now, end, random, 0)
}

// Pause lets the next request wait: longer each time, or for as long as the API server asks
// for. It is never so long that no further attempts fit before end, if that is not zero.
// random is in [0, 1).
func (t *Tries) Pause(now, end time.Time, random float64) { t.wait(now, end, random, t.asked) }

func (t *Tries) wait(now, end time.Time, random float64, asked time.Duration) {
	if now.Sub(t.paused) > quiet {
		t.steps = 0
	}
	d := min(firstPause<<t.steps, longPause)
	if d < longPause {
		t.steps++
	}
	d += time.Duration(random * float64(d) / 2)
	d = max(d, min(asked, maxPause))
	if !end.IsZero() {
		left := end.Sub(now)
		if t.floor == 0 {
			t.floor = max(left/leastPart, leastPause)
		}
		d = min(d, max(left/fitting, t.floor))
	}
	t.next = now.Add(d)
	t.paused = t.next
}

// Due is when the next request may be sent.
func (t *Tries) Due() time.Time { return t.next }

// Timeout is how long the next attempt of a holder may take whose lease ends after left: its share
// of that, or longer if the API server usually takes longer, and all of it if the API server is slow.
func (t *Tries) Timeout(left time.Duration) time.Duration {
	share := left
	if t.slow < short {
		share = min(left, max(left/time.Duration(shares-t.slow), t.Usual+t.Usual/4))
	}
	t.given = t.Limit(share)
	return t.given
}

// Limit is how long the next request may take, if it need not end before most is over. It is the
// longer, the more have had no answer in their time.
func (t *Tries) Limit(most time.Duration) time.Duration {
	limit := min(max(FirstRequest, 2*t.Usual), MaxRequest)
	for range t.slow {
		if limit *= 2; limit >= MaxRequest {
			limit = MaxRequest
			break
		}
	}
	return max(min(most, limit), leastPause)
}
