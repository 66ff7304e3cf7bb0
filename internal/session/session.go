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

// Package session decides what a client does next for one lock: a state machine without
// goroutines, clocks, I/O and random numbers of its own. Events go in (a caller arrives, a
// request was answered, a watch shows a version), effects come out (send a request, this
// caller has the lock). What to watch and when to wake up are functions of the state.
//
// A Session has a few states, and in each the same few parts: what is known of the lock (view),
// the callers of this client that want it, in their order, and the tenure of one lock ID with
// every write that was sent under it.
//
//	Idle         no caller wants the lock, and nothing of this client is in its object
//	Contending   the first caller wants the lock: the session reads, takes, queues or waits
//	Expecting    no caller wants the lock, but one is likely to come soon: its place is kept
//	Holding      a caller has the lock
//	Releasing    its hold has ended, and what became of the release is not known yet
//	Leaving      no caller wants the lock, and what is, or may be, in the object is taken back
//
// Three rules hold everywhere. There is at most one request under way for a lock. Of what made a
// look necessary, only the answer to a request that was sent later is a look. And after each event
// all is decided anew from the state: no decision is kept.
package session

import (
	"slices"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// State is what a session does.
type State uint8

// The states.
const (
	Idle State = iota
	Contending
	Expecting
	Holding
	Releasing
	Leaving
)

// String implements fmt.Stringer.
func (s State) String() string {
	return [...]string{"Idle", "Contending", "Expecting", "Holding", "Releasing", "Leaving"}[s]
}

// job is what a request is for.
type job uint8

const (
	contending job = iota + 1
	renewing
	suspecting
	releasing
	leaving
	checkingHandOver
)

// never is later than everything.
var never = time.Unix(1<<40, 0)

// Config is what does not change in the life of a session.
type Config struct {
	Object       string // the name of the lock's object
	Key          string
	Identity     string
	Pod          protocol.Pod
	Client       string // the client's ID
	ObjectExpiry time.Duration
	MaxClockSkew time.Duration
}

// Session is one client's part in one lock. It is not safe for concurrent use.
type Session struct {
	cfg *Config

	// Of the event under way.
	now    time.Time
	server ServerTime
	number uint64
	ids    int
	random float64
	out    []Effect
	wake   time.Time
	usual  time.Duration // how long the last write took that was committed

	view          view
	callers       []caller // first come, first served; without the one that has the lock
	returnPattern returnPattern
	tenure        tenure
	next          tenure // of the next caller, to whom the release under way gives the lock or a place
	state         State
	hold          Hold
	request       *Request
	lastID        int // of requests
	closed        bool
	stopped       bool // nothing is sent any more

	acquisition  acquisition
	holdEstimate holdEstimate
	// seenWithout is when the last read was sent that has shown the claim without the lock: if
	// another client granted it the lock, then later. seenWithoutUpper is before when it was by the
	// server's clock; zero: that is not known.
	seenWithout, seenWithoutUpper time.Time
	askFrom                       time.Time // when the server may be asked for its time again

	endings       []*Ending // the releases that are not done yet; while Releasing the first is that of the hold
	leave         leave
	handOverCheck handOverCheck
	ended         ended
}

// ended is the last hold that a caller had.
type ended struct {
	caller   int
	lockID   string
	uid      string
	token    int64
	duration time.Duration
}

func endedOf(h *Hold) ended { return ended{h.Caller, h.LockID, h.UID, h.Token, h.Duration} }

// New returns the session of a client that knows nothing of the lock.
func New(cfg *Config) *Session { return &Session{cfg: cfg, wake: never} }

// Clone returns a copy that shares nothing that changes.
func (s *Session) Clone() *Session {
	c := *s
	c.out = nil
	c.callers = slices.Clone(s.callers)
	c.tenure.attempts = slices.Clone(s.tenure.attempts)
	c.next.attempts = slices.Clone(s.next.attempts)
	c.hold.ops = slices.Clone(s.hold.ops)
	c.endings = make([]*Ending, len(s.endings))
	for i, e := range s.endings {
		c.endings[i] = e.clone()
	}
	return &c
}

// Wake is when the session wants to see a Tick, if nothing happens before.
func (s *Session) Wake() (at time.Time, ok bool) { return s.wake, s.wake.Before(never) }

// Watch is what the session wants to be shown now.
func (s *Session) Watch() Watch {
	switch {
	case s.state != Contending || !s.acquisition.listens:
		return WatchNone
	case s.watchesLock():
		return WatchLock
	}
	return WatchOwn
}

// State is what the session does now.
func (s *Session) State() State { return s.state }

// Callers is how many callers have, or want, the lock.
func (s *Session) Callers() int {
	n := len(s.callers)
	if s.state == Holding || s.state == Releasing {
		n++
	}
	if s.state == Expecting {
		n--
	}
	return n
}

// Busy reports whether the session ends well what was begun: a release, or what it takes back.
func (s *Session) Busy() bool {
	return s.state == Leaving || s.state == Expecting || len(s.endings) > 0
}

// Quiet reports whether the session would miss nothing but what is cached if it were forgotten.
func (s *Session) Quiet() bool {
	return s.state == Idle && s.request == nil && !s.Busy() && len(s.callers) == 0 && s.handOverCheck.at.IsZero()
}

// Bytes is how much state the session remembers.
func (s *Session) Bytes() int {
	if s.view.record.Value == nil {
		return 0
	}
	return len(*s.view.record.Value)
}

// Seen is since when the lock has been seen as it is.
func (s *Session) Seen() protocol.Observation { return s.view.seen }
