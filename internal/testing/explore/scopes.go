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
	"slices"
	"strings"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

const (
	usualTick  = protocol.Grace / 2
	usualLease = 3 * usualTick
)

// twoOnce returns a scope of two clients that acquire the lock once each, with one fault.
func twoOnce(name string, kinds Fault, change func(sc *Scope)) *Scope {
	sc := &Scope{Name: name, Calls: [][]Call{{{}}, {{}}}, Faults: 1, Kinds: kinds, Tick: usualTick, Lease: usualLease}
	if kinds == 0 {
		sc.Faults = 0
	}
	if change != nil {
		change(sc)
	}
	return sc
}

// kinds has the faults with their names.
var kinds = []struct {
	name string
	kind Fault
}{
	{"lost before", LostBefore},
	{"lost after", LostAfter},
	{"slow", Slow},
	{"twice", Twice},
	{"crash", Crash},
	{"pause", Pause},
	{"cut", Cut},
	{"lag", Lag},
	{"deny", Deny},
	{"reject", Reject},
	{"busy", Busy},
	{"free by hand", FreeByHand},
	{"empty by hand", EmptyByHand},
	{"delete by hand", DeleteByHand},
	{"restore", Restore},
	{"no watch", Unwatch},
}

// variations are the scopes that are explored with each kind of fault.
var variations = []struct {
	name   string
	change func(sc *Scope)
}{
	{"", nil},
	{"save", func(sc *Scope) { sc.Calls[0][0].Saves = 1 }},
	{"renew", func(sc *Scope) { sc.Calls[0][0].Renews = 1 }},
	{"keep alive", func(sc *Scope) { sc.Calls[0][0].KeepAlive = true }},
	{"give up", func(sc *Scope) { sc.Calls[1][0].MayGiveUp = true }},
	{"try", func(sc *Scope) { sc.Calls[1][0].Try = true }},
	{"local", func(sc *Scope) { sc.Local = true; sc.Calls[0] = []Call{{}, {}} }},
	{"remove", func(sc *Scope) { sc.Calls[1][0].Remove = true }},
	{"reaper", func(sc *Scope) { sc.Reaper = true }},
	{"server time", func(sc *Scope) { sc.Time = Told }},
	{"hints", func(sc *Scope) { sc.Time = Hinted }},
	{"wrong hints", func(sc *Scope) { sc.Time = Misled }},
	{"lingering watch", func(sc *Scope) { sc.Lingers = true }},
	{"abandon", func(sc *Scope) { sc.Calls[0][0].MayAbandon = true; sc.Calls[0][0].Saves = 1 }},
	{"close", func(sc *Scope) { sc.Close = true }},
	{"first gives up", func(sc *Scope) { sc.Calls[0][0].MayGiveUp = true }},
	{"apply", func(sc *Scope) { sc.Created, sc.Calls[0][0].Applies = true, true }},
	{"both apply", func(sc *Scope) { sc.Created, sc.Calls[0][0].Applies, sc.Calls[1][0].Applies = true, true, true }},
	{"apply, local", func(sc *Scope) {
		sc.Created, sc.Local, sc.Calls[0] = true, true, []Call{{Applies: true}, {Applies: true}}
	}},
	{"apply, give up", func(sc *Scope) {
		sc.Created, sc.Calls[0][0].Applies, sc.Calls[0][0].MayGiveUp = true, true, true
	}},
	{"apply, no object", func(sc *Scope) { sc.Calls[0][0].Applies = true }},
	{"both apply, no object", func(sc *Scope) { sc.Calls[0][0].Applies, sc.Calls[1][0].Applies = true, true }},
	{"min hold", func(sc *Scope) { sc.Calls[0][0].MinHold = 2 }},
	{"min hold, local", func(sc *Scope) { sc.Local = true; sc.Calls[0] = []Call{{MinHold: 2}, {}} }},
	{"min hold, reaper", func(sc *Scope) { sc.Calls[0][0].MinHold, sc.Reaper = 2, true }},
	{"min hold, server time", func(sc *Scope) { sc.Calls[0][0].MinHold, sc.Time = 2, Told }},
	{"min hold, remove", func(sc *Scope) { sc.Calls[0][0].MinHold, sc.Calls[1][0].Remove = 2, true }},
	{"finalizer", func(sc *Scope) { sc.Finalizer, sc.Calls[1][0].Remove = true, true }},
}

// scopes returns the scopes that are explored completely.
func scopes() (all []*Scope) {
	for _, v := range variations {
		all = append(all, twoOnce(named("2x1x0", v.name), 0, v.change))
		for _, k := range kinds {
			all = append(all, twoOnce(named("2x1x1", v.name, k.name), k.kind, func(sc *Scope) {
				if v.change != nil {
					v.change(sc)
				}
				if k.kind == DeleteByHand {
					sc.Finalizer = sc.Finalizer || v.name == "save"
				}
			}))
		}
	}
	three := &Scope{Name: "3x1x0", Calls: [][]Call{{{}}, {{}}, {{}}}, Tick: usualTick, Lease: usualLease}
	return append(all, three)
}

