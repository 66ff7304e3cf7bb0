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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/hooks"
	"github.com/kubelock/kubelock/internal/memapi"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

const (
	namespace    = "default"
	maxClockSkew = time.Second
)

// world is one simulation.
type world struct {
	t       testing.TB
	seed    uint64
	verbose bool
	rand    *rand.Rand // for what is decided before anything runs
	kind    store.Kind // of the objects
	begun   time.Time
	server  *memapi.Server
	clocks  [2]time.Duration // how far the API servers' clocks are off
	calm    time.Time        // when faults end
	ctx     context.Context  //nolint:containedctx // The world's end.
	end     context.CancelFunc
	harsh   float64 // how likely faults are
	slow    bool    // writes take seconds
	denials denials

	clockFaults clockFaults
	answering   time.Duration // how far the clock is off of the API server that handles a request; guarded by serving

	serving sync.Mutex // one request at a time; protects writer
	writer  *node      // whose request is handled; nil for somebody's hands

	timers group

	mu         sync.Mutex // protects the fields below
	transcript []string
	violations []string
	locks      map[string]*history
	beliefs    []*belief
	forbidden  []write // which must never have been done
}

// history is what is known of one key, over all lives of its object.
type history struct {
	record    protocol.Record // the newest; does not exist if there is no object
	lastToken int64
	values    map[string]string // who wrote each, over all time
	holds     int
	forced    map[string]bool // lock IDs of holds that somebody's hands have ended
}

// belief is a hold from when its owner was told of it until its owner gave it up.
type belief struct {
	owner *node
	key   string
	held  *kubelock.Held[string]
	given bool // up, by its owner
}

// write is a state that somebody tried to write.
type write struct{ key, value, why string }

var crd = sync.OnceValues(func() (*memapi.CRD, error) {
	data, err := os.ReadFile(filepath.Join("..", "..", "config", "crd", "bases", "kubelock.dev_distributedlocks.yaml"))
	if err != nil {
		return nil, err
	}
	return memapi.Compile(data)
})

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	definition, err := crd()
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 0))
	w := &world{t: t, seed: seed, rand: r, begun: time.Now(), locks: map[string]*history{}}
	w.kind = []store.Kind{store.DistributedLocks, store.Leases, store.ConfigMaps}[seed%3]
	w.ctx, w.end = context.WithCancel(t.Context())
	w.harsh = []float64{0, 0.5, 1, 2, 3}[r.IntN(5)]
	w.calm = w.begun.Add(span(r, 30*time.Second, 90*time.Second))
	off := span(r, -5*time.Hour, 5*time.Hour)
	skew := span(r, 0, maxClockSkew-50*time.Millisecond)
	w.clocks = [2]time.Duration{off, off + skew}
	w.server = memapi.New(memapi.Options{
		Now:                  func() time.Time { return time.Now().Add(w.clocks[0] + w.answering) },
		CRDs:                 []*memapi.CRD{definition},
		Namespaces:           []string{namespace},
		FirstResourceVersion: 10 + r.Int64N(1000),
		History:              20 + r.IntN(100),
	})
	w.server.OnCommit(w.committed)
	w.drawClockFaults()
	w.denials = w.planDenials()
	return w
}

// level is how likely faults are now.
func (w *world) level() float64 {
	if time.Now().After(w.calm) {
		return 0
	}
	return w.harsh
}

func (w *world) at() time.Duration { return time.Since(w.begun) }

func (w *world) sayf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sayLockedf(format, args...)
}

func (w *world) sayLockedf(format string, args ...any) {
	w.transcript = append(w.transcript, fmt.Sprintf("%12.6f  ", w.at().Seconds())+fmt.Sprintf(format, args...))
}

func (w *world) violatedf(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violatedLockedf(format, args...)
}

func (w *world) violatedLockedf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.violations = append(w.violations, text)
	w.end() // Nothing that follows would say more.
	w.sayLockedf("VIOLATION: %s", text)
}

// after does something later, whoever has asked for it.
func (w *world) after(d time.Duration, f func()) {
	w.timers.Go(func() {
		pass(d)
		f()
	})
}

