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

package checks

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/kubelock/kubelock/hack/chaos/history"
)

// register is a lock with a state, as porcupine models it.
type register struct{ holder, write string }

// input is one operation on it.
type input struct {
	op    string // acquire, save, release, end, get, delete, hand-delete, hand-free
	hold  string
	write string
}

// Linear is what porcupine found out.
type Linear struct {
	Locks, Operations int
	Undecided         []history.Lock // within the time that each was given
}

// model is a register with the semantics of a lock: only the holder reads or writes.
var model = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, in, out any) (bool, any) { return follow(state.(register), in.(input), out.(string)) },
	DescribeOperation: func(in, out any) string {
		i := in.(input)
		text := strings.TrimSpace(i.op + " " + i.hold)
		if i.write != "" {
			text += " write " + i.write
		}
		if i.op == history.Acquire || i.op == history.Get {
			text += " → " + out.(string)
		}
		return text
	},
	DescribeState: func(state any) string {
		s := state.(register)
		return fmt.Sprintf("holder %q, state %q", s.holder, s.write)
	},
}

const (
	maybeSave  = "maybe save"
	end        = "end"
	handDelete = "deletion by hand"
	handFree   = "release by hand"
)

func follow(s register, in input, out string) (bool, register) {
	switch in.op {
	case history.Acquire:
		return s.holder == "" && s.write == out, register{in.hold, s.write}
	case history.Save:
		return s.holder == in.hold, register{s.holder, in.write}
	case history.Release:
		if in.write != "" {
			s.write = in.write
		}
		return s.holder == in.hold, register{"", s.write}
	case maybeSave: // Whether it was done is unknown; if it was, it was by the holder.
		if s.holder == in.hold {
			s.write = in.write
		}
		return true, s
	case end: // The deadline has passed, or a release has no answer.
		if s.holder == in.hold {
			s.holder = ""
		}
		return true, s
	case history.Get:
		return s.write == out, s
	case handDelete:
		return true, register{}
	case handFree:
		return true, register{"", s.write}
	}
	panic("unknown operation " + in.op)
}

// Linearizable checks the history of each lock whose object is not collected. Pictures
// of histories that are not linearizable go to folder.
func Linearizable(r *Run, folder string, patience time.Duration) (violations []Violation, found Linear, err error) {
	for lock, operations := range r.linear() {
		found.Locks++
		found.Operations += len(operations)
		result, info := porcupine.CheckOperationsVerbose(model, operations, patience)
		switch result {
		case porcupine.Ok:
		case porcupine.Unknown:
			found.Undecided = append(found.Undecided, lock)
		case porcupine.Illegal:
			path := filepath.Join(folder, fmt.Sprintf("%s-%s.html", lock.Kind, lock.Key))
			if err := porcupine.VisualizePath(model, info, path); err != nil {
				return nil, found, err
			}
			violations = append(violations, Violation{"linearizability", lock, "no order of its operations explains what they returned: " + path})
		}
	}
	return violations, found, nil
}

// linear makes of each lock's operations what porcupine takes.
func (r *Run) linear() map[history.Lock][]porcupine.Operation {
	all := map[history.Lock][]porcupine.Operation{}
	workers := map[string]int{}
	add := func(lock history.Lock, process string, in input, out string, from, to int64) {
		worker, ok := workers[process]
		if !ok {
			worker = len(workers)
			workers[process] = worker
		}
		all[lock] = append(all[lock], porcupine.Operation{ClientId: worker, Input: in, Output: out, Call: from, Return: max(from, to)})
	}
	byLock := map[history.Lock][]*history.Hold{}
	for _, h := range r.Holds {
		if !strings.HasPrefix(h.Key, "passing") {
			byLock[h.Lock()] = append(byLock[h.Lock()], h)
		}
	}
	for lock, holds := range byLock {
		slices.SortFunc(holds, func(a, b *history.Hold) int { return cmp.Compare(a.Called, b.Called) })
		for i, h := range holds {
			// Whatever is not known of this hold was over when a caller had the lock that
			// asked for it later.
			over := history.Never
			for _, next := range holds[i+1:] {
				if next.Called > h.Returned {
					over = min(over, next.Returned)
				}
			}
			ofHold(h, over, func(in input, out string, from, to int64) { add(lock, h.Process, in, out, from, to) })
		}
	}
	for _, o := range r.Operations {
		if o.Op == history.Get && o.Outcome == history.OK {
			add(o.Lock(), o.Process, input{op: history.Get}, o.Read, o.Called, o.Returned)
		}
	}
	r.steps(func(s step) {
		from, ok := r.handFrom(s.after)
		if !ok || !s.existed() || strings.HasPrefix(s.after.Key, "passing") {
			return
		}
		switch {
		case s.after.Deleted:
			add(s.after.Lock, "kubectl", input{op: handDelete}, "", from, s.after.Seen)
		case s.before.Holder != nil && s.after.Holder == nil && sameRelease(s.before, s.after):
			add(s.after.Lock, "kubectl", input{op: handFree}, "", from, s.after.Seen)
		}
	})
	return all
}

// ofHold adds the operations of one hold. What is not known of it was over at over.
func ofHold(h *history.Hold, over int64, add func(in input, out string, from, to int64)) {
	add(input{history.Acquire, h.ID, ""}, h.Read, h.Called, h.Returned)
	for _, s := range h.Saves {
		switch s.Outcome {
		case history.OK:
			add(input{history.Save, h.ID, s.Written}, "", s.Called, s.Returned)
		case history.Unknown, history.Cut, history.Closed:
			add(input{maybeSave, h.ID, s.Written}, "", s.Called, over)
		case history.NotAcquired, history.Lost, history.Failed: // It was not done.
		}
	}
	if h.Release != nil && h.Release.Outcome == history.OK {
		add(input{history.Release, h.ID, h.Release.Written}, "", h.Release.Called, h.Release.Returned)
		return
	}
	if h.Release != nil && h.Release.Written != "" && h.Release.Outcome != history.Lost && h.Release.Outcome != history.Failed {
		add(input{maybeSave, h.ID, h.Release.Written}, "", h.Release.Called, over)
	}
	add(input{end, h.ID, ""}, "", max(h.Called, h.End()), over)
}

// sameRelease reports whether the holder of before went away and left no note of it.
func sameRelease(before, after *history.Version) bool {
	if after.LastRelease == nil || before.LastRelease == nil {
		return after.LastRelease == before.LastRelease
	}
	return after.LastRelease.LockID == before.LastRelease.LockID && after.LastRelease.Token == before.LastRelease.Token
}
