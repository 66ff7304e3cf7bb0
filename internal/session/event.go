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

// ServerTime is what is known of the API server's time at one moment. It does not change.
type ServerTime interface {
	// Stamp is the time that a write carries which is made at now.
	Stamp(now time.Time) protocol.Stamp
	// Judge is what expiry is judged by at now. Without a recent word of the server it has no
	// server's time.
	Judge(now time.Time, maxClockSkew time.Duration) protocol.Judge
	// Guess is as Judge, but by hints: by it no hold is ended.
	Guess(now time.Time, maxClockSkew time.Duration) protocol.Judge
	// ToldBounds is an interval in which the server's time lies at now, by what the server told.
	ToldBounds(now time.Time) (lower, upper time.Time, ok bool)
	// Covers reports whether a hold of that stamp, of a write that was sent at sent, lasts for
	// others for as long as for its holder, which counts from sent.
	Covers(stamp protocol.Stamp, sent time.Time) bool
	// Fresh reports whether a write can be stamped at now by bounds that are not old.
	Fresh(now time.Time) bool
}

// EventKind is what has happened.
type EventKind uint8

// The events. What they carry stands in brackets.
const (
	Tick      EventKind = iota // time has passed
	Arrive                     // a caller wants the lock [Caller, Want]
	GiveUp                     // a caller does not wait any more [Caller]
	Checked                    // a caller can, or cannot, use the state that it was shown [Caller, Err; Change if it applies one]
	Retract                    // a caller wants to make another change than it has answered [Caller, Op]
	Update                     // a holder saves or renews [Caller, Op, Change]
	KeepAlive                  // a holder wants its hold renewed until it ends [Caller]
	Release                    // a holder releases [Caller, Op, Change; Ending if it has done so before]
	Abandon                    // a holder's call does not wait any more [Op]
	Answer                     // a request was answered, or was not [Answered]
	Shown                      // a watch has shown a version of the lock [Record]
	Missed                     // something may have happened that no watch shows
	Vanished                   // a watch does not show a hold of this client any more, as it was [Record]
	WatchLost                  // no watch can be opened [Err]
	Close                      // the client is being closed
	End                        // a client that is being closed does not wait any more for what was begun
)

// Event is something that has happened. Now and Server are of each.
type Event struct {
	Kind EventKind
	// Now is the client's own time, with a monotonic reading.
	Now    time.Time
	Server ServerTime
	// Number is another for each event of the client. Lock IDs are made of it.
	Number uint64
	// Random is in [0, 1). What clients do at the same time is spread by it.
	Random float64

	Caller   int // unique, greater than 0
	Op       int // unique, greater than 0
	Want     Want
	Change   protocol.Change
	Ending   *Ending
	Answered Answered
	Record   protocol.Record
	Err      error
}

// Want is what a caller wants.
type Want struct {
	Duration time.Duration
	MinHold  time.Duration // for how long, from the begin of the hold, no client has the lock after a release
	Try      bool          // not to wait for the lock
	Remove   bool          // to delete the lock rather than have it
	Apply    bool          // to change the state, as it is when the caller has the lock, and to release it at once
	Until    time.Time     // when the caller gives up; zero: never
}

// Answered is how a request ended.
type Answered struct {
	Reply

	Request int
	// Record is what a read has shown, or a write that was committed has left.
	Record protocol.Record
	// Err is for the caller: it says what a person can do.
	Err error
	// QueueFull is set if an entry was refused because the queue is full.
	QueueFull bool
	// HolderDoubts is what Doubted is for a holder, which has more to lose than time.
	HolderDoubts bool
}

// EffectKind is what shall be done.
type EffectKind uint8

// The effects. What they carry stands in brackets.
const (
	Send    EffectKind = iota // send a request [Request]
	Cancel                    // the answer of that request is not needed any more: do not wait for it [Request]
	Check                     // ask the caller whether it can use the state, or what it makes of it [Caller, Value]
	Grant                     // the caller has the lock [Caller, Hold, Value, Record, Granted]
	Extend                    // the caller's hold lasts longer [Caller, Deadline]
	Lose                      // the caller's hold has ended [Caller]
	Fail                      // the caller does not get the lock [Caller, Failure]
	Applied                   // the caller has had the lock for its change, and has it no more [Caller, Result]
	Done                      // a holder's call has ended [Op, Result]
	Believe                   // a denial was doubted for long enough [Err]
)

