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

// leave is how far the session has come with what it takes back.
type leave struct {
	effort // which ends with the lease: then the queue goes on without it

	until time.Time // up to when something may be on its way
	// hopeless is a version of the lock that the API server does not let the session change.
	hopeless protocol.Record
}

// present reports whether something of this client is, or may be, in the object which no caller
// needs any more: a claim, a lock that was given to an entry which the client had given up or the
// network has delivered twice, or such an entry.
func (s *Session) present() bool {
	if s.tenure.written() {
		return true
	}
	r := s.view.record
	return s.view.known && !r.SameVersion(s.leave.hopeless) && (s.orphan() || len(r.Waiters) > 0 && s.strayEntry() < len(r.Waiters))
}

// orphan reports whether this client has the lock, and no caller believes that. Late news of the
// last hold are none. A copy of the write that began it may have made the object anew.
func (s *Session) orphan() bool {
	r := s.view.record
	h := r.Holder
	return h != nil && h.Client == s.cfg.Client && (h.LockID != s.ended.lockID || h.Token > s.ended.token || r.UID != s.ended.uid)
}

// beginLeave begins to take back what is, or may be, in the object.
func (s *Session) beginLeave() {
	s.state = Leaving
	s.leave = leave{
		effort: effort{Tries: Tries{Usual: s.usual}, after: s.lastID, end: s.now.Add(max(s.tenure.duration, protocol.Grace) + FirstRequest)},
		until:  s.leave.until,
	}
}

// withdraw takes back what no caller needs any more: it hands a hold over to the next waiter, leaves the
// queue, and until then looks again and again for what may be on its way. It gives up when the lease
// has ended anyway, and when the API server refuses it.
func (s *Session) withdraw() (again bool) {
	l := &s.leave
	if s.stopped || s.due(l.end) {
		s.endLeave(true)
		return true
	}
	if !s.due(l.next) || !s.looked(&l.effort, leaving, 0) {
		return false
	}
	if _, final := s.wasStale(&l.effort); final {
		s.endLeave(true)
		return true
	}
	if !s.due(l.next) {
		return false
	}
	r := s.view.record
	s.planHandOverCheckOf(s.tenure.lockID)
	place := s.strayEntry()
	switch {
	case s.orphan():
		h := r.Holder
		next, err := protocol.Release(r, protocol.Claim{Client: s.cfg.Client, LockID: h.LockID}, h.Token, protocol.Change{}, nil, s.stamp(nil))
		if err != nil {
			s.endLeave(true)
			return true
		}
		s.tenure.withdrawn = s.tenure.withdrawn || h.LockID == s.tenure.lockID
		s.send(&Request{Kind: Amend, From: r, To: next, Timeout: s.leaveTimeout(), job: leaving})
		return false
	case place < len(r.Waiters):
		s.send(&Request{Kind: Dequeue, From: r, Place: place, Timeout: s.leaveTimeout(), job: leaving})
		return false
	case s.now.Before(l.until) && !s.closed:
		l.Pause(s.now, l.end, s.random)
		l.after = s.lastID
		return true
	}
	s.endLeave(false)
	return true
}

func (s *Session) leaveTimeout() time.Duration {
	return s.leave.Limit(max(s.tenure.duration, FirstRequest))
}

// endLeave ends Leaving.
func (s *Session) endLeave(hopeless bool) {
	s.state, s.tenure, s.leave = Idle, tenure{}, leave{}
	if hopeless {
		s.leave.hopeless = version(s.view.record)
	}
}

// leaveAnswered takes in the answer to a request by which the session takes something back.
func (s *Session) leaveAnswered(req *Request, a Answered) {
	f := &s.leave.effort
	if s.state != Leaving { // Another caller has come.
		f = &effort{}
	}
	switch v := s.answered(f, req, a); {
	case s.state != Leaving:
	case v == done:
		s.tenure.closeOutdated(s.view.record)
	case v == refused, v == altered:
		s.endLeave(true)
	}
}

// handOverCheck is planned when the client hands the lock over to another. The new holder may be dead, and the
// waiters behind it do not see the grant: no watch of theirs shows it. This client knows when that was. If the
// lock is as this client left it when the grace is over, it goes to the next waiter.
type handOverCheck struct {
	at    time.Time // when it looks; zero: it does not
	after int       // the last request before it was due; 0 until then
}

// planHandOverCheck plans the check of a hold that this client's write has begun for another.
func (s *Session) planHandOverCheck() {
	h := s.view.record.Holder
	if h == nil || h.Client == s.cfg.Client || s.view.record.Resting() || s.closed || !s.handOverCheck.at.IsZero() {
		return
	}
	s.handOverCheck = handOverCheck{at: s.now.Add(h.Duration)}
}

// planHandOverCheckOf plans the check of the lock if it is as the hold of that lock ID has left it to another: the
// answer of the write that did so may have been lost.
func (s *Session) planHandOverCheckOf(lockID string) {
	if last := s.view.record.LastRelease; last != nil && last.LockID == lockID && last.Reason == protocol.HandedOff {
		s.planHandOverCheck()
	}
}

// checkHandOver hands the lock over to the next waiter if its new holder has not used it. What fails
// is not tried again: waiters have their own reads.
func (s *Session) checkHandOver() {
	o := &s.handOverCheck
	if o.at.IsZero() || !s.due(o.at) {
		return
	}
	if o.after == 0 {
		o.after = s.lastID
	}
	if !s.view.fresh(o.after) {
		s.send(s.read(checkingHandOver, 0))
		return
	}
	s.handOverCheck = handOverCheck{}
	r := s.view.record
	if expired, _ := s.judge().Expired(r, s.view.seen); !expired {
		return
	}
	next, err := protocol.Expire(r, nil, s.stamp(nil))
	if err != nil {
		return
	}
	s.send(&Request{Kind: Amend, From: r, To: next, Timeout: FirstRequest, job: checkingHandOver})
}
