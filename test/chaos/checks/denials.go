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
	"slices"
	"strings"
	"time"

	"github.com/kubelock/kubelock/test/chaos/history"
)

// NotNow is the text of refusals that end by themselves after some seconds.
const NotNow = "chaos: not now"

// Fault is a fault that may have affected clients.
type Fault struct {
	Span
	Name   string `json:"name"`
	Client string `json:"client"` // empty: all clients
}

// A long lease must outlast the faults in outlasted. No call may fail by those in shortLived.
var (
	outlasted  = []string{"retry-after", "slow-writes"}
	shortLived = []string{"deny-proxy", "refuse-once", "renew-binding"}
)

// affects reports whether the fault may have affected a process between two times.
func (f Fault) affects(process string, from, to int64) bool {
	return (f.Client == "" || f.Client == clientOf(process)) && f.From <= to && from <= f.To
}

// clientOf returns the client that a process is one run of.
func clientOf(process string) string {
	name, _, _ := strings.Cut(process, ".")
	return name
}

// refusals is how many requests of one client for one lock may be refused within a second, not counting
// the last refusal of a call that fails by it. Six callers that are refused at once, and pause after that,
// came to ten. Requests that were repeated without a pause came to 50 and more on a busy machine.
const refusals = 30

// paces checks that no refused request is repeated without a pause.
func paces(r *Run) (violations []Violation, looked int) {
	for id, n := range r.busiest() {
		if n > refusals {
			violations = append(violations, Violation{"paces", id.lock, fmt.Sprintf("%s was refused %d times within a second", id.process, n)})
		}
	}
	return violations, len(r.Refusals)
}

// Busiest returns the largest number of refusals of one client, for one lock, within a second.
func (r *Run) Busiest() (most int) {
	for _, n := range r.busiest() {
		most = max(most, n)
	}
	return most
}

// refused names a client process and the lock for which it was refused.
type refused struct {
	process string
	lock    history.Lock
}

// busiest returns the largest number of refusals within a second, by process and lock.
func (r *Run) busiest() map[refused]int {
	times, most := map[refused][]int64{}, map[refused]int{}
	for _, f := range r.Refusals {
		id := refused{f.Process, f.Lock}
		times[id] = append(times[id], f.At)
	}
	ended := map[refused][]int64{}
	for _, o := range r.Operations {
		if o.Outcome == history.Failed {
			for _, lock := range []history.Lock{o.Lock(), {Kind: o.Kind}} { // A creation does not name its lock.
				id := refused{clientOf(o.Process), lock}
				ended[id] = append(ended[id], o.Returned)
			}
		}
	}
	for id, all := range times {
		slices.Sort(all)
		first := 0
		for i, at := range all {
			for at-all[first] >= int64(time.Second) {
				first++
			}
			if n := i - first + 1; n > most[id] {
				most[id] = max(most[id], n-within(ended[id], all[first], at+int64(endDelay)))
			}
		}
	}
	return most
}

// endDelay is how long a call may take to end after the refusal by which it fails.
const endDelay = 100 * time.Millisecond

// within returns how many of the times lie between first and last, inclusive.
func within(times []int64, first, last int64) (count int) {
	for _, at := range times {
		if first <= at && at <= last {
			count++
		}
	}
	return count
}

// doubted is how long a call at least repeats a request after refusals that may end by themselves. It
// is a little less than the library's 15 seconds.
const doubted = int64(14 * time.Second)

// endures checks that a call does not fail by a refusal that has lasted for less than doubted.
//
// There are two exceptions. A client that never had access fails at once; access to creations and to
// deletions counts separately. A client that has already accepted a denial fails at once, too. It may
// have accepted one for a call whose caller is gone, but not if it has just written.
func endures(r *Run) (violations []Violation, looked int) {
	type client struct{ process, kind, durations string }
	byClient := map[client][]history.Operation{}
	for _, o := range r.Operations {
		if o.Op == history.Acquire && o.Timeout == 0 || o.Op == history.Get { // TryAcquire and Get do not wait.
			continue
		}
		if slices.ContainsFunc(r.Faults, func(f Fault) bool {
			return slices.Contains(shortLived, f.Name) && f.affects(o.Process, o.Called, o.Returned)
		}) {
			looked++
		}
		id := client{o.Process, o.Kind, o.Lock().Durations()}
		byClient[id] = append(byClient[id], o)
	}
	for _, all := range byClient {
		violations = append(violations, r.denied(all)...)
	}
	return violations, looked
}

// denied returns the calls of one client that failed too early by a refusal. all has the calls of the client.
func (r *Run) denied(all []history.Operation) (violations []Violation) {
	slices.SortFunc(all, func(a, b history.Operation) int { return cmp.Compare(a.Returned, b.Returned) })
	var denied int64
	var accepted, deleted []int64
	created := r.created(all[0])
	reads := false // whether the client has read an object; some calls do not read one
	for _, o := range all {
		switch {
		case o.Outcome == history.OK:
			if o.Op == history.Delete {
				deleted = append(deleted, o.Returned)
			}
			if o.Op != history.Wait {
				accepted = append(accepted, o.Returned)
			} else if o.Read != "" {
				reads = true
			}
			continue
		case o.Outcome != history.Failed || !mayEnd(o.Err), !reads && strings.Contains(o.Err, "cannot get resource"):
			continue
		}
		if strings.Contains(o.Err, "cannot create resource") && within(created, denied+1, o.Called) == 0 ||
			strings.Contains(o.Err, "cannot delete resource") && within(deleted, denied+1, o.Called) < knownAfter {
			continue // The last deletions may all have found no object, and so needed no access.
		}
		had, latest := 0, denied
		for _, at := range accepted {
			if at > denied && at < o.Called {
				had++
				latest = max(latest, at)
			}
		}
		if had >= knownAfter && o.Returned-latest < doubted {
			violations = append(violations, Violation{"endures", o.Lock(), fmt.Sprintf("%s %s ended %s after the last success: %s", o.Op, o.ID, seconds(o.Returned-latest), o.Err)})
		}
		denied = o.Returned
	}
	return violations
}