func named(parts ...string) string {
	var words []string
	for _, p := range parts {
		if p != "" {
			words = append(words, p)
		}
	}
	return strings.Join(words, ", ")
}

// The functions below build larger scopes.
func with(changes ...func(sc *Scope)) func(sc *Scope) {
	return func(sc *Scope) {
		for _, change := range changes {
			change(sc)
		}
	}
}

func reaped(sc *Scope)     { sc.Reaper = true }
func serverTime(sc *Scope) { sc.Time = Told }
func twoFaults(sc *Scope)  { sc.Faults = 2 }
func third(sc *Scope)      { sc.Calls = append(sc.Calls, []Call{{}}) }

// applies makes half of the callers apply a change.
func applies(sc *Scope) {
	for i := range sc.Calls {
		for j := range sc.Calls[i] {
			sc.Calls[i][j].Applies = j%2 == 1
		}
	}
}

// rests lets the lock rest after half of the holds.
func rests(sc *Scope) {
	for i := range sc.Calls {
		for j := range sc.Calls[i] {
			sc.Calls[i][j].MinHold = (i + j) % 2 * 2
		}
	}
}

// again1 makes the first client acquire the lock once more.
func again1(sc *Scope) { sc.Calls[0] = append(sc.Calls[0], Call{}) }

func bothAgain(sc *Scope) {
	again1(sc)
	sc.Calls[1] = append(sc.Calls[1], Call{})
}

// larger returns scopes that may be too large to be explored completely.
func larger() []*Scope {
	const every = Network | Crash | Pause | Cut | Lag | Deny | Reject | ByHand | Restore
	all := []*Scope{
		twoOnce("2x2x0", 0, bothAgain),
		twoOnce("3x1x1, crash", Crash, third),
		twoOnce("3x1x1", every, third),
		twoOnce("2x2x1", every, bothAgain),
		twoOnce("2x1x2", every, twoFaults),
	}
	for _, sc := range all {
		sc.most = 3_000_000
	}
	return all
}

// forWalks returns scopes for random walks.
func forWalks() []*Scope {
	const every = Network | Crash | Pause | Cut | Lag | Refusal | Unwatch
	busy := func(sc *Scope) {
		sc.Faults = 4
		for i := range sc.Calls {
			sc.Calls[i] = []Call{{Saves: 1, Renews: 1}, {MayGiveUp: true}, {KeepAlive: true}, {}}
		}
	}
	return []*Scope{
		twoOnce("walk, 2x4x4", every, busy),
		twoOnce("walk, 3x4x4", every, with(third, busy)),
		twoOnce("walk, 3x4x4, reaper", every, with(third, busy, reaped)),
		twoOnce("walk, 3x4x4, server time", every, with(third, busy, serverTime)),
		twoOnce("walk, 3x4x4, hints", every, with(third, busy, func(sc *Scope) { sc.Time = Hinted })),
		twoOnce("walk, 3x4x4, local", every, with(third, busy, func(sc *Scope) { sc.Local = true })),
		twoOnce("walk, 3x4x4, remove", every, with(third, busy, func(sc *Scope) { sc.Calls[2][1].Remove = true })),
		twoOnce("walk, 3x4x4, apply", every, with(third, busy, applies)),
		twoOnce("walk, 3x4x4, apply, local", every, with(third, busy, applies, func(sc *Scope) { sc.Local = true })),
		twoOnce("walk, 3x4x4, min hold", every, with(third, busy, rests)),
		twoOnce("walk, 3x4x4, min hold, local, reaper", every, with(third, busy, rests, reaped, func(sc *Scope) { sc.Local = true })),
		twoOnce("walk, 3x4x4, min hold, remove", every, with(third, busy, rests, func(sc *Scope) { sc.Calls[2][1].Remove = true })),
		twoOnce("walk, 3x4x4, by hand", every|ByHand, with(third, busy)),
		twoOnce("walk, 3x4x4, restore", every|Restore, with(third, busy)),
	}
}

func long(sc *Scope) { sc.Tick, sc.Lease = 20*time.Second, 2*time.Minute }

// copiedEntry leads to a state in which a holds the lock and b queues for it, and a copy of the request by
// which a has queued is still on its way.
var copiedEntry = []string{
	"caller 1 of a comes",
	"a's read 1 arrives",
	"the answer to a's read 1 arrives",
	"a's write 2 arrives",
	"the answer to a's write 2 arrives",
	"caller 1 of b comes",
	"b's read 1 arrives",
	"the answer to b's read 1 arrives",
	"b's enqueue 2 arrives",
	"the answer to b's enqueue 2 arrives",
	"a releases",
	"a's amend 3 arrives",
	"the answer to a's amend 3 arrives",
	"a's read 4 arrives",
	"the answer to a's read 4 arrives",
	"a's amend 5 arrives",
	"the answer to a's amend 5 arrives",
	"caller 2 of a comes",
	"a's enqueue 6 is copied",
	"a's enqueue 6 arrives",
	"the answer to a's enqueue 6 arrives",
	"a watch shows b what is next",
	"a watch shows b what is next",
	"b releases",
	"b's amend 3 arrives",
	"the answer to b's amend 3 arrives",
	"caller 2 of b comes",
	"b's enqueue 4 arrives",
	"the answer to b's enqueue 4 arrives",
	"a watch shows a what is next",
}

