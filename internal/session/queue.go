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

// How the first caller joins the queue, and how it waits in it.
//
// An entry that is appended whatever has become of the lock is sure to get in. But for
// every write that comes first the API server does its work again: of a hundred clients
// that join at once each causes the work of all that come before it, and the holder's
// hand-over waits among them, for seconds. So at first a client takes the lock or joins only in the
// version that it has seen, which the API server refuses soon: the later, the more do the same. A
// client that was refused waits for a random time, in proportion to that, and looks again
// before it joins whatever version there is, also if the lock is free just then: those that
// take the lock in a loop would be faster again. Where it takes long to look and others have
// joined meanwhile there is a thundering herd: the client tries again to join the version that it has seen, and
// then waits for longer. So the work that a herd causes does not grow faster
// than the herd.

// joinBackOff is how a caller gets into the queue.
type joinBackOff struct {
	refused     bool          // the last attempt was, because others were faster
	refusalTook time.Duration // to refuse it
	backOffs    int           // how often it has backed off
	moved       bool          // the lock has changed hands meanwhile, or since the attempt was built
	readTook    time.Duration // how long the last read took
	newcomers   int           // how many have joined between the last two
	longest     time.Duration // for how long at most it backed off last
	until       time.Time     // when the caller goes on
	jittered    bool          // it has come back to a queue that was cached, and waited for its share
}

// noteRefusal notes that a write was refused, and how long that took.
func (j *joinBackOff) noteRefusal(took time.Duration) { j.refused, j.refusalTook = true, took }

// noteRead notes a read that took so long, and which clients have come meanwhile.
func (j *joinBackOff) noteRead(took time.Duration, before, after protocol.Record) {
	j.moved = after.UID != before.UID || after.Transitions != before.Transitions
	if j.backOffs > 0 {
		j.readTook, j.newcomers = took, after.Newcomers(before)
	}
}

// backOff returns for how long at most the caller waits before it joins.
func (j *joinBackOff) backOff() time.Duration {
	j.refused = false
	j.backOffs++
	j.longest = min(max(2*j.longest, backOffPerAnswer*max(j.refusalTook, j.readTook)), maxBackOff)
	return j.longest
}

// exact reports whether the next attempt shall be of the version that is known, and no other.
func (j *joinBackOff) exact() bool {
	herd := j.readTook >= herdRead && j.newcomers >= herdNewcomers
	return j.backOffs == 0 || herd && j.backOffs < maxBackOffs
}

// lostRace reports whether the caller should queue for a lock that is available: others have
// taken and released it when this one would take it, or while it backed off, and would be
// faster again.
func (s *Session) lostRace(c *caller, place int) bool {
	j, n := &s.acquisition.join, len(s.view.record.Waiters)
	raced := j.moved && (j.refused || j.backOffs > 0)
	return raced && !c.want.Try && s.view.record.Exists() && place == n && place < protocol.MaxWaiters
}

// enqueue puts the claim at the end of the queue.
func (s *Session) enqueue() (again bool) {
	j, r := &s.acquisition.join, s.view.record
	waitUpTo := func(most time.Duration) { j.until = s.now.Add(time.Duration(s.random * float64(most))) }
	switch {
	case s.acquisition.cached && !j.jittered: // It does not even know the version. As a holder that comes back it is one at a time.
		j.jittered = true
		waitUpTo(time.Duration(len(r.Waiters)) * jitterPerWaiter)
	case j.refused:
		most := j.backOff()
		if r.Holder == nil && len(r.Waiters) == 0 {
			most = min(most, maxBackOffIfFree)
		}
		waitUpTo(most)
		s.acquisition.after = s.lastID
		s.acquisition.next = later(s.acquisition.next, j.until)
		return true
	}
	if !s.due(j.until) || !s.ready() {
		return false
	}
	s.acquisition.listens = true
	s.sendAttempt(&s.tenure, &Request{
		Kind: Enqueue, From: r, Entry: s.claim(&s.tenure).Waiter().String(), Exact: !s.acquisition.cached && j.exact(),
		Timeout: s.acquisition.Limit(max(s.tenure.duration, time.Second)), job: contending, caller: s.acquisition.caller,
		cached: s.acquisition.cached,
	}, attempt{})
	return false
}

