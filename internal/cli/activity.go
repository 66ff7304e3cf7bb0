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

package cli

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/kubelock/kubelock/internal/cli/view"
)

// rateWindow is how far back acquisitions are counted for a rate.
const rateWindow = 10 * time.Second

// activity is what was seen to happen to locks: what no single version of them tells.
type activity struct {
	began time.Time
	locks map[rowID]*lockActivity
}

type lockActivity struct {
	lock    view.Lock
	counts  []count              // of the window, and the last before it
	waiting map[string]time.Time // since when each waiter was seen to wait, by its lock ID
	longest time.Duration        // of the waits that have ended
	changes int64                // of the holder
	history history
}

// count is how often a lock had been acquired at a time.
type count struct {
	at time.Time
	n  int64
}

func newActivity(now time.Time) *activity {
	return &activity{began: now, locks: map[rowID]*lockActivity{}}
}

// see takes in a lock as it was seen at now.
func (a *activity) see(r view.Lock, now time.Time) {
	if r.Deleted {
		delete(a.locks, idOf(r))
		return
	}
	l := a.locks[idOf(r)]
	if l == nil {
		l = &lockActivity{waiting: map[string]time.Time{}, history: newHistory()}
		a.locks[idOf(r)] = l
	}
	if n := len(l.counts); n == 0 || l.counts[n-1].n != r.Transitions {
		if n > 0 {
			begun := r.Transitions - l.counts[n-1].n
			l.history.acquisitions(now.Sub(a.began), begun)
			if r.Resting {
				begun-- // One of these holds is of no client.
			}
			l.changes += max(begun, 0) // There are fewer than before in an object that was made anew.
		}
		l.counts = append(l.counts, count{now, r.Transitions})
	}
	l.lock = r
	waits := map[string]time.Time{}
	for _, w := range r.Waiters {
		since, ok := l.waiting[w.LockID]
		if !ok {
			since = now
		}
		waits[w.LockID] = since
	}
	for id, since := range l.waiting {
		if _, ok := waits[id]; !ok {
			l.longest = max(l.longest, now.Sub(since))
			l.history.wait(since.Sub(a.began), now.Sub(a.began))
		}
	}
	l.waiting = waits
}

// rate is the acquisitions a second of the window that ends at now.
func (l *lockActivity) rate(began, now time.Time) float64 {
	from := now.Add(-rateWindow)
	for len(l.counts) > 1 && !l.counts[1].at.After(from) {
		l.counts = l.counts[1:]
	}
	window := min(rateWindow, now.Sub(began))
	if window <= 0 {
		return 0
	}
	return float64(l.counts[len(l.counts)-1].n-l.counts[0].n) / window.Seconds()
}

// longestWait is the longest wait seen, of those who wait now, too.
func (l *lockActivity) longestWait(now time.Time) time.Duration {
	longest := l.longest
	for _, since := range l.waiting {
		longest = max(longest, now.Sub(since))
	}
	return longest
}

// view sums up. The most wanted locks are first.
func (a *activity) view(now time.Time) view.Top {
	v := view.Top{Locks: len(a.locks)}
	for _, l := range a.locks {
		for _, since := range l.waiting {
			l.history.wait(since.Sub(a.began), now.Sub(a.began))
		}
		r := view.TopRow{Lock: l.lock, Rate: l.rate(a.began, now), Longest: l.longestWait(now), Changes: l.changes}
		r.Acquired, r.Waits = l.history.last(now.Sub(a.began))
		if r.Holder != nil {
			v.Held++
		}
		if len(r.Waiters) > 0 {
			v.Contended++
		}
		v.Rate += r.Rate
		if r.Holder != nil || len(r.Waiters) > 0 || r.Rate > 0 {
			v.Rows = append(v.Rows, r)
		}
	}
	slices.SortFunc(v.Rows, func(a, b view.TopRow) int {
		return cmp.Or(cmp.Compare(len(b.Waiters), len(a.Waiters)), cmp.Compare(b.Rate, a.Rate),
			strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Key, b.Key), strings.Compare(a.Kind, b.Kind))
	})
	return v
}
