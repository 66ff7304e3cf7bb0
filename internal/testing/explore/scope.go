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

package explore

import "time"

// Scope bounds an exploration: it has the clients' calls, the faults and the initial state.
type Scope struct {
	Name string
	// Calls has the calls of each client, in the order in which the client makes them.
	Calls [][]Call
	// Local is set if a call may begin before the call before it has ended.
	Local bool
	// Faults is the largest number of faults. Their kinds are in Kinds.
	Faults int
	Kinds  Fault
	Reaper bool
	Time   TimeMode
	// Created is set if the object exists at the beginning.
	Created   bool
	Finalizer bool // whether the object has a finalizer
	Close     bool // whether the first client may be closed
	// Lingers is set if the watch of a client's own locks is never closed: another lock may need it.
	Lingers bool
	// From is the path to the state from which the scope is explored, as lines of a transcript.
	From  []string
	Tick  time.Duration
	Lease time.Duration
	// Fair is the largest number of ticks until all calls have ended, without further faults.
	Fair int
	most int // states that are explored
}

// Call describes what one caller does.
type Call struct {
	Try, Remove, KeepAlive, MayGiveUp bool
	Applies                           bool // a change, and nothing else
	MayAbandon                        bool // a save or a release that takes long
	Saves, Renews                     int  // at most
	MinHold                           int  // in ticks
}

// Fault is a set of kinds of faults.
type Fault uint32

// The kinds of faults.
const (
	LostBefore   Fault = 1 << iota // a request is lost, and its client learns at once that no answer comes
	LostAfter                      // the answer to a request is lost
	Slow                           // a message takes any time; a request may arrive after its timeout, too
	Twice                          // a write arrives a second time, at any time
	Crash                          // a client crashes
	Pause                          // a client is paused for any time
	Cut                            // a watch misses all changes for any time
	Lag                            // a watch shows changes late, by any time
	Deny                           // a request is denied, although the client has had access
	Reject                         // a request is refused permanently
	Busy                           // a request is refused, and may be repeated
	FreeByHand                     // a user removes the holder
	EmptyByHand                    // a user empties the queue
	DeleteByHand                   // a user deletes the object
	Restore                        // the server goes on with an older version of the object
	Unwatch                        // no watch can be opened

	Network = LostBefore | LostAfter | Slow | Twice
	Refusal = Deny | Reject | Busy
	ByHand  = FreeByHand | EmptyByHand | DeleteByHand
)

func (f Fault) has(kind Fault) bool { return f&kind != 0 }