// wait waits at that place of the queue, for a lock that cannot be taken before at.
func (s *Session) wait(place int, at time.Time) (again bool) {
	held, ahead := s.view.record.Holder != nil, s.view.record.Ahead(place)
	switch first := &s.acquisition.headSince; {
	case ahead > 0 || !held:
		*first = time.Time{}
	case first.IsZero():
		*first = s.now
	}
	if first := s.acquisition.headSince; !first.IsZero() {
		s.due(first.Add(headWatchAfter))
	}
	return s.readAt(earlier(earlier(at, s.rereadAfterLease()), s.rereadBeforeTurn(ahead)))
}

// watchesLock reports whether the caller watches the lock itself, and not what this client
// holds. That would not show it what a holder that is no kubelock client does, nor anything in
// an object that is being deleted; nor that the holder renews its lease: the first in the queue
// would have no start to count the lease of a holder from that has died since.
func (s *Session) watchesLock() bool {
	r, first := s.view.record, s.acquisition.headSince
	return r.Terminating || r.Holder != nil && r.Holder.Foreign() || !first.IsZero() && !s.now.Before(first.Add(headWatchAfter))
}

// rereadAfterLease is until when a waiter relies on being told: for about one lease, and no longer than a
// minute. The watch shows it what it is granted, but not that the lock was deleted or freed by
// hand, nor what came and went while the watch could not be read.
func (s *Session) rereadAfterLease() time.Time {
	lease := protocol.Grace
	if h := s.view.record.Holder; h != nil {
		lease = max(h.Duration, time.Second)
	}
	if lease <= minute {
		return s.view.at.Add(lease)
	}
	if s.acquisition.firstReread.IsZero() { // Those that come at once shall not look at once.
		s.acquisition.firstReread = s.now.Add(minute - time.Duration(s.random*float64(minute/4)))
	}
	next := s.view.at.Add(minute)
	if s.now.Before(s.acquisition.firstReread) {
		return earlier(next, s.acquisition.firstReread)
	}
	return next
}

// rereadBeforeTurn is when the claim reads how the lock stands, so that a grant can be used at once.
func (s *Session) rereadBeforeTurn(ahead int) time.Time {
	if s.tenure.duration < protocol.Grace { // Waiters for short holds would read all the time.
		return never
	}
	return s.holdEstimate.reread(ahead, s.notBefore(), protocol.Grace/2-grantMargin, s.view.at)
}

// holdEstimate is how fast a lock changes hands, as far as looks have shown.
type holdEstimate struct {
	since       time.Time
	uid         string
	transitions int64
	known       bool
	each        time.Duration // from one hold to the next; 0 if nothing has changed
}

// observe takes in how the lock stands now.
func (p *holdEstimate) observe(r protocol.Record, now time.Time) {
	span, holds := now.Sub(p.since), r.Transitions-p.transitions
	same := r.UID == p.uid && !p.since.IsZero()
	if same && span < minEstimateSpan {
		return
	}
	p.known, p.each = same, 0
	if same && holds > 0 {
		p.each = span / time.Duration(holds)
	}
	p.since, p.uid, p.transitions = now, r.UID, r.Transitions
}

// reread is when a read pays, at the earliest, that bounds the age of what a waiter behind so many
// others may be granted. A hold that may be older than age has to be renewed before it can be
// used, which costs a write more, and the read costs no other client anything. from is the bound
// that there is, and at is when the lock was last seen.
func (p *holdEstimate) reread(ahead int, from time.Time, age time.Duration, at time.Time) time.Time {
	next := from.Add(age)
	switch {
	case p.known && p.each == 0: // When cannot be known. What is granted then may be renewed.
		return never
	case p.known:
		if turn := p.since.Add(time.Duration(ahead+1) * p.each); turn.After(next) {
			next = turn.Add(-age / 2)
		}
	}
	return later(next, at.Add(age/4))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
