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

// view is what is known of the lock, and how sure that is.
type view struct {
	known  bool
	record protocol.Record      // the newest version that is known
	seen   protocol.Observation // since when the lock has been seen as it is
	at     time.Time            // when record was taken in, from wherever it came
	// looked is the last request whose answer has shown the lock. What makes a look necessary
	// notes the last request that was sent before: only a later one's answer counts.
	looked int
	// afterRelease is set while record is what a release of this client has left.
	afterRelease bool
	// random is drawn at each look, for what is spread until the next.
	random float64
}

// fresh reports whether the answer to a request has shown the lock that was sent after the
// request after.
func (v *view) fresh(after int) bool { return v.looked > after }

// outdated reports whether a newer version than r is known.
func (v *view) outdated(r protocol.Record) bool {
	return v.record.Exists() && r.Exists() && protocol.Newer(v.record, r)
}

// learnFromWatch takes in a version of the lock that a watch shows, unless a newer one is known: it may
// be old.
func (s *Session) learnFromWatch(r protocol.Record) {
	if !s.view.outdated(r) {
		s.learn(r)
	}
}

// learnFromAnswer takes in what the answer to a request shows. If all that is known was known when the
// request was sent, the answer counts whatever its version is: the API server's versions go
// back if etcd is restored from a backup.
func (s *Session) learnFromAnswer(req *Request, r protocol.Record) {
	if !req.Sent.Before(s.view.at) || !s.view.outdated(r) {
		s.learn(r)
	}
	s.view.looked = req.ID
	s.holdEstimate.observe(s.view.record, s.now)
}

func (s *Session) learn(r protocol.Record) {
	seen := s.view.seen.Observe(r, s.now)
	if seen != s.view.seen {
		s.handOverCheck = handOverCheck{} // The hold is another, or was renewed: there is no need to look.
	}
	s.view.afterRelease = s.view.afterRelease && r.SameVersion(s.view.record)
	s.view.known, s.view.record, s.view.seen, s.view.at = true, r, seen, s.now
	s.view.random = s.random
}

// judge is what expiry is judged by: as of when the lock was last seen, as nothing is known of
// the time since.
func (s *Session) judge() protocol.Judge { return s.server.Judge(s.view.at, s.cfg.MaxClockSkew) }

// available reports whether the lock is there for the taking at that place in the queue, and
// if not, when to look again. If that is so by a hint of the server's time only, the session
// asks the server.
func (s *Session) available(place int) (available bool, again time.Time) {
	judge, r := s.judge(), s.view.record
	available, wait := judge.Available(r, s.view.seen, place)
	if available {
		return true, time.Time{}
	}
	may, soon := s.server.Guess(s.view.at, s.cfg.MaxClockSkew).Available(r, s.view.seen, place)
	switch {
	case !may:
		wait = min(wait, soon)
	case judge.Compares(protocol.Server): // It has told its time just now, and that is not enough yet.
	case s.now.Before(s.askFrom):
	default:
		s.send(&Request{Kind: Ask, Timeout: FirstRequest, job: contending})
	}
	return false, after(s.view.at, wait)
}

// after is t plus d, which may be without end.
func after(t time.Time, d time.Duration) time.Time {
	return t.Add(min(d, protocol.MaxObjectExpiry))
}

// version is what tells r from other versions.
func version(r protocol.Record) protocol.Record {
	return protocol.Record{UID: r.UID, ResourceVersion: r.ResourceVersion}
}