// client starts a process with a client on a node of its own.
func (w *world) client(n *node, cfg kubelock.Config) *kubelock.Client {
	cfg.Namespace, cfg.Identity, cfg.Logger = namespace, n.name, logr.Discard()
	cfg.Backend = map[store.Kind]kubelock.Backend{
		store.DistributedLocks: kubelock.DistributedLocks, store.Leases: kubelock.Leases, store.ConfigMaps: kubelock.ConfigMaps,
	}[w.kind]
	c, err := hooks.NewClientAt(n.config(), cfg, n.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.(*kubelock.Client)
}

// committed looks at each version of each object as it is stored.
func (w *world) committed(c memapi.Commit) {
	if c.Resource.Resource != w.kind.Resource().Resource {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.locks[c.Name]
	if h == nil {
		h = &history{values: map[string]string{}, forced: map[string]bool{}}
		w.locks[c.Name] = h
	}
	old, now := h.record, protocol.Record{Name: c.Name}
	if c.Type != watch.Deleted {
		obj := w.kind.New()
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(c.Object.Object, obj); err != nil {
			w.violatedLockedf("%s cannot be read: %v", c.Name, err)
			return
		}
		var err error
		if now, err = w.kind.Decode(obj); err != nil {
			w.violatedLockedf("%s cannot be read: %v", c.Name, err)
			return
		}
		if label := obj.GetLabels()[v1alpha1.HolderLabel]; w.writer != nil && (now.Holder == nil) != (label == "") {
			w.violatedLockedf("invariant 1: %s is labelled %q and held by %+v", c.Name, label, now.Holder)
		}
	}
	h.record = now
	w.sayLockedf("%s: %s", w.writerName(), describe(c, now))

	ended := old.Holder != nil && (now.UID != old.UID || now.Holder == nil || !now.HeldBy(old.Holder.LockID, tokenOf(old)))
	began := now.Holder != nil && (ended || old.Holder == nil)
	w.checkTerminating(old, now, began)
	if began {
		w.checkToken(h, now, c.ResourceVersion)
	}
	if ended {
		w.checkEnd(h, old)
	}
	w.checkValue(h, old, now)
	w.checkStamp(old, now)
	if !began && !ended {
		w.checkWaiters(old, now)
	} else {
		w.checkQueue(old, now)
	}
}

// checkWaiters is a part of invariant 8: whoever joins a queue or leaves it, or renews a
// hold, leaves the others in the queue, in their order.
func (w *world) checkWaiters(old, now protocol.Record) {
	if w.writer == nil || !now.Exists() {
		return
	}
	others := func(texts []string) []string {
		return slices.DeleteFunc(slices.Clone(texts), func(text string) bool {
			waiter, ok := protocol.ParseWaiter(text)
			return ok && waiter.Identity == w.writer.name
		})
	}
	if was, is := others(old.Waiters), others(now.Waiters); !slices.Equal(was, is) {
		w.violatedLockedf("invariant 8: of the others in the queue %q is left %q", was, is)
	}
}

// checkQueue is a part of invariant 8: whoever gives the lock to a waiter leaves those
// behind it in the queue, and nobody leaves the queue for another. A queue in annotations
// may have got, since the writer has read it, somebody before whom it gives the lock to.
func (w *world) checkQueue(old, now protocol.Record) {
	if w.writer == nil || !now.Exists() || now.Holder == nil {
		return
	}
	numbered := w.kind != store.DistributedLocks
	granted := old.Place(func(lockID string) bool { return lockID == now.Holder.LockID })
	if granted == len(old.Waiters) || now.Holder.Identity == w.writer.name || old.HeldBy(now.Holder.LockID, now.Holder.Token) {
		return
	}
	stay := slices.DeleteFunc(slices.Clone(old.Waiters[:granted]), func(text string) bool {
		waiter, ok := protocol.ParseWaiter(text)
		return !ok || old.Holder == nil || waiter.Client() == old.Holder.Client
	})
	if !numbered && len(stay) > 0 {
		w.violatedLockedf("invariant 8: %q were passed over", stay)
	}
	stay = append(stay, old.Waiters[granted+1:]...)
	left := now.Waiters
	if numbered { // Entries of the one that has had the lock may be among them, old and new.
		done := func(text string) bool { // Of what the network delivered twice, either may be what the writer has read.
			waiter, ok := protocol.ParseWaiter(text)
			return ok && (waiter.LockID == now.Holder.LockID || old.Holder != nil && waiter.Client() == old.Holder.Client)
		}
		stay, left = slices.DeleteFunc(stay, done), slices.DeleteFunc(slices.Clone(left), done)
		left = common(stay, left)
	}
	if len(left) < len(stay) || !slices.Equal(stay, left[:len(stay)]) {
		w.violatedLockedf("invariant 8: of the queue %q is left %q", old.Waiters, now.Waiters)
	}
}

// common is what of one queue stands in another, in the same order.
func common(one, other []string) (both []string) {
	for _, text := range other {
		if len(both) < len(one) && one[len(both)] == text {
			both = append(both, text)
		}
	}
	return both
}

func tokenOf(r protocol.Record) int64 { return r.Holder.Token }

func (w *world) writerName() string {
	if w.writer == nil {
		return "by hand"
	}
	return w.writer.name
}

// checkToken is invariant 6.
func (w *world) checkToken(h *history, now protocol.Record, version int64) {
	token := now.Holder.Token
	if token == 0 {
		token = version
	}
	if token <= h.lastToken || token > version {
		w.violatedLockedf("invariant 6: token %d at version %d after %d", token, version, h.lastToken)
	}
	h.lastToken = token
	h.holds++
}

// checkEnd is invariants 1, 4, 5 and 10: a hold ends when its owner does not believe
// in it any more, whoever ends it.
func (w *world) checkEnd(h *history, old protocol.Record) {
	if w.writer == nil {
		h.forced[old.Holder.LockID] = true
	}
	for _, b := range w.beliefs {
		if b.held.ID() != old.Holder.LockID || !w.believes(b) {
			continue
		}
		w.violatedLockedf("invariant 5: %s ends the hold %s of %s, which lasts for %v more", w.writerName(), b.held.ID(), b.owner.name, w.left(b))
	}
}

// checkValue is invariant 2.
func (w *world) checkValue(h *history, old, now protocol.Record) {
	if !now.Exists() {
		return
	}
	same := old.Exists() && (old.Value == nil) == (now.Value == nil) && (old.Value == nil || *old.Value == *now.Value)
	if same || !old.Exists() && now.Value == nil || w.writer == nil {
		return
	}
	if now.Value != nil {
		if _, again := h.values[*now.Value]; again {
			w.violatedLockedf("invariant 2: %s writes the state %s again, over %s", w.writerName(), *now.Value, textOf(old.Value))
		}
		h.values[*now.Value] = w.writer.name
	}
	if old.Holder == nil || old.Holder.Identity != w.writer.name {
		w.violatedLockedf("invariant 2: %s writes the state while %+v holds the lock", w.writerName(), old.Holder)
	}
}

// believes reports whether the owner of b believes that it holds the lock, and may.
func (w *world) believes(b *belief) bool {
	return !b.given && !w.locks[b.key].forced[b.held.ID()] && !b.owner.isDead() && b.held.Context().Err() == nil && w.left(b) > 0
}

// left is how long b lasts by its owner's clock.
func (w *world) left(b *belief) time.Duration { return b.held.Deadline().Sub(b.owner.now()) }

// believe takes a new hold in, and checks that nobody else has one.
func (w *world) believe(n *node, key string, held *kubelock.Held[string]) *belief {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &belief{owner: n, key: key, held: held}
	w.beliefs = append(w.beliefs, b)
	w.sayLockedf("%s: holds %s as %s with token %d and state %s for %v", n.name, key, held.ID(), held.Token(), stateOf(held), w.left(b))
	if !w.believes(b) {
		return b // Lost before it could be used.
	}
	for _, other := range w.beliefs {
		if other != b && other.key == key && w.believes(other) {
			w.violatedLockedf("invariant 4: %s holds %s while %s does, for %v more", held.ID(), key, other.held.ID(), w.left(other))
		}
	}
	h := w.locks[key]
	if !h.record.HeldBy(held.ID(), held.Token()) {
		w.violatedLockedf("invariant 1: %s believes in %s, but the object shows %+v", n.name, held.ID(), h.record.Holder)
		return b
	}
	if have := textOf(h.record.Value); have != stateOf(held) {
		w.violatedLockedf("invariant 2: %s was given the state %s, which is %s", held.ID(), stateOf(held), have)
	}
	return b
}

func stateOf(held *kubelock.Held[string]) string {
	if !held.Exists() {
		return "none"
	}
	return fmt.Sprintf("%q", held.Value())
}

func textOf(value *string) string {
	if value == nil {
		return "none"
	}
	return *value
}

// giveUp notes that the owner of b does not use the lock any more.
func (w *world) giveUp(b *belief) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.given = true
}

// lastRelease finds the lock ID and the token of the hold that a request's body says
// was the last.
var lastRelease = regexp.MustCompile(`(?s)last-?[rR]elease.{0,24}?\{"lockID":"([^"]+)","identity":"[^"]*","token":([0-9]+)`)

// checkRequest is invariant 10: nothing ends a hold whose context is not over. The
// token matters: a late copy of a request may be about an earlier hold of the same
// lock ID.
func (w *world) checkRequest(n *node, req *http.Request, body []byte) {
	if req.Method != http.MethodPut && req.Method != http.MethodPatch {
		return
	}
	ended := lastRelease.FindSubmatch(bytes.ReplaceAll(body, []byte(`\"`), []byte(`"`))) // Annotations are text in text.
	if ended == nil {
		return
	}
	ends := func(b *belief) bool {
		return b.held.ID() == string(ended[1]) && strconv.FormatInt(b.held.Token(), 10) == string(ended[2])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.beliefs {
		if b.owner == n && ends(b) && b.held.Context().Err() == nil && !n.isDead() {
			w.violatedLockedf("invariant 10: the release of %s was sent before its context was over", b.held.ID())
		}
	}
}

// wrote checks an operation that says that it wrote value, or, with an error, that it
// did not.
func (w *world) wrote(key, value string, err error, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sayLockedf("%s of %s: %s", what, value, outcome(err))
	stored := fmt.Sprintf("%q", value)
	_, done := w.locks[key].values[stored]
	switch {
	case err == nil && !done:
		w.violatedLockedf("invariant 7: %s of %s says that it was done", what, value)
	case err == nil, errors.Is(err, kubelock.ErrUnknownOutcome), errors.Is(err, kubelock.ErrClosed):
	default:
		w.forbidden = append(w.forbidden, write{key, stored, fmt.Sprintf("%s: %v", what, err)})
	}
}

// outcome is an error in the words of the contract. Which of several causes its text
// names can be a matter of chance.
func outcome(err error) string {
	for _, known := range []error{kubelock.ErrUnknownOutcome, kubelock.ErrLost, kubelock.ErrNotAcquired, kubelock.ErrClosed} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprint(err)
}

// finish checks what can only be checked when everything is over.
func (w *world) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.forbidden {
		if _, done := w.locks[f.key].values[f.value]; done {
			w.violatedLockedf("invariant 7: %s was written, but %s", f.value, f.why)
		}
	}
}

// describe is a version in one line.
func describe(c memapi.Commit, r protocol.Record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s@%d", c.Name, c.ResourceVersion)
	if c.Type == watch.Deleted {
		return b.String() + " deleted"
	}
	if h := r.Holder; h != nil {
		fmt.Fprintf(&b, " held by %s as %s token %d for %v until %s", h.Identity, h.LockID, h.Token, h.Duration, h.RenewTime.Add(h.Duration).Format("15:04:05.000000"))
	} else {
		b.WriteString(" free")
	}
	fmt.Fprintf(&b, ", state %s", textOf(r.Value))
	for _, text := range r.Waiters {
		waiter, _ := protocol.ParseWaiter(text)
		fmt.Fprintf(&b, ", waits %s as %s", waiter.Identity, waiter.LockID)
	}
	if l := r.LastRelease; l != nil {
		fmt.Fprintf(&b, "; %s of %s", l.Reason, l.LockID)
	}
	return b.String()
}

// byHand edits a lock as people do.
func (w *world) byHand(method, name, body string) {
	w.serving.Lock()
	defer w.serving.Unlock()
	w.handLocked(method, name, body)
}

// handLocked sends a request that no client has sent, and returns what it answers. It
// needs serving.
func (w *world) handLocked(method, name, body string) []byte {
	req, err := http.NewRequestWithContext(w.t.Context(), method, "http://simulated"+w.folder()+name, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Content-Type", string(types.MergePatchType))
	resp, err := w.server.RoundTrip(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer
}

// folder is the path of the objects.
func (w *world) folder() string {
	resource := w.kind.Resource()
	api := "/apis/" + resource.Group + "/"
	if resource.Group == "" {
		api = "/api/"
	}
	return api + resource.Version + "/namespaces/" + namespace + "/" + resource.Resource + "/"
}

// free takes the holder out of a lock by hand.
func (w *world) free(name string) {
	metadata := `"metadata":{"labels":{"kubelock.dev/holder":null},"annotations":{"kubelock.dev/holder":null}}`
	switch w.kind {
	case store.DistributedLocks:
		w.byHand(http.MethodPatch, name, `{"spec":{"holder":null},`+metadata+`}`)
	case store.Leases:
		w.byHand(http.MethodPatch, name, `{"spec":{"holderIdentity":null},`+metadata+`}`)
	default:
		w.byHand(http.MethodPatch, name, `{`+metadata+`}`)
	}
}

// emptyQueue takes all waiters out of a lock by hand.
func (w *world) emptyQueue(name string) {
	if w.kind == store.DistributedLocks {
		w.byHand(http.MethodPatch, name, `{"spec":{"waiters":null}}`)
		return
	}
	w.serving.Lock()
	defer w.serving.Unlock()
	var obj metav1.PartialObjectMetadata
	if err := json.Unmarshal(w.handLocked(http.MethodGet, name, ""), &obj); err != nil {
		w.t.Fatal(err)
	}
	waiters := map[string]any{}
	for annotation := range obj.Annotations {
		if strings.HasPrefix(annotation, "kubelock.dev/waiter-") {
			waiters[annotation] = nil
		}
	}
	if len(waiters) == 0 {
		return
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": waiters}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.handLocked(http.MethodPatch, name, string(patch))
}
