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
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// A scene follows the random part of each seed, after the last fault. It has a lock and clients of its
// own, and one rare situation. So it can check within what time each waiter has the lock, and how many
// requests each client sends.

const (
	scenesStream = 1<<28 + 1
	// minute is how often a waiter reads a lock that does not change.
	minute = time.Minute
	// slack is the time for everything else: requests, pauses between them, and watches that are opened
	// again.
	slack = 5 * time.Second
	// hasty is the largest number of requests that a client of a scene may send within a second.
	hasty = 60
)

// scene is a lock with its clients.
type scene struct {
	*world
	rand    *rand.Rand
	key     string
	lease   time.Duration
	members []*member
	reaped  bool // whether a reaper runs
}

// member is a client of a scene, on a node of its own.
type member struct {
	*node
	scene  *scene
	client *kubelock.Client
	lock   *kubelock.Lock[string]
	ctx    context.Context //nolint:containedctx // It ends when the member dies.
	kill   context.CancelFunc
	writes int
}

// play runs the seed's scene.
func (w *world) play() {
	r := rand.New(rand.NewPCG(w.seed, scenesStream))
	scenes := []func(*scene){(*scene).freed, (*scene).restored, (*scene).copied, (*scene).junkEntries}
	if w.kind != store.DistributedLocks {
		scenes = append(scenes, (*scene).absurd, (*scene).absurd) //nolint:gocritic // Twice as likely.
	}
	if w.kind == store.Leases {
		scenes = append(scenes, (*scene).elected)
	}
	s := &scene{world: w, rand: r, key: "scene", lease: span(r, time.Second, 30*time.Second), reaped: r.IntN(2) == 0}
	w.calm = time.Now().Add(-1)
	chosen := scenes[r.IntN(len(scenes))]
	stop := make(chan struct{})
	var background sync.WaitGroup
	if s.reaped {
		background.Go(func() { w.reap(stop) })
	}
	chosen(s)
	close(stop)
	background.Wait()
	for _, m := range s.members {
		m.kill()
		if err := m.client.Close(); err != nil {
			w.violatedf("Close: %v", err)
		}
		m.inFlight.Wait()
	}
	w.timers.Wait()
}

// join adds a client to the scene.
func (s *scene) join(cfg kubelock.Config) *member {
	m := &member{node: &node{world: s.world, name: fmt.Sprintf("s%d", len(s.members)), steady: true}, scene: s}
	m.clock = span(s.rand, -3*time.Hour, 3*time.Hour)
	if cfg.LockDuration == 0 {
		cfg.LockDuration = s.lease
	}
	cfg.MaxClockSkew = maxClockSkew
	m.client = s.client(m.node, cfg)
	m.lock = kubelock.NewLock[string](m.client, s.key)
	m.ctx, m.kill = context.WithCancel(s.ctx)
	s.members = append(s.members, m)
	return m
}

// dies ends a member as a crash would: it sends nothing more.
func (m *member) dies() {
	m.die()
	m.scene.sayf("%s: DIES", m.name)
	m.kill()
}

// randomBetween returns a random number between first and last, inclusive.
func (s *scene) randomBetween(first, last int) int { return first + s.rand.IntN(last-first+1) }

// over reports whether the simulation has ended.
func (s *scene) over() bool { return s.ctx.Err() != nil }

// mustAcquire makes the member acquire the lock, which must succeed within that time.
func (m *member) mustAcquire(within time.Duration, opts ...kubelock.Option) *turn {
	t := m.queue(0, opts...)
	m.scene.mustHaveBy(t, time.Now().Add(within), "a client that came")
	return t
}

// turn is one use of the lock by a member: it waits for the lock, holds it for a while, and releases it.
type turn struct {
	*member
	asked time.Time
	had   chan struct{} // closed when the member has the lock
	done  chan struct{} // closed when the turn is over
	at    time.Time     // when the member got the lock
	held  *kubelock.Held[string]
	b     *belief
	err   error
}

// queue begins a turn. The member releases the lock after hold. If hold is 0, it waits for a call of
// release.
func (m *member) queue(hold time.Duration, opts ...kubelock.Option) *turn {
	t := &turn{member: m, asked: time.Now(), had: make(chan struct{}), done: make(chan struct{})}
	m.scene.timers.Go(func() {
		defer close(t.done)
		t.held, t.err = m.lock.Acquire(m.ctx, opts...)
		if t.err != nil {
			m.scene.sayf("%s: Acquire: %s", m.name, outcome(t.err))
			if m.ctx.Err() == nil {
				m.scene.violatedf("%s: Acquire ended before its context: %v", m.name, t.err)
			}
			return
		}
		t.at = time.Now()
		t.b = m.scene.believe(m.node, m.scene.key, t.held)
		close(t.had)
		if hold > 0 {
			pass(hold)
			_ = t.release()
		}
	})
	return t
}

// release releases the lock with a new state.
func (t *turn) release() error {
	if t.b == nil || t.scene.over() {
		return nil
	}
	t.scene.giveUp(t.b)
	t.writes++
	v := fmt.Sprintf("%s:%d", t.name, t.writes)
	err := t.held.Update(v).Release(t.ctx)
	if !t.isDead() {
		t.scene.wrote(t.scene.key, v, err, t.name+": Release")
	}
	return err
}