// afterADeletion leads to a state in which a has stored its change, does not know that, and queues for the lock
// that b has created since.
var afterADeletion = []string{
	"caller 1 of a comes",
	"a's read 1 arrives",
	"the answer to a's read 1 arrives",
	"a's amend 2 arrives",
	"the answer to a's amend 2 is lost",
	"a person deletes the object",
	"caller 1 of b comes",
	"b's read 1 arrives",
	"the answer to b's read 1 arrives",
	"b's write 2 arrives",
	"the answer to b's write 2 arrives",
	"time passes: it is 2.5s",
	"a's read 3 arrives",
	"the answer to a's read 3 arrives",
	"a's enqueue 4 arrives",
	"the answer to a's enqueue 4 arrives",
}

// oneQueues leads to a state in which a holds the lock and b queues for it. twoQueue goes on from there:
// c queues, too.
var (
	oneQueues = []string{
		"caller 1 of a comes",
		"a's read 1 arrives",
		"the answer to a's read 1 arrives",
		"a's write 2 arrives",
		"the answer to a's write 2 arrives",
		"caller 1 of b comes",
		"b's read 1 arrives",
		"the answer to b's read 1 arrives",
		"b's enqueue 2 arrives",
		"the answer to b's enqueue 2 arrives",
	}
	twoQueue = []string{
		"caller 1 of c comes",
		"c's read 1 arrives",
		"the answer to c's read 1 arrives",
		"c's enqueue 2 arrives",
		"the answer to c's enqueue 2 arrives",
	}
)

// forPlantedFaults returns scopes that each exist for one planted fault.
func forPlantedFaults() []*Scope {
	return []*Scope{
		twoOnce("2x2x1, twice", Twice, again1),
		twoOnce("2x2x1, crash", Crash, again1),
		twoOnce("2x2x1, reaper, twice", Twice, with(again1, reaped)),
		twoOnce("2x2x1, reaper, lag", Lag, with(again1, reaped)),
		twoOnce("2x2x1, server time, slow", Slow, with(again1, serverTime)),
		twoOnce("2x1x1, long, give up, slow", Slow, with(long, func(sc *Scope) { sc.Calls[1][0].MayGiveUp = true })),
		twoOnce("2x2x2, after a copied entry", Twice|LostAfter, with(bothAgain, twoFaults, func(sc *Scope) { sc.From = copiedEntry })),
		twoOnce("2x2x1, lingering watch, after a copied entry", Twice, with(bothAgain, func(sc *Scope) { sc.Lingers, sc.From = true, copiedEntry })),
		twoOnce("3x1x1, two queue, crash", Crash, with(third, func(sc *Scope) { sc.From = slices.Concat(oneQueues, twoQueue) })),
		twoOnce("2x1x0, wrong hints, renew", 0, func(sc *Scope) { sc.Time, sc.Calls[0][0].Renews = Misled, 1 }),
		twoOnce("2x1x1, long, free by hand", FreeByHand, long),
		twoOnce("2x2x1, one queues, reaper and server time, slow", Slow, with(again1, reaped, serverTime, func(sc *Scope) { sc.Tick, sc.From = sc.Tick/2, oneQueues })),
		twoOnce("3x1x0, give up", 0, with(third, func(sc *Scope) { sc.Calls[1][0].MayGiveUp = true })),
		twoOnce("2x1x1, two saves, twice", Twice, func(sc *Scope) { sc.Calls[0][0].Saves = 2 }),
		twoOnce("2x1x1, apply, local, give up, lost after", LostAfter, func(sc *Scope) {
			sc.Created, sc.Local = true, true
			sc.Calls[0] = []Call{{Applies: true, MayGiveUp: true}, {Applies: true}}
		}),
		twoOnce("2x1x3, apply, after a deletion", LostAfter|DeleteByHand|FreeByHand|Reject, func(sc *Scope) {
			sc.Created, sc.Faults, sc.Calls[0][0].Applies, sc.From = true, 3, true, afterADeletion
		}),
		twoOnce("2x1x2, apply, late creation", Slow|DeleteByHand, func(sc *Scope) {
			sc.Faults, sc.Calls[0][0].Applies = 2, true
		}),
		twoOnce("2x1x2, cut, delete by hand", Cut|DeleteByHand, twoFaults),
		twoOnce("2x1x2, coarse, slow, pause", Slow|Pause, func(sc *Scope) { sc.Faults, sc.Tick = 2, sc.Lease }),
	}
}

// allScopes returns all scopes.
func allScopes() []*Scope {
	all := append(scopes(), larger()...)
	return append(append(all, forWalks()...), forPlantedFaults()...)
}
