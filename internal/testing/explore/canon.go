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
	"hash/maphash"
	"math/bits"
	"reflect"
	"slices"

	"github.com/kubelock/kubelock/internal/protocol"
)

// Two states count as the same if they differ only in facts without influence: the current time, and
// how many versions, requests and lock IDs there were before. To compare states, a walk through all
// fields of a value, including unexported ones, makes a list of tokens. Times are tokens relative to now.
// Versions, request numbers and lock IDs are tokens by their rank within the state.

var (
	serverPlan = planOf(reflect.TypeFor[server](), plain)
	seenPlan   = planOf(reflect.TypeFor[protocol.Observation](), plain)
	clientPlan = planOf(reflect.TypeFor[client](), plain)
	msgPlan    = planOf(reflect.TypeFor[msg](), plain)
)

var seed = maphash.MakeSeed()

var sums = map[string]int64{}

func sum(s string) int64 {
	if v, ok := sums[s]; ok {
		return v
	}
	v := int64(maphash.String(seed, s))
	if len(sums) < 1<<16 {
		sums[s] = v
	}
	return v
}

// hash identifies a state.
type hash [2]uint64

func (h *hash) add(v int64) {
	x := uint64(v)
	hi, lo := bits.Mul64(h[0]^x^0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93)
	h[0] = hi ^ lo
	hi, lo = bits.Mul64(h[1]^bits.RotateLeft64(x, 32)^0xA0761D6478BD642F, 0xE7037ED1A0B428DB)
	h[1] = bits.RotateLeft64(hi^lo, 17) + x
}

// ranks has the sorted numbers of a state.
type ranks []int64

func (r *ranks) note(v int64) {
	if i, found := slices.BinarySearch(*r, v); !found {
		*r = slices.Insert(*r, i, v)
	}
}

func (r *ranks) of(v int64) int64 {
	i, _ := slices.BinarySearch(*r, v)
	return int64(i)
}

// hasher turns tokens into hashes.
type hasher struct {
	scratch  []tok
	now      int64
	versions ranks
	places   []int64 // ranks of versions; a gap counts, up to a small size
	ids      ranks
	requests []ranks // ranks of request numbers, per client
}

func (h *hasher) note(toks []tok, client int) {
	for _, t := range toks {
		switch t.kind {
		case version:
			h.versions.note(t.v)
		case lockID:
			h.ids.note(t.v)
		case reqID:
			if client >= 0 {
				h.requests[client].note(t.v)
			}
		case plain, moment:
		}
	}
}

func (h *hasher) add(to *hash, toks []tok, client int) {
	for _, t := range toks {
		v := t.v
		switch t.kind {
		case moment:
			if v > -1<<62 && v < 1<<62 {
				v = max(min(v-h.now, int64(5*clip)), -int64(clip))
			}
		case version:
			if v > 0 {
				v = h.places[h.versions.of(v)]
			}
		case lockID: // The client, and which of its IDs.
			first, _ := slices.BinarySearch(h.ids, v>>32<<32)
			v = v>>32<<32 | h.ids.of(v) - int64(first)
		case reqID:
			if v != 0 && client >= 0 {
				v = h.requests[client].of(v)
			}
		case plain:
		}
		to.add(v<<3 | int64(t.kind))
	}
}

// place computes the ranks of versions. Small gaps between versions stay as they are.
func (h *hasher) place() {
	const apart = 3
	h.places = h.places[:0]
	at, last := int64(1), int64(0)
	for i, v := range h.versions {
		if i > 0 {
			at += min(v-last, apart)
		}
		h.places, last = append(h.places, at), v
	}
}

// hash returns the hash that identifies w.
func (w *world) hash(h *hasher) hash {
	h.now = int64(w.now().Sub(epoch))
	h.versions, h.ids = h.versions[:0], h.ids[:0]
	if h.requests == nil {
		h.requests = make([]ranks, len(w.cl))
	}
	if w.objToks == nil {
		toks := walk(h.scratch[:0], reflect.ValueOf(&w.server).Elem(), serverPlan)
		for i := range w.past {
			toks = walk(toks, reflect.ValueOf(&w.past[i]).Elem(), serverPlan)
		}
		if w.sc.Reaper {
			toks = walk(toks, reflect.ValueOf(&w.seen).Elem(), seenPlan)
		}
		h.scratch, w.objToks = toks, slices.Clone(toks)
	}
	h.versions.note(w.token)
	h.note(w.objToks, -1)
	for i, c := range w.cl {
		if c.toks == nil {
			h.scratch = walk(h.scratch[:0], reflect.ValueOf(c).Elem(), clientPlan)
			c.toks = slices.Clone(h.scratch)
		}
		h.requests[i] = h.requests[i][:0]
		h.note(c.toks, i)
	}
	for _, m := range w.net {
		if m.toks == nil {
			h.scratch = walk(h.scratch[:0], reflect.ValueOf(m).Elem(), msgPlan)
			m.toks = slices.Clone(h.scratch)
		}
		h.note(m.toks, m.client)
	}
	h.place()

	var sum hash
	sum.add(int64(w.faults))
	if w.disturbed {
		sum.add(1)
	}
	if w.overdue() {
		sum.add(2)
	}
	if w.wentBack {
		sum.add(3)
	}
	if w.now().Before(w.freeFrom) {
		sum.add(int64(w.freeFrom.Sub(w.now())))
	}
	h.add(&sum, []tok{{version, w.token}}, -1)
	h.add(&sum, w.objToks, -1)
	for i, c := range w.cl {
		h.add(&sum, c.toks, i)
	}
	var net hash // The order of messages does not count.
	for _, m := range w.net {
		one := hash{uint64(m.client), 1}
		h.add(&one, m.toks, m.client)
		net[0] += one[0]
		net[1] += one[1]
	}
	sum.add(int64(net[0]))
	sum.add(int64(net[1]))
	addSet(&sum, w.acked)
	addSet(&sum, w.denied)
	addSet(&sum, []string{w.wiped})
	return sum
}

func addSet(to *hash, set []string) {
	var all int64
	for _, s := range set {
		all += sum(s)
	}
	to.add(all)
}