// mustRelease releases the lock, and reports an error as a violation.
func (t *turn) mustRelease() {
	if err := t.release(); err != nil && t.ctx.Err() == nil {
		t.scene.violatedf("invariant of scenes: %s could not release the lock: %v", t.name, err)
	}
}

// mustHaveBy waits until the turn has the lock, which must be by then.
func (s *scene) mustHaveBy(t *turn, then time.Time, who string) {
	timer := time.NewTimer(time.Until(then))
	defer timer.Stop()
	select {
	case <-t.had:
		if time.Now().After(then) { // Both may happen at the same instant.
			s.violatedf("invariant of scenes: %s, %s, had the lock %v too late", who, t.name, time.Since(then))
		}
	case <-s.ctx.Done():
	case <-t.done:
	case <-timer.C:
		s.violatedf("invariant of scenes: %s, %s, has waited for %v, which is too long", who, t.name, time.Since(t.asked))
	}
}

// oneMustHaveBy waits until one of the turns has the lock, which must be by then.
func (s *scene) oneMustHaveBy(turns []*turn, then time.Time, who string) {
	for {
		for _, t := range turns {
			select {
			case <-t.had:
				return
			default:
			}
		}
		if s.over() {
			return
		}
		if time.Now().After(then) {
			s.violatedf("invariant of scenes: %s do not have the lock, the first of them has waited for %v", who, time.Since(turns[0].asked))
			return
		}
		pass(50 * time.Millisecond)
	}
}

// end waits until the turns are over.
func (s *scene) end(turns []*turn) {
	for _, t := range turns {
		select {
		case <-t.done:
		case <-s.ctx.Done():
			return
		}
	}
}

// cutOff delays all messages from and to a node for a while.
func (n *node) cutOff(d time.Duration) {
	n.mu.Lock()
	n.cut = time.Now().Add(d)
	watches := n.watches
	n.mu.Unlock()
	for i, watch := range watches {
		n.world.after(time.Duration(i+1)*time.Microsecond, func() { watch.end(errLost) })
	}
}

func (n *node) isCut() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Now().Before(n.cut)
}

// counts has the numbers of a member's requests.
type counts struct {
	second   int64
	inSecond int
	reads    int // reads of the lock
}

// count counts a request, and checks the invariant that no client sends many requests at once. It needs
// serving.
func (n *node) count(req *http.Request) {
	if !n.steady {
		return
	}
	n.mu.Lock()
	c := &n.counts
	if now := int64(n.world.at() / time.Second); now != c.second {
		c.second, c.inSecond = now, 0
	}
	c.inSecond++
	if req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/scene") {
		c.reads++
	}
	many := c.inSecond
	n.mu.Unlock()
	if many > hasty {
		n.world.violatedf("invariant of scenes: %s has sent %d requests within a second", n.name, many)
	}
}

func (n *node) reads() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.counts.reads
}

// put creates an object from a record by hand, as a copy from another cluster would.
func (w *world) put(r protocol.Record) {
	w.serving.Lock()
	defer w.serving.Unlock()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(w.kind.Encode(r))
	if err != nil {
		w.t.Fatal(err)
	}
	resource := w.kind.Resource()
	content["apiVersion"] = resource.GroupVersion().String()
	content["kind"] = map[store.Kind]string{store.DistributedLocks: "DistributedLock", store.Leases: "Lease", store.ConfigMaps: "ConfigMap"}[w.kind]
	body, err := json.Marshal(content)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mustSendByHandLocked(http.MethodPost, "", string(body))
}

// mustSendByHandLocked is sendByHandLocked for a request that the API server must accept.
func (w *world) mustSendByHandLocked(method, name, body string) []byte {
	answer := w.sendByHandLocked(method, name, body)
	var status metav1.Status
	if err := json.Unmarshal(answer, &status); err != nil || status.Kind == "Status" && status.Status == metav1.StatusFailure {
		w.t.Fatal(errors.Join(err, fmt.Errorf("%s %s %s: %s", method, name, body, answer)))
	}
	return answer
}

// edit changes the lock's object by hand, with the merge patch that change returns.
func (w *world) edit(name string, change func(now metav1.PartialObjectMetadata) map[string]any) {
	w.serving.Lock()
	defer w.serving.Unlock()
	var now metav1.PartialObjectMetadata
	if err := json.Unmarshal(w.mustSendByHandLocked(http.MethodGet, name, ""), &now); err != nil {
		w.t.Fatal(err)
	}
	patch, err := json.Marshal(change(now))
	if err != nil {
		w.t.Fatal(err)
	}
	w.mustSendByHandLocked(http.MethodPatch, name, string(patch))
}

// annotate changes annotations by hand.
func (w *world) annotate(name string, annotations map[string]any) {
	w.edit(name, func(metav1.PartialObjectMetadata) map[string]any {
		return map[string]any{"metadata": map[string]any{"annotations": annotations}}
	})
}
