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

package kubelock

import (
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// minPaceSpan is over how long the pace of a lock is measured at least.
const minPaceSpan = 500 * time.Millisecond

// pace is how fast a lock changes hands, as far as reads have shown.
type pace struct {
	since       time.Time
	uid         string
	transitions int64
	known       bool
	each        time.Duration // from one hold to the next; 0 if nothing has changed
}

// see takes in how the lock stands now.
func (p *pace) see(r protocol.Record, now time.Time) {
	span, holds := now.Sub(p.since), r.Transitions-p.transitions
	same := r.UID == p.uid && !p.since.IsZero()
	if same && span < minPaceSpan {
		return
	}
	p.known, p.each = same, 0
	if same && holds > 0 {
		p.each = span / time.Duration(holds)
	}
	p.since, p.uid, p.transitions = now, r.UID, r.Transitions
}

// rereadIn is how long a waiter at that place may wait before a read pays that bounds
// the age of what it may be given; never is its answer for never. A hold that may be older
// than age has to be renewed before it can be used, which costs everybody a write more,
// and the read costs nobody anything. from is the bound that there is.
func (p *pace) rereadIn(place int, from time.Time, age, never time.Duration, now time.Time) time.Duration {
	next := from.Add(age)
	switch {
	case p.known && p.each == 0: // Who knows when. What is given then may be renewed.
		return never
	case p.known:
		if turn := p.since.Add(time.Duration(place+1) * p.each); turn.After(next) {
			next = turn.Add(-age / 2)
		}
	}
	return max(next.Sub(now), age/4)
}
