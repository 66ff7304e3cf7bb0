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

// Package checks compares the answers that the clients of a run got with what etcd has.
package checks

import (
	"fmt"
	"time"

	"github.com/kubelock/kubelock/hack/chaos/external"
	"github.com/kubelock/kubelock/hack/chaos/history"
)

// Run is a finished run.
type Run struct {
	*history.Account
	// Versions are all versions of each lock, in their order.
	Versions map[history.Lock][]*history.Version
	// Hands are what was done to locks by kubectl.
	Hands []Hand
	// Calm are the times, apart from their first moments, when there was no fault.
	Calm []Span

	Fenced, Unfenced map[string]external.Count
	Accesses         []external.Access
	// Ended is when the last fault had ended, and everything was asked to settle.
	Ended int64
}

// Span is a time.
type Span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// Hand is a change that was made by hand: a deletion or an edit of one lock, or of all
// locks of a kind, or of all locks.
type Hand struct {
	Span
	What string `json:"what"`
	Kind string `json:"kind"` // empty: every kind
	Key  string `json:"key"`  // empty: every lock
}

// late is how long after a commit the recorder may hear of it, while members are killed.
const late = int64(5 * time.Second)

// byHand reports whether a version may come from a manual edit.
func (r *Run) byHand(v *history.Version) bool {
	_, ok := r.handFrom(v)
	return ok
}

// handFrom is when the hand began that may have made a version.
func (r *Run) handFrom(v *history.Version) (from int64, ok bool) {
	for _, h := range r.Hands {
		if h.on(v.Lock) && v.Seen >= h.From && v.Seen <= h.To+late && (!ok || h.From < from) {
			from, ok = h.From, true
		}
	}
	return from, ok
}

// on reports whether it was on that lock.
func (h Hand) on(lock history.Lock) bool {
	return (h.Kind == "" || h.Kind == lock.Kind) && (h.Key == "" || h.Key == lock.Key)
}

// Violation is a promise that was broken.
type Violation struct {
	Check string
	Lock  history.Lock
	Text  string
}

func (v Violation) String() string {
	return fmt.Sprintf("%s: %s %s: %s", v.Check, v.Lock.Kind, v.Lock.Key, v.Text)
}

// Check is one promise.
type Check struct {
	Name string
	// Of returns what broke it, and how many times it was looked at.
	Of func(*Run) (violations []Violation, looked int)
}

// All are all checks but the one for linearizability.
var All = []Check{
	{"no two holds of a lock overlap", overlaps},
	{"each grant is in the log, and follows an end of the hold before it", grants},
	{"fencing tokens strictly increase", tokens},
	{"the state changes only by the holder", states},
	{"what a hold reads is what the last write before it left", reads},
	{"each acknowledged write is there once, no other that was refused", writes},
	{"the fenced store accepts no older token", fenced},
	{"a loss is told no later than the lease ends", losses},
	{"nobody waits in vain when the faults have stopped", starvation},
	{"hand-offs go to the head of the queue", order},
	{"a grant to a live waiter is used in calm times", wakeups},
	{"who is given a lock notices by its watch", notices},
	{"nothing that is held is collected", collections},
	{"nothing is left behind", leftovers},
	{"in an object that is being deleted, holds only end", terminating},
}

func seconds(ns int64) string { return time.Duration(ns).Round(time.Millisecond).String() }
