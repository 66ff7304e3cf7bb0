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

package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/kubelock/kubelock/internal/session"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// Requests that the API server refuses, or a proxy or webhook before it. A refused request is not
// executed, and no copy of it is.

// denials says which requests a simulation refuses.
type denials struct {
	filter bool // at times all writes of a node, with the status of a conflict
	busy   bool // single writes, with a Retry-After that is longer than the lease
	access bool // single requests of nodes that had access before
	large  bool // every write of certain states, as too large
}

// refusal is the answer to a refused request.
type refusal struct {
	code, retryAfter int
	text             string
	page             bool
}

const (
	// refusedOften is how many refused writes a node may send within the time of often: several calls may
	// write at the same time, each with growing pauses.
	refusedOften = 80
	often        = 10 * time.Second
	// apart is the shortest time between two denials of access to a node. What is denied again and again, and
	// never answered otherwise, is a denial that lasts.
	apart = 40 * time.Second
	// filtered is how long a node's writes are refused at most. It is less than the time for which a client
	// repeats a refused write.
	filtered = 12 * time.Second
	// apartFromFilter is the shortest time between a denial of access and writes that are refused: to a client that
	// repeats a write, both are one refusal that lasts.
	apartFromFilter = 15 * time.Second
	byFilter        = "not by this way"
)

// refused counts the refusals of a node.
type refused struct {
	mu      sync.Mutex // protects the fields below
	granted map[string]bool
	denied  time.Time // when access was denied last
	times   []time.Time
	// filtered is since when no write was answered by the API server, and the filter has refused some. It is zero if the filter has
	// refused none since.
	filtered time.Time
}

func (w *world) planDenials() denials {
	r := rand.New(rand.NewPCG(w.seed, 1<<23+1))
	if r.IntN(3) > 0 {
		return denials{}
	}
	return denials{filter: r.IntN(2) == 0, busy: r.IntN(2) == 0, access: r.IntN(2) == 0, large: r.IntN(2) == 0}
}

// largeState matches the states that count as too large.
var largeState = regexp.MustCompile(`#\d*3\\*"`)

// refuse decides whether a request is refused. The decision depends on the seed, the node, the time, and
// how many requests of that kind the node has sent before.
func (n *node) refuse(req *http.Request, body []byte, watch bool, number uint64, f *fate) {
	w := n.world
	d := w.denials
	if d == (denials{}) {
		return
	}
	write := req.Method != http.MethodGet
	kind := req.Method + strconv.FormatBool(watch)
	r := rand.New(rand.NewPCG(w.seed^1<<23+1, hash(n.name+kind+req.URL.Path)+number))
	n.refused.mu.Lock()
	granted := n.refused.granted[kind]
	rare := n.refused.denied.IsZero() || time.Since(n.refused.denied) > apart
	n.refused.mu.Unlock()
	var answer *refusal
	switch calm := time.Now().After(w.calm); {
	case d.large && write && largeState.Match(body):
		answer = &refusal{code: http.StatusRequestEntityTooLarge, text: "too large"}
	case calm || n.name == "reaper":
	case d.filter && write && n.isFiltered(0, 0):
		code := []int{http.StatusConflict, http.StatusGone, http.StatusNotFound, http.StatusUnprocessableEntity}[w.seed/3%4]
		answer = &refusal{code: code, text: byFilter}
		n.refused.mu.Lock()
		if n.refused.filtered.IsZero() {
			n.refused.filtered = time.Now()
		}
		n.refused.mu.Unlock()
	case d.busy && write && r.IntN(6) == 0:
		// As the API server's own, a page: beside a Status, client-go does not read the header.
		answer = &refusal{code: http.StatusTooManyRequests, text: "Too many requests, please try again later.", page: true, retryAfter: 32}
	case d.access && granted && rare && (!d.filter || !n.isFiltered(-apartFromFilter, apartFromFilter)) && r.IntN(12) == 0:
		n.refused.mu.Lock()
		n.refused.denied = time.Now()
		n.refused.mu.Unlock()
		answer = []*refusal{
			{code: http.StatusUnauthorized, text: "Unauthorized"},
			{code: http.StatusForbidden, text: "no", page: true},
			{code: http.StatusNotFound, text: "404 page not found", page: true},
		}[r.IntN(3)]
	}
	if answer == nil {
		return
	}
	f.status, f.refusal = answer.code, answer
	f.retryAfter = answer.retryAfter
	f.lostOut, f.lostBack, f.again = true, false, 0
	if write {
		n.wasRefused()
	}
}

