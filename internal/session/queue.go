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
// joined meanwhile there is a crowd: the client tries again to join the version that it has seen, and
// then waits for longer. So the work that a crowd causes does not grow faster
// than the crowd.

// joining is how a caller gets into the queue.
type joining struct {
	refused bool          // the last attempt was, because others were faster
	took    time.Duration // to refuse it
	looks   int           // how often it has let others go first
	moved   bool          // the lock has changed hands meanwhile, or since the attempt was built
	looked  time.Duration // how long the last read took
	others  int           // how many have joined between the last two
	most    time.Duration // over how long it was spread last
	from    time.Time     // when the caller goes on
	spread  bool          // it has come back to a queue that it remembered, and waited for its share
}

// late notes that a write was refused, and how long that took.
func (j *joining) late(took time.Duration) { j.refused, j.took = true, took }

// look notes a read that took so long, and which clients have come meanwhile.
func (j *joining) look(took time.Duration, before, after protocol.Record) {
	j.moved = after.UID != before.UID || after.Transitions != before.Transitions
	if j.looks > 0 {
		j.looked, j.others = took, after.Newcomers(before)
	}
}

// letOthers returns for how long at most the caller lets others go first.
func (j *joining) letOthers() time.Duration {
	j.refused = false
	j.looks++
	j.most = min(max(2*j.most, spreadPerAnswer*max(j.took, j.looked)), maxSpread)
	return j.most
}

// exact reports whether the next attempt shall be of the version that is known, and no other.
func (j *joining) exact() bool {
	inCrowd := j.looked >= crowded && j.others >= crowd
	return j.looks == 0 || inCrowd && j.looks < maxLooks
}

// outrun reports whether the caller should queue for a lock that is available: others have
// taken and released it when this one would take it, or while it let others go first, and would be
// faster again.
func (s *Session) outrun(c *caller, place int) bool {
	j, n := &s.contest.join, len(s.view.record.Waiters)
	raced := j.moved && (j.refused || j.looks > 0)
	return raced && !c.want.Try && s.view.record.Exists() && place == n && place < protocol.MaxWaiters
}

// enqueue puts the claim at the end of the queue.
func (s *Session) enqueue() (again bool) {
	j, r := &s.contest.join, s.view.record
	spread := func(most time.Duration) { j.from = s.now.Add(time.Duration(s.random * float64(most))) }
	switch {
	case s.contest.recalled && !j.spread: // It does not even know the version. As a holder that comes back it is one at a time.
		j.spread = true
		spread(time.Duration(len(r.Waiters)) * spreadPerWaiter)
	case j.refused:
		most := j.letOthers()
		if r.Holder == nil && len(r.Waiters) == 0 {
			most = min(most, freeSpread)
		}
		spread(most)
		s.contest.after = s.lastID
		s.contest.next = later(s.contest.next, j.from)
		return true
	}
	if !s.due(j.from) || !s.ready() {
		return false
	}
	s.contest.listens = true
	s.sendAttempt(&s.tenure, &Request{
		Kind: Enqueue, From: r, Entry: s.claim(&s.tenure).Waiter().String(), Exact: !s.contest.recalled && j.exact(),
		Timeout: s.contest.Limit(max(s.tenure.duration, time.Second)), job: contending, caller: s.contest.caller,
		recalled: s.contest.recalled,
	}, attempt{})
	return false
}

// wait waits at that place of the queue, for a lock that cannot be taken before at.
func (s *Session) wait(place int, at time.Time) (again bool) {
	held, ahead := s.view.record.Holder != nil, s.view.record.Ahead(place)
	switch first := &s.contest.firstSince; {
	case ahead > 0 || !held:
		*first = time.Time{}
	case first.IsZero():
		*first = s.now
	}
	if first := s.contest.firstSince; !first.IsZero() {
		s.due(first.Add(lookout))
	}
	return s.readAt(earlier(earlier(at, s.patience()), s.refresh(ahead)))
}

// watchesLock reports whether the caller watches the lock itself, and not what this client
// holds. That would not show it what a holder that is no kubelock client does, nor anything in
// an object that is being deleted; nor that the holder renews its lease: the first in the queue
// would have no start to count the lease of a holder from that has died since.
func (s *Session) watchesLock() bool {
	r, first := s.view.record, s.contest.firstSince
	return r.Terminating || r.Holder != nil && r.Holder.Foreign() || !first.IsZero() && !s.now.Before(first.Add(lookout))
}

// patience is until when a waiter relies on being told: for about one lease, and no longer than a
// minute. The watch shows it what it is given, but not that the lock was deleted or freed by
// hand, nor what came and went while the watch could not be read.
func (s *Session) patience() time.Time {
	lease := protocol.Grace
	if h := s.view.record.Holder; h != nil {
		lease = max(h.Duration, time.Second)
	}
	if lease <= minute {
		return s.view.at.Add(lease)
	}
	if s.contest.firstLook.IsZero() { // Those that come at once shall not look at once.
		s.contest.firstLook = s.now.Add(minute - time.Duration(s.random*float64(minute/4)))
	}
	next := s.view.at.Add(minute)
	if s.now.Before(s.contest.firstLook) {
		return earlier(next, s.contest.firstLook)
	}
	return next
}

// refresh is when the claim looks how the lock stands, so that what it is given can be used at once.
func (s *Session) refresh(ahead int) time.Time {
	if s.tenure.duration < protocol.Grace { // Waiters for short holds would read all the time.
		return never
	}
	return s.pace.reread(ahead, s.bound(), protocol.Grace/2-grantMargin, s.view.at)
}

// pace is how fast a lock changes hands, as far as looks have shown.
type pace struct {
	since       time.Time
	uid         string
	transitions int64
	known       bool
	each        time.Duration // from one hold to the next; 0 if nothing has changed
}

// see takes in how the lock stands now.
func (p *pace) see(r protocol.Record, now time.Time) {
	span, holds := now.Sub(p.since), r.Transitions-p.transitions
	same := r.UID == p.uid && !p.since.IsZero()
	if same && span < minPaceSpan {
		return
	}
	p.known, p.each = same, 0
	if same && holds > 0 {
		p.each = span / time.Duration(holds)
	}
	p.since, p.uid, p.transitions = now, r.UID, r.Transitions
}

// reread is when a read pays, at the earliest, that bounds the age of what a waiter behind so many
// others may be given. A hold that may be older than age has to be renewed before it can be
// used, which costs a write more, and the read costs no other client anything. from is the bound
// that there is, and at is when the lock was last seen.
func (p *pace) reread(ahead int, from time.Time, age time.Duration, at time.Time) time.Time {
	next := from.Add(age)
	switch {
	case p.known && p.each == 0: // When cannot be known. What is given then may be renewed.
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
