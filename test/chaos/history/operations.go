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

package history

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// Never stands for the time at which an operation returned that did not return.
const Never = int64(math.MaxInt64)

// Operation is one call of the library.
type Operation struct {
	Entry  // the entry of its return, or of its call if it did not return
	Called int64
	// Returned is Never for an operation whose process ended first.
	Returned int64
	// Written is the write that the call requested.
	Written string
}

// Lock returns the lock that the operation is about.
func (o Operation) Lock() Lock { return Lock{o.Kind, o.Key} }

// Lock is one lock of a run.
type Lock struct {
	Kind string `json:"kind"`
	Key  string `json:"key"`
}

// Long reports whether clients hold the lock for long, with a lease of LongLease.
func (l Lock) Long() bool { return l.Durations() == "long" }

// Durations returns which of a process's clients uses the lock: "long" for long leases, "passing" for
// a short objectExpiry, and "" for the plain one.
func (l Lock) Durations() string {
	for _, name := range []string{"long", "passing"} {
		if strings.HasPrefix(l.Key, name) {
			return name
		}
	}
	return ""
}

// LongLease is the lease of locks that clients hold for long.
const LongLease = 30 * time.Second

// Hold is a successful acquisition, with the later operations of its hold.
type Hold struct {
	Operation // the acquisition
	Saves     []Operation
	// Release is nil if the hold was not released.
	Release *Operation
	// Until is the last deadline of the hold that its client has recorded.
	Until int64
}

// End returns when the holder stopped using the lock: when it called Release, or when its deadline
// passed.
func (h *Hold) End() int64 {
	if h.Release != nil {
		return min(h.Until, h.Release.Called)
	}
	return h.Until
}

// Account has everything that the clients of a run have recorded.
type Account struct {
	Operations []Operation // in the order of their calls
	Holds      []*Hold     // in the order of their acquisitions
	Late       []Entry
	Exits      map[string]Entry // by process
	Processes  int
}

// Assemble pairs calls with their returns, and holds with their operations.
func Assemble(journals [][]Entry) (*Account, error) {
	r := &Account{Exits: map[string]Entry{}, Processes: len(journals)}
	holds := map[string]*Hold{}
	for _, entries := range journals {
		open := map[string]Entry{}
		for _, e := range entries {
			switch e.Is {
			case Call:
				open[e.ID] = e
			case Return:
				call, ok := open[e.ID]
				if !ok {
					return nil, fmt.Errorf("%s returned and was not called", e.ID)
				}
				delete(open, e.ID)
				r.add(holds, Operation{Entry: e, Called: call.At, Returned: e.At, Written: call.Write})
			case Alive:
				if h := holds[e.Hold]; h != nil {
					h.Until = max(h.Until, e.Deadline)
				}
			case Late:
				r.Late = append(r.Late, e)
			case Exit:
				r.Exits[e.Process] = e
			}
		}
		for _, call := range open {
			call.Outcome = Cut
			r.add(holds, Operation{Entry: call, Called: call.At, Returned: Never, Written: call.Write})
		}
	}
	slices.SortFunc(r.Operations, func(a, b Operation) int { return cmp.Compare(a.Called, b.Called) })
	slices.SortFunc(r.Holds, func(a, b *Hold) int { return cmp.Compare(a.Returned, b.Returned) })
	return r, nil
}

func (r *Account) add(holds map[string]*Hold, o Operation) {
	r.Operations = append(r.Operations, o)
	switch o.Op {
	case Acquire:
		if o.Outcome == OK {
			h := &Hold{Operation: o, Until: o.Deadline}
			holds[o.ID] = h
			r.Holds = append(r.Holds, h)
		}
	case Save:
		if h := holds[o.Hold]; h != nil {
			h.Saves = append(h.Saves, o)
			h.Until = max(h.Until, o.Deadline)
		}
	case Release:
		if h := holds[o.Hold]; h != nil && (h.Release == nil || o.Called < h.Release.Called) {
			h.Release = &o
		}
	}
}
