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

import "fmt"

// mostAtOnce is the largest number of steps at one time. With more, a session repeats itself without end.
const mostAtOnce = 400

// playFair plays a state to its end without further faults. It returns how many ticks that took, and the
// violated invariant, if there is one.
func (x *explorer) playFair(w *world) (ticks int, bad string) {
	type point struct {
		h     hash
		ticks int
	}
	var points []point
	rest := 0
	w = w.calm()
	for atOnce := 0; ; atOnce++ {
		h := w.hash(&x.hasher)
		if known, ok := x.fair[h]; ok {
			rest = int(known)
			break
		}
		points = append(points, point{h, ticks})
		a, ok := w.fairAction()
		if !ok {
			w.checkEnd()
			if w.bad != "" {
				return ticks, w.bad
			}
			break
		}
		if a.verb == tick {
			ticks++
			atOnce = 0
		}
		w = w.do(a)
		switch {
		case w.bad != "":
			return ticks, w.bad
		case atOnce > mostAtOnce:
			return ticks, "more and more is done in one moment"
		case ticks > x.mostTicks():
			return ticks, fmt.Sprintf("it is not over after %d ticks without a further fault", ticks)
		}
	}
	if ticks+rest > x.mostTicks() {
		return ticks + rest, fmt.Sprintf("it is not over after %d ticks without a further fault", x.mostTicks())
	}
	for _, p := range points {
		x.fair[p.h] = uint16(ticks + rest - p.ticks)
	}
	return ticks + rest, ""
}

func (x *explorer) mostTicks() int {
	if x.sc.Fair > 0 {
		return x.sc.Fair
	}
	return 400
}

// calm returns w without further faults. Copies of requests that have not arrived yet never do.
func (w *world) calm() *world {
	w = w.copy()
	w.faults = 0
	var net []*msg
	for _, m := range w.net {
		if !m.copied {
			net = append(net, m)
		}
	}
	w.net = net
	return w
}

// order is the order of actions when no fault happens.
var order = map[verb]int{
	resume: 1, heal: 2, deliver: 3, show: 4, wake: 5, finalize: 6, reap: 7, releaseLost: 8, releaseAgain: 9, arrive: 10, release: 11, tick: 12,
}

// fairAction returns the next action when no fault happens. ok is false if there is none.
func (w *world) fairAction() (best action, ok bool) {
	for _, a := range w.actions(nil) {
		if o := order[a.verb]; o > 0 && (!ok || o < order[best.verb]) {
			best, ok = a, true
		}
	}
	return best, ok
}

// checkEnd checks a final state, which has no further actions.
func (w *world) checkEnd() {
	left := false // whether a client may have left a hold or an entry that no other client removes
	for i, c := range w.cl {
		switch {
		case c.dead:
			left = true
			continue
		case c.came < len(w.sc.Calls[i]) && !c.closed, len(c.waiting) > 0:
			w.violatedf("it is over, and a caller of %s has not got the lock", w.cfgs[i].Client)
		case len(c.calls) > 0, c.hold.on:
			w.violatedf("it is over, and a call of %s has not ended", w.cfgs[i].Client)
		case !c.s.Quiet():
			w.violatedf("it is over, and %s is not quiet: %v", w.cfgs[i].Client, c.s.State())
		}
		left = left || c.strays && (!w.sc.Lingers || w.disturbed) || c.refused || c.closed
	}
	if left && !w.sc.Reaper {
		return
	}
	if r := w.server.obj; r.Holder != nil && !r.Resting() && !w.overdue() && !w.wasLost() || len(r.Waiters) > 0 && (!w.sc.Lingers || w.sc.Reaper) { // No watch shows an entry.
		w.violatedf("it is over, and the lock is not free, or its queue not empty")
	}
}
