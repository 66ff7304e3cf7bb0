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

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// Requests that are refused by what stands before the API server, or by it. What is refused is not
// done, and no copy of it.

// denials are what a world refuses.
type denials struct {
	filter bool // now and then all writes of a node, in the words for an object that has changed
	busy   bool // a write, once: with more patience asked for than a lease has
	access bool // a request, once: of who had access before
	large  bool // every state of some
}

// refusal is the answer to what is refused.
type refusal struct {
	code, retryAfter int
	text             string
	page             bool
}

const (
	// refusedOften is how often a node may send writes that are refused, in the time of often: some
	// calls at once, each with pauses that grow.
	refusedOften = 80
	often        = 10 * time.Second
	// filtered is for how long a node's writes are refused at most: less than a refusal is doubted.
	filtered = 12 * time.Second
)

// refused counts the refusals of a node.
type refused struct {
	mu      sync.Mutex // protects the fields below
	granted map[string]bool
	times   []time.Time
}

func (w *world) planDenials() denials {
	r := rand.New(rand.NewPCG(w.seed, 1<<23+1))
	if r.IntN(3) > 0 {
		return denials{}
	}
	return denials{filter: r.IntN(2) == 0, busy: r.IntN(2) == 0, access: r.IntN(2) == 0, large: r.IntN(2) == 0}
}

// largeState finds the states that are too large where some are.
var largeState = regexp.MustCompile(`#\d*3\\*"`)

// refuse draws whether a request is refused: it depends on the seed, the node, the time and
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
	n.refused.mu.Unlock()
	var answer *refusal
	switch calm := time.Now().After(w.calm); {
	case d.large && write && largeState.Match(body):
		answer = &refusal{code: http.StatusRequestEntityTooLarge, text: "too large"}
	case calm || n.name == "reaper":
	case d.filter && write && n.isFiltered():
		code := []int{http.StatusConflict, http.StatusGone, http.StatusNotFound, http.StatusUnprocessableEntity}[w.seed/3%4]
		answer = &refusal{code: code, text: "not by this way"}
	case d.busy && write && r.IntN(6) == 0:
		answer = &refusal{code: http.StatusTooManyRequests, text: "too many requests", retryAfter: 32}
	case d.access && granted && r.IntN(12) == 0:
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

// isFiltered reports whether the node's writes are refused now: in a part of each half of a minute.
func (n *node) isFiltered() bool {
	w := n.world
	const half = 30 * time.Second
	number := uint64(w.at() / half) //nolint:gosec // Not negative.
	r := rand.New(rand.NewPCG(w.seed^1<<23+1, hash(n.name)+number))
	from := span(r, half/2, half-filtered) // Between two such times a write is sent that is let through.
	at := w.at() % half
	return at >= from && at < from+span(r, 3*time.Second, filtered)
}

// wasRefused is the invariant that no client sends again and again, without a pause, what is refused.
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

// wasGranted notes what the API server has answered, when the client has that answer.
func (n *node) wasGranted(req *http.Request, watch bool, code int) {
	if n.world.denials == (denials{}) || code >= http.StatusMultipleChoices {
		return
	}
	n.refused.mu.Lock()
	defer n.refused.mu.Unlock()
	if n.refused.granted == nil {
		n.refused.granted = map[string]bool{}
	}
	n.refused.granted[req.Method+strconv.FormatBool(watch)] = true
}

// body is what the answer has.
func (f *refusal) body() (contentType, text string) {
	if f.page {
		return "text/plain", f.text
	}
	return "application/json", fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","message":%q,"code":%d}`, f.text, f.code)
}

// gentle reports whether nothing is wrong but that the API server is busy now and then.
func (c *caller) gentle() bool {
	d := c.denials
	return c.harsh == 0 && d.busy && !d.filter && !d.access && !c.plan.proxies
}

// save writes a state and keeps the lock. It is an invariant that a hold is not lost for one answer
// that asks for patience.
func (c *caller) save(ctx context.Context, b *belief, held *kubelock.Held[string], key string) {
	v, left := c.value(), c.left(b)
	err := held.Update(v).Save(ctx)
	c.wrote(key, v, err, c.name+": Save")
	if c.gentle() && left > time.Second && errors.Is(err, kubelock.ErrLost) {
		c.violatedf("invariant of pauses: %s: a Save that had %v ended with %v", c.name, left, err)
	}
}

// freed is the invariant that a state which cannot be stored does not keep a lock from others.
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
