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

	"github.com/kubelock/kubelock/test/chaos/history"
)

// register is the model of a lock with a state.
type register struct{ holder, write string }

// input is one operation on a register.
type input struct {
	op    string // acquire, save, release, end, get, apply, delete, manual delete, manual free
	hold  string
	write string
}

// Linear is the result of porcupine.
type Linear struct {
	Locks, Operations int
	Undecided         []history.Lock // locks whose check took too long
}

// model is a register with the semantics of a lock: only the holder writes.
var model = porcupine.Model{
	Init: func() any { return register{} },
	Step: func(state, in, out any) (bool, any) { return follow(state.(register), in.(input), out.(string)) },
	DescribeOperation: func(in, out any) string {
		i := in.(input)
		text := strings.TrimSpace(i.op + " " + i.hold)
		if i.write != "" {
			text += " write " + i.write
		}
		if i.op == history.Acquire || i.op == history.Get || i.op == history.Apply {
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
	maybeSave    = "maybe save"
	wasApplied   = "apply without an answer"
	end          = "end"
	manualDelete = "deletion by hand"
	manualFree   = "release by hand"
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
	case maybeSave: // Its outcome is unknown. If it was done, its hold had the lock.
		if s.holder == in.hold {
			s.write = in.write
		}
		return true, s
	case end: // The deadline has passed, or a release has no answer.
		if s.holder == in.hold {
			s.holder = ""
		}
		return true, s
	case history.Apply:
		return s.holder == "" && s.write == out, register{"", in.write}
	case wasApplied:
		return s.holder == "", register{"", in.write}
	case history.Get:
		return s.write == out, s
	case manualDelete:
		return true, register{}
	case manualFree:
		return true, register{"", s.write}
	}
	panic("unknown operation " + in.op)
}

// Linearizable checks the history of each lock whose object is not collected. It writes a picture of
// each history that is not linearizable to folder.
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

// linear returns the operations of each lock in porcupine's form.
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
	byLock, applied := map[history.Lock][]*history.Hold{}, map[history.Lock][]history.Operation{}
	for _, h := range r.Holds {
		if !strings.HasPrefix(h.Key, "passing") {
			byLock[h.Lock()] = append(byLock[h.Lock()], h)
		}
	}
	for _, o := range r.applied() {
		if strings.HasPrefix(o.Key, "passing") {
			continue
		}
		if o.Outcome == history.OK {
			applied[o.Lock()] = append(applied[o.Lock()], o)
			add(o.Lock(), o.Process, input{op: history.Apply, write: o.Written}, o.Read, o.Called, o.Returned)
		} else {
			add(o.Lock(), o.Process, input{op: wasApplied, write: o.Written}, "", o.Called, o.Returned)
		}
	}
	for lock, holds := range byLock {
		slices.SortFunc(holds, func(a, b *history.Hold) int { return cmp.Compare(a.Called, b.Called) })
		for i, h := range holds {
			ofHold(h, overAt(h, holds[i+1:], applied[lock]), func(in input, out string, from, to int64) { add(lock, h.Process, in, out, from, to) })
		}
	}
	for _, o := range r.Operations {
		if o.Op == history.Get && o.Outcome == history.OK {
			add(o.Lock(), o.Process, input{op: history.Get}, o.Read, o.Called, o.Returned)
		}
	}
	r.edits(add)
	return all
}

// edits adds the changes that no client has made: manual edits, and collections by the reaper of locks with a
// short objectExpiry.
func (r *Run) edits(add func(lock history.Lock, process string, in input, out string, from, to int64)) {
	r.steps(func(s step) {
		from, ok := r.manualEditFrom(s.after)
		if !ok && s.existed() && s.after.Deleted && s.before.Holder == nil && s.after.Lock.Long() {
			from, ok = s.before.Seen, true // The reaper collected the lock: its release had no answer for longer than its expiry.
		}
		if !ok || !s.existed() || strings.HasPrefix(s.after.Key, "passing") {
			return
		}
		switch {
		case s.after.Deleted:
			add(s.after.Lock, "kubectl", input{op: manualDelete}, "", from, s.after.Seen)
		case s.before.Holder != nil && s.after.Holder == nil && sameRelease(s.before, s.after):
			add(s.after.Lock, "kubectl", input{op: manualFree}, "", from, s.after.Seen)
		}
	})
}

// overAt returns when all operations of a hold were over, also those whose end is unknown: when a
// caller that asked for the lock later had it, or had changed its state.
func overAt(h *history.Hold, others []*history.Hold, applied []history.Operation) int64 {
	over := history.Never
	for _, next := range others {
		if next.Called > h.Returned {
			over = min(over, next.Returned)
		}
	}
	for _, next := range applied {
		if next.Called > h.Returned {
			over = min(over, next.Returned)
		}
	}
	return over
}

// ofHold adds the operations of one hold. Those whose end is unknown were over at over.
func ofHold(h *history.Hold, over int64, add func(in input, out string, from, to int64)) {
	add(input{history.Acquire, h.ID, ""}, h.Read, h.Called, h.Returned)
	for _, s := range h.Saves {
		switch s.Outcome {
		case history.OK:
			add(input{history.Save, h.ID, s.Written}, "", s.Called, s.Returned)
		case history.Unknown, history.Cut, history.Closed:
			add(input{maybeSave, h.ID, s.Written}, "", s.Called, over)
		case history.NotAcquired, history.Lost, history.Failed: // The release was not done.
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

// sameRelease reports whether the hold of before ended without a new LastRelease.
func sameRelease(before, after *history.Version) bool {
	if after.LastRelease == nil || before.LastRelease == nil {
		return after.LastRelease == before.LastRelease
	}
	return after.LastRelease.LockID == before.LastRelease.LockID && after.LastRelease.Token == before.LastRelease.Token
}