// created returns when the client of that call has created objects.
func (r *Run) created(of history.Operation) (times []int64) {
	r.steps(func(s step) {
		h := s.after.Holder
		if !s.existed() && h != nil && h.Identity == of.Process && s.after.Kind == of.Kind && s.after.Lock.Durations() == of.Lock().Durations() {
			times = append(times, s.after.Seen)
		}
	})
	return times
}

// knownAfter is how many successful calls a client needs until it has used every verb.
const knownAfter = 10

// mayEnd reports whether an error is a refusal that may end by itself.
func mayEnd(text string) bool {
	for _, over := range []string{
		"context deadline exceeded", "context canceled", // The caller's timeout has passed.
		"no answer from the API server;",  // The time of a release has, and the refusal was only the last answer.
		"no permission to list and watch", // No call tells whether its client has watched a lock before.
	} {
		if strings.Contains(text, over) {
			return false
		}
	}
	return slices.ContainsFunc([]string{
		NotNow, "asked for the client to provide credentials", "could not find the requested resource", `forbidden: User "`,
	}, func(part string) bool { return strings.Contains(text, part) })
}

// lost checks each hold that is reported lost: its deadline must have passed, or the log must show
// another end of it.
func lost(r *Run) (violations []Violation, looked int) {
	holds := map[string]*history.Hold{}
	for _, h := range r.Holds {
		holds[h.ID] = h
	}
	for _, o := range r.Operations {
		h := holds[o.Hold]
		if o.Outcome != history.Lost || h == nil || h.LockID == "" || r.taken(h, o.Returned) {
			continue
		}
		looked++
		if o.Returned < h.Until && !r.over(h, o.Returned) {
			violations = append(violations, Violation{"lost", h.Lock(), fmt.Sprintf("%s reported the hold of %s lost, %s before its deadline, and it was not: %s", o.Op, o.ID, seconds(h.Until-o.Returned), o.Err)})
		}
	}
	return violations, looked
}

// taken reports whether a manual edit may have ended a hold before at.
func (r *Run) taken(h *history.Hold, at int64) bool {
	return slices.ContainsFunc(r.ManualEdits, func(edit ManualEdit) bool {
		return edit.covers(h.Lock()) && edit.To+late >= h.Called && edit.From <= at
	})
}

// over reports whether the log shows an end of the hold before at.
func (r *Run) over(h *history.Hold, at int64) bool {
	held := false
	for _, v := range r.Versions[h.Lock()] {
		is := !v.Deleted && v.Holder != nil && v.Holder.LockID == h.LockID && v.Holder.Token == h.Token
		if held && !is {
			return v.Seen <= at+late
		}
		held = is
	}
	return false
}

// outlasts checks that a hold with a long lease is not lost by answers with Retry-After, or by writes
// that take seconds.
func outlasts(r *Run) (violations []Violation, looked int) {
	for _, h := range r.Holds {
		if !h.Lock().Long() {
			continue
		}
		end, asLoss := lostAt(h)
		if end == history.Never || asLoss && r.taken(h, end) {
			continue
		}
		met, other := false, int64(0)
		for _, f := range r.Faults {
			if slices.Contains(outlasted, f.Name) {
				met = met || f.affects(h.Process, h.Returned, end)
			} else if from := end - int64(history.LongLease); f.affects(h.Process, from-int64(aftereffect), end) {
				other += min(f.To+int64(aftereffect), end) - max(f.From, from)
			}
		}
		switch {
		case !met, asLoss && other > excuse:
			continue
		case asLoss:
			violations = append(violations, Violation{"outlasts", h.Lock(), fmt.Sprintf("the hold %s was lost after %s, with other faults for %s of its last lease", h.ID, seconds(end-h.Returned), seconds(other))})
		}
		looked++
	}
	return violations, looked
}

// lostAt returns when a holder learned that its hold has ended, and whether it learned so as a loss.
// It returns Never if the holder's process ended first.
func lostAt(h *history.Hold) (at int64, asLoss bool) {
	for _, s := range h.Saves {
		if s.Outcome == history.Lost {
			return s.Returned, true
		}
	}
	if h.Release == nil {
		return history.Never, false
	}
	return h.Release.Returned, h.Release.Outcome == history.Lost
}

const (
	// aftereffect is how long a fault may affect a client after its end.
	aftereffect = 4 * time.Second
	// excuse is the part of its last lease during which other faults may have affected a lost hold
	// without being the cause of the loss.
	excuse = int64(6 * time.Second)
)