// Effect is something that shall be done, once.
type Effect struct {
	Kind     EffectKind
	Request  *Request
	Caller   int
	Op       int
	Hold     *Hold
	Value    *string
	Record   *protocol.Record
	Granted  bool // another client, or the reaper, has granted it the lock
	Deadline time.Time
	Failure  *Failure
	Result   *Result
	Err      error
}

// RequestKind is which request.
type RequestKind uint8

// The requests.
const (
	Read    RequestKind = iota + 1
	Write               // To, where nothing is or From was
	Amend               // To, in place of From: of a hold, whatever else has changed
	Enqueue             // Entry, at the end of the queue
	Dequeue             // the entry at Place
	Delete              // the object
	Ask                 // for the server's time
)

// Request is one request to the API server. There is at most one under way for a lock.
type Request struct {
	ID      int
	Kind    RequestKind
	From    protocol.Record // the lock as it was last seen
	To      protocol.Record
	Entry   string
	Place   int
	Exact   bool          // only if the object has not changed
	Timeout time.Duration // it is given up then
	// Closing is set if the request ends well what was begun, and goes on for a time after Close.
	Closing bool
	Sent    time.Time

	job     job
	caller  int       // whose acquisition or release it is for; 0 for another job
	upper   time.Time // the upper bound of the server's time, told, when it was sent
	cached  bool      // From was from the cache
	applies bool      // it begins a hold and ends it
}

// Applies reports whether the request begins a hold and ends it.
func (r *Request) Applies() bool { return r.applies }

// Failure is why a caller does not get the lock.
type Failure struct {
	// Removed is set if what the caller wanted has been done: the lock was deleted.
	Removed bool
	// Refused is set for a caller that does not wait for the lock.
	Refused bool
	// GaveUp is set for a caller that has done so.
	GaveUp bool
	// OutcomeUnknown is set if a write was sent that may take, or delete, the lock yet.
	OutcomeUnknown bool
	// TooLate is set if the lease ended before the answer came.
	TooLate bool
	// Err is the answer that waiting would not mend.
	Err error
	// Last is the last answer of the API server, if that was no success.
	Last error
	// Behind is set while another caller of this client has, or competes for, the lock; Ahead is
	// how many came first.
	Behind bool
	Ahead  int
	// Record is the lock as it was last seen; LockID is that of the caller's claim, and
	// Place its place in the queue, from 1, and 0 if it is not in it.
	Record protocol.Record
	LockID string
	Place  int
	// Removing is set if the lock's object is being deleted as the caller wants it.
	Removing bool
}

// ResultKind is how a holder's call has ended.
type ResultKind uint8

// The results.
const (
	OK       ResultKind = iota
	Lost                // the hold had ended before
	NotHeld             // the holder itself has ended the hold
	Failed              // Err
	OthersIn            // others have had the lock since
	Deleted             // the object was deleted, and may have had what was to be written
)

// Result is how a holder's call has ended.
type Result struct {
	Kind ResultKind
	// OutcomeUnknown is set if it is not known what became of a request.
	OutcomeUnknown bool
	// Terminating is the lock, if it ended because its object is being deleted.
	Terminating *protocol.Record
	Err         error
	Last        error // the last answer of the API server, if that was no success
	// Ending is set if it may be known later what became of a release: the call may be made
	// again with it.
	Ending *Ending
	// Altered is set if Err says that the API server has stored something else.
	Altered bool
	// Took is how long a save or a renewal took.
	Took time.Duration
}

// Refused reports whether nothing was written, and why is known.
func (r *Result) Refused() bool {
	return r.Kind == Failed && !r.OutcomeUnknown && r.Ending == nil && !r.Altered
}

// Watch is what a session wants to be shown.
type Watch uint8

// The watches.
const (
	WatchNone Watch = iota
	WatchOwn        // the locks that this client holds
	WatchLock       // each version of the lock
)