// isFiltered reports whether the node's writes are refused at some moment between before and after from now on.
// They are refused during a part of each half minute.
func (n *node) isFiltered(before, after time.Duration) bool {
	w := n.world
	const half = 30 * time.Second
	first, last := max(0, w.at()+before), w.at()+after
	for begin := first - first%half; begin <= last; begin += half {
		r := rand.New(rand.NewPCG(w.seed^1<<23+1, hash(n.name)+uint64(begin/half)))
		// Between two such periods at least one write is accepted.
		from := begin + span(r, half/2, half-filtered)
		if last >= from && first < from+span(r, 3*time.Second, filtered) {
			return true
		}
	}
	return false
}

// wasRefused checks the invariant that no client repeats a refused request without a pause.
func (n *node) wasRefused() {
	now := time.Now()
	n.refused.mu.Lock()
	defer n.refused.mu.Unlock()
	times := slices.Concat(n.refused.times, []time.Time{now})
	for now.Sub(times[0]) > often {
		times = times[1:]
	}
	n.refused.times = times
	if len(times) > refusedOften && !n.isDead() {
		n.world.violatedf("invariant of pauses: %s has sent %d writes that were refused within %v", n.name, len(times), often)
	}
}

// wasGranted records an answer of the API server as soon as the client has it.
func (n *node) wasGranted(req *http.Request, watch bool, code int) {
	if n.world.denials == (denials{}) || code >= http.StatusMultipleChoices {
		return
	}
	n.refused.mu.Lock()
	defer n.refused.mu.Unlock()
	if req.Method != http.MethodGet {
		n.refused.filtered = time.Time{}
	}
	if n.refused.granted == nil {
		n.refused.granted = map[string]bool{}
	}
	n.refused.granted[req.Method+strconv.FormatBool(watch)] = true
}

// filterSeemsToLast reports whether a client may take the filter for one that stays: each answer to its writes came from the filter
// for as long as a client doubts that, since the API server's own answers were lost.
func (n *node) filterSeemsToLast() bool {
	n.refused.mu.Lock()
	defer n.refused.mu.Unlock()
	return !n.refused.filtered.IsZero() && time.Since(n.refused.filtered) >= session.Patience
}

// body returns the content type and the body of the answer.
func (f *refusal) body() (contentType, text string) {
	if f.page {
		return "text/plain", f.text
	}
	return "application/json", fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"code":%d}`, f.text, f.code)
}

// gentle reports whether the only fault is an API server that is busy from time to time.
func (c *caller) gentle() bool {
	d := c.denials
	return c.harsh == 0 && d.busy && !d.filter && !d.access && !c.plan.proxies
}

// save writes a state and keeps the lock. It checks the invariant that one answer with Retry-After does
// not lose a hold.
func (c *caller) save(ctx context.Context, b *belief, held *kubelock.Held[string], key string) {
	v, left := c.value(), c.left(b)
	err := held.Update(v).Save(ctx)
	c.wrote(key, v, err, c.name+": Save")
	if c.gentle() && left > time.Second && errors.Is(err, kubelock.ErrLost) {
		c.violatedf("invariant of pauses: %s: a Save that had %v ended with %v", c.name, left, err)
	}
}

// freed checks the invariant that a release frees the lock, even if its state cannot be stored.
func (c *caller) freed(held *kubelock.Held[string], key string, err error) {
	if !errors.Is(err, kubelock.ErrValueTooLarge) || errors.Is(err, kubelock.ErrUnknownOutcome) || c.node.isDead() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.locks[key].record.HeldBy(held.ID(), held.Token()) {
		c.violatedLockedf("invariant of refused states: %s holds the lock after %v", held.ID(), err)
	}
}
