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

// Package checks compares the answers that the clients of a run got with the versions in etcd.
package checks

import (
	"fmt"
	"time"

	"github.com/kubelock/kubelock/test/chaos/external"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// Run is a finished run.
type Run struct {
	*history.Account
	// Versions are all versions of each lock, in order.
	Versions map[history.Lock][]*history.Version
	// ManualEdits are the changes that were made to locks by kubectl.
	ManualEdits []ManualEdit
	// Calm are the times without faults and without effects of earlier faults.
	Calm []Span
	// Faults are the faults that may have affected clients. Refusals are the requests for locks that
	// were refused.
	Faults   []Fault
	Refusals []history.Refusal

	Fenced, Unfenced map[string]external.Count
	Accesses         []external.Access
	// Ended is when the last fault had ended.
	Ended int64
}

// Span is a period of time.
type Span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// ManualEdit is a deletion or an edit by kubectl: of one lock, of all locks of a kind, or of all
// locks.
type ManualEdit struct {
	Span
	What string `json:"what"`
	Kind string `json:"kind"` // empty: every kind
	Key  string `json:"key"`  // empty: every lock
}

// late is how long the recorder may take to see a commit while members of etcd are killed.
const late = int64(5 * time.Second)

// mayBeManual reports whether a manual edit may have made a version.
func (r *Run) mayBeManual(v *history.Version) bool {
	_, ok := r.manualEditFrom(v)
	return ok
}

// manualEditFrom returns when the manual edit began that may have made a version. ok is false if
// there is none.
func (r *Run) manualEditFrom(v *history.Version) (from int64, ok bool) {
	for _, m := range r.ManualEdits {
		if m.covers(v.Lock) && v.Seen >= m.From && v.Seen <= m.To+late && (!ok || m.From < from) {
			from, ok = m.From, true
		}
	}
	return from, ok
}

// covers reports whether the edit may have changed that lock.
func (m ManualEdit) covers(lock history.Lock) bool {
	return (m.Kind == "" || m.Kind == lock.Kind) && (m.Key == "" || m.Key == lock.Key)
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
	// Of returns the violations, and how many cases were checked.
	Of func(*Run) (violations []Violation, looked int)
}

// All has all checks but the one for linearizability.
var All = []Check{
	{"no two holds of a lock overlap", overlaps},
	{"each grant is in the log, and follows an end of the hold before it", grants},
	{"fencing tokens strictly increase", tokens},
	{"the state changes only by the holder", states},
	{"a hold or change reads the state that the last write before it left", reads},
	{"each acknowledged write is in the log once, and no refused one", writes},
	{"the fenced store accepts no older token", fenced},
	{"no hold's context outlives its lease", losses},
	{"each waiter gets its lock when the faults have stopped", starvation},
	{"hand-overs go to the head of the queue", order},
	{"a grant to a live waiter is used in calm times", wakeups},
	{"a client that is granted a lock notices by its watch", notices},
	{"no held lock is collected", collections},
	{"no holder, waiter or goroutine is left", leftovers},
	{"in an object that is being deleted, holds only end", terminating},
	{"a refused request is repeated with pauses", paces},
	{"no call fails by a refusal that ends by itself within 15 seconds", endures},
	{"a hold that is reported lost is lost", lost},
	{"a long lease outlasts Retry-After and slow writes", outlasts},
}

func seconds(ns int64) string { return time.Duration(ns).Round(time.Millisecond).String() }
