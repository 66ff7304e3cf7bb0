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

// effort is how a session goes on until one thing is done: an acquisition has the lock, a hold is renewed or
// released, or what no caller needs is taken back. What became of a request is decided here, and nowhere else.
type effort struct {
	Tries

	end   time.Time // when it is given up; zero: that is not known
	after int       // the last request whose answer is no look
	stale *stale
}

// stale is a write that was refused because the lock had changed, or in the words for that. A
// look tells which, and whether a copy of this very write was committed.
type stale struct {
	request int
	sent    time.Time
	from    protocol.Record // of that only what tells versions apart
	cached  bool
	took    time.Duration
	refusal error
}

// verdict is what an answer means.
type verdict uint8

const (
	again   verdict = iota // it is not done, and is tried again when that is due
	done                   // it is done, or the read has shown the lock
	altered                // it is done, but something else is stored
	refused                // it is not done, and would be refused again
)

// answered takes in the answer to a request, lets the next one wait, and says when a look is necessary.
func (s *Session) answered(f *effort, req *Request, a Answered) verdict {
	reply := a.Reply
	switch req.job {
	case renewing, releasing:
		reply.Doubted = a.HolderDoubts
	case leaving:
		reply.Doubted = true // Whatever was believed before.
	case contending, suspecting, checkingHandOver:
	}
	take := f.Take
	if req.Kind == Read {
		take = f.TakeRead
	}
	outcome, believed := take(reply, req.Sent, s.now)
	if believed {
		s.emit(Effect{Kind: Believe, Err: reply.Err})
	}
	switch outcome {
	case protocol.Committed:
		return done
	case protocol.Altered:
		return altered
	case protocol.Rejected:
		s.closeAttempt(req.ID)
		return refused
	case protocol.Busy, protocol.Denied:
		s.closeAttempt(req.ID)
		f.Pause(s.now, f.end, s.random)
	case protocol.Unknown:
		f.Pause(s.now, f.end, s.random)
		f.after = s.lastID
	case protocol.Stale:
		f.Race(s.now, f.end, s.random)
		f.after = s.lastID
		f.stale = &stale{req.ID, req.Sent, version(req.From), req.cached, s.now.Sub(req.Sent), a.Err}
	}
	return again
}

// looked reports whether the lock is known as it was after all that made a look necessary. If not, it
// reads it as soon as that is due.
func (s *Session) looked(f *effort, why job, caller int) bool {
	if s.view.known && s.view.fresh(f.after) {
		return true
	}
	if s.due(f.next) {
		s.send(s.read(why, caller))
	}
	return false
}

// read is a read for that job. One for a hold may take its part of what is left of the lease: a renewal may
// wait for it.
func (s *Session) read(why job, caller int) *Request {
	r := &Request{Kind: Read, Timeout: FirstRequest, job: why, caller: caller}
	if why == renewing || why == suspecting {
		r.Timeout = min(max(s.hold.Deadline.Sub(s.now)/readsPerHold, minLease), FirstRequest)
	}
	return r
}

// wasStale goes on after a write that was refused as stale, now that a look has shown the lock: st is that
// write, if there is one, and final is set if the lock was as it assumes, and it would be refused again.
func (s *Session) wasStale(f *effort) (st *stale, final bool) {
	if st, f.stale = f.stale, nil; st == nil || !s.view.record.SameVersion(st.from) {
		return st, false
	}
	if st.from.Exists() { // No copy of it was committed. Where there is no object, one may have been deleted since.
		s.closeAttempt(st.request)
	}
	if f.Refuse(st.sent, s.now) == protocol.Rejected {
		return st, true
	}
	f.Pause(s.now, f.end, s.random)
	return st, false
}

// closeAttempt notes that the attempt of a request cannot be committed any more.
func (s *Session) closeAttempt(request int) {
	s.tenure.closed(request)
	s.next.closed(request)
	for _, e := range s.endings {
		e.tenure.closed(request)
	}
}
