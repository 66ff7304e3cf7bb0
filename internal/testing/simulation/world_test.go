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
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/hooks"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/internal/testing/memapi"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

const (
	namespace    = "default"
	maxClockSkew = time.Second
)

// world is one simulation, with its API server and the records of its checks.
type world struct {
	t       testing.TB
	seed    uint64
	verbose bool
	rand    *rand.Rand // for choices before anything runs
	kind    store.Kind // the kind of the locks' objects
	begun   time.Time
	server  *memapi.Server
	clocks  [2]time.Duration // how far the API servers' clocks are off
	calm    time.Time        // when faults end
	ctx     context.Context  //nolint:containedctx // It ends with the simulation.
	end     context.CancelFunc
	harsh   float64 // how likely faults are
	slow    bool    // writes take seconds
	denials denials

	clockFaults clockFaults
	answering   time.Duration // by how much the clock of the API server that handles a request differs; guarded by serving

	serving sync.Mutex // one request at a time; protects writer
	writer  *node      // the node whose request is handled; nil for a manual edit

	timers group

	mu         sync.Mutex // protects the fields below
	transcript []string
	violations []string
	locks      map[string]*history
	beliefs    []*belief
	forbidden  []write // writes that must never be stored
	repairs    bool    // whether a scene repairs objects that cannot be read
}

// history has the facts about one key, across deletions of its object.
type history struct {
	record    protocol.Record // the newest version; it does not exist if there is no object
	lastToken int64
	// before is the largest version that a restore has undone and that a client may still know: see undo. A holder
	// that hands over the lock tests its own hold, and no version. So it may grant a token above that version.
	before int64
	values map[string]string // the writer of each value, over all time
	holds  int
	wiped  map[string]bool // values from before the last deletion of the object
	undone map[string]bool // values that a restore of etcd has undone: see undo
	forced map[string]bool // lock IDs of holds that a manual edit has ended
	rests  rests
}

// belief is a hold as its owner sees it: from the return of its acquisition until the owner gives it
// up.
type belief struct {
	owner *node
	key   string
	held  *kubelock.Held[string]
	begun time.Time
	given bool // whether its owner has given it up
}

var crd = sync.OnceValues(func() (*memapi.CRD, error) {
	data, err := os.ReadFile(filepath.Join("..", "..", "..", "config", "crd", "bases", "kubelock.dev_distributedlocks.yaml"))
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

// level returns how likely faults are at the moment.
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
	w.end() // Later violations may be consequences of this one.
	w.sayLockedf("VIOLATION: %s", text)
}

// after calls f after d, even if the node that caused it has died.
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

// committed checks each version of each object when it is stored.
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
		if now, err = w.kind.Decode(obj); err != nil && w.repairs && w.writer == nil {
			w.sayLockedf("%s cannot be read: %v", c.Name, err)
			return
		} else if err != nil {
			w.violatedLockedf("%s cannot be read: %v", c.Name, err)
			return
		}
		if label := obj.GetLabels()[v1alpha1.HolderLabel]; w.writer != nil && (now.Holder == nil || now.Holder.Foreign()) != (label == "") {
			w.violatedLockedf("invariant 1: %s is labelled %q and held by %+v", c.Name, label, now.Holder)
		}
	}
	h.record = now
	w.sayLockedf("%s: %s", w.writerName(), describe(c, now))

	if old.Exists() && now.UID != old.UID {
		h.wiped = map[string]bool{}
		for value := range h.values {
			h.wiped[value] = true
		}
	}
	ended := old.Holder != nil && (now.UID != old.UID || now.Holder == nil || !now.HeldBy(old.Holder.LockID, tokenOf(old)))
	began := now.Holder != nil && (ended || old.Holder == nil)
	w.checkTerminating(old, now, began)
	if began {
		w.checkToken(h, now, recorded(old), c.ResourceVersion)
	}
	if ended {
		w.checkEnd(h, old)
	}
	w.checkValue(h, old, now, c.ResourceVersion)
	w.checkStamp(old, now)
	w.checkRest(h, old, now, began, ended)
	if !began && !ended {
		w.checkWaiters(old, now)
	} else {
		w.checkQueue(old, now)
	}
}

func (w *world) writerName() string {
	if w.writer == nil {
		return "by hand"
	}
	return w.writer.name
}

// believes reports whether the owner of b believes that it holds the lock, and no manual edit has ended
// the hold.
func (w *world) believes(b *belief) bool {
	return !b.given && !w.locks[b.key].forced[b.held.ID()] && !b.owner.isDead() && b.held.Context().Err() == nil && w.left(b) > 0
}

// left returns how long b still lasts by its owner's clock.
func (w *world) left(b *belief) time.Duration { return b.held.Deadline().Sub(b.owner.now()) }

// believe records a new hold, and checks that no other client believes in a hold of the lock.
func (w *world) believe(n *node, key string, held *kubelock.Held[string]) *belief {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &belief{owner: n, key: key, held: held, begun: time.Now()}
	w.beliefs = append(w.beliefs, b)
	w.sayLockedf("%s: holds %s as %s with token %d and state %s for %v", n.name, key, held.ID(), held.Token(), stateOf(held), w.left(b))
	if !w.believes(b) {
		return b // The hold was lost before its owner could use it.
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

// giveUp records that the owner of b does not use the lock any more.
func (w *world) giveUp(b *belief) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b.given = true
}

// describe returns a version of an object in one line.
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
	unread := 0
	for _, text := range r.Waiters {
		if waiter, ok := protocol.ParseWaiter(text); ok {
			fmt.Fprintf(&b, ", waits %s as %s", waiter.Identity, waiter.LockID)
		} else {
			unread++
		}
	}
	if unread > 0 {
		fmt.Fprintf(&b, ", %d entries that cannot be read", unread)
	}
	if l := r.LastRelease; l != nil {
		fmt.Fprintf(&b, "; %s of %s", l.Reason, l.LockID)
	}
	return b.String()
}
