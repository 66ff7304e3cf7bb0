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
)

// Never is when an operation returned that did not.
const Never = int64(math.MaxInt64)

// Operation is one call of the library.
type Operation struct {
	Entry  // as it returned; if it did not, as it was called
	Called int64
	// Returned is Never for an operation whose process ended first.
	Returned int64
	// Written is what the call asked to be written.
	Written string
}

// Lock names the lock that the operation is about.
func (o Operation) Lock() Lock { return Lock{o.Kind, o.Key} }

// Lock is one lock of a run.
type Lock struct {
	Kind string `json:"kind"`
	Key  string `json:"key"`
}

// Hold is an acquisition that succeeded, and what came of it.
type Hold struct {
	Operation // the acquisition
	Saves     []Operation
	// Release is nil if the hold was not released.
	Release *Operation
	// Until is the last deadline that the hold is known to have believed in.
	Until int64
}

// End is when the holder stopped believing that it has the lock: it called Release, or
// its deadline passed.
func (h *Hold) End() int64 {
	if h.Release != nil {
		return min(h.Until, h.Release.Called)
	}
	return h.Until
}

// Account is everything that the clients of a run have noted.
type Account struct {
	Operations []Operation // by when they were called
	Holds      []*Hold     // by when they were acquired
	Late       []Entry
	Exits      map[string]Entry // by process
	Processes  int
}

// Assemble pairs calls with their returns, and holds with what they did.
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
