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

import (
	"math/rand/v2"
	"time"
)

// Walk takes that many random steps. At a final state it starts again from the beginning.
func Walk(sc *Scope, seed uint64, steps int, until time.Duration) Found {
	begun := time.Now()
	rnd := rand.New(rand.NewPCG(seed, 0))
	x := &explorer{sc: sc, fair: map[hash]uint16{}}
	f := &x.found
	var actions []action
	for f.Steps < steps && (until == 0 || time.Since(begun) < until) {
		w := newWorld(sc)
		var path []action
		for {
			actions = w.actions(actions[:0])
			if len(actions) == 0 {
				break
			}
			a := pick(rnd, actions)
			path = append(path, a)
			w = w.do(a)
			f.Steps++
			if w.bad != "" {
				f.Bad, f.Path = w.bad, path
				f.Took = time.Since(begun)
				return *f
			}
			if rnd.IntN(64) == 0 {
				if _, f.Bad = x.playFair(w); f.Bad != "" {
					f.Path, f.Then, f.Took = path, true, time.Since(begun)
					return *f
				}
			}
			if len(path) > 400 {
				break
			}
		}
		f.States++
		if len(x.fair) > 1<<20 {
			clear(x.fair)
		}
	}
	f.Took = time.Since(begun)
	return *f
}

// pick chooses a random action. If there are faults among the actions, it chooses one of them half of the
// time.
func pick(rnd *rand.Rand, actions []action) action {
	first := len(actions)
	for first > 0 && actions[first-1].verb >= firstFault {
		first--
	}
	if first == len(actions) || first > 0 && rnd.IntN(12) > 0 {
		return actions[rnd.IntN(first)]
	}
	return actions[first+rnd.IntN(len(actions)-first)]
}
