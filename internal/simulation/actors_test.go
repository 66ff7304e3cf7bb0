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
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// plan is what a simulation lets happen, as its seed says.
type plan struct {
	lease     time.Duration
	expiry    time.Duration
	keys      []string
	processes int
	callers   int // of each process
	rounds    int // of each caller
	holds     []time.Duration
	reaper    bool
	hands     bool
	crashes   bool
	loops     bool // callers come back for the same lock right after each release
	proxies   bool // some processes never learn the API servers' time
}

func (w *world) plan() plan {
	r := w.rand
	p := plan{
		lease:     []time.Duration{time.Second, 3 * time.Second, 10 * time.Second}[r.IntN(3)],
		keys:      []string{"one", "two"}[:1+r.IntN(4)/3],
		processes: 2 + r.IntN(4),
		callers:   1 + r.IntN(3)/2*r.IntN(3),
		rounds:    2 + r.IntN(5),
		reaper:    r.IntN(2) == 0,
		hands:     w.harsh > 0 && r.IntN(4) == 0,
		crashes:   w.harsh > 0 && r.IntN(2) == 0,
	}
	p.rounds = p.atMost(14, 2, p.rounds)
	p.holds = []time.Duration{time.Millisecond, 50 * time.Millisecond, p.lease / 3, p.lease * 6 / 5}
	if r.IntN(3) == 0 {
		p.expiry = 20 * time.Second
	}
	if loops := rand.New(rand.NewPCG(w.seed, 1<<20)); loops.IntN(8) == 0 {
		p.loops, p.rounds = true, p.atMost(24, 4, 6+loops.IntN(5))
		p.holds = append(p.holds, time.Millisecond, time.Millisecond, time.Millisecond, time.Millisecond)
	}
	if proxies := rand.New(rand.NewPCG(w.seed, 1<<21)); proxies.IntN(4) == 0 {
		p.proxies = true
		if w.slow = proxies.IntN(2) == 0; w.slow {
			p.lease = 10 * time.Second // Else every slow write is given up.
		}
	}
	return p
}

// atMost is how many rounds each caller has if it wants so many, for all to have no more
// than total, but each at least least: of two short worlds more is learned than of one
// that is twice as long.
func (p plan) atMost(total, least, rounds int) int {
	return min(rounds, max(least, total/(p.processes*p.callers)))
}

// run lets a plan happen, and returns when everything is over.
func (w *world) run() {
	p := w.plan()
	w.sayf("seed %d: %+v, faults %v until %v, API servers' clocks %v", w.seed, p, w.harsh, w.calm.Sub(w.begun), w.clocks)
	stop := make(chan struct{})
	defer w.end()
	var background sync.WaitGroup
	if p.reaper {
		background.Go(func() { w.reap(stop) })
	}
	if p.hands {
		background.Go(func() { w.meddle(p, stop) })
	}
	if w.deletions() {
		background.Go(func() { w.deleteSlowly(p, stop) })
	}

	var processes sync.WaitGroup
	for i := range p.processes {
		processes.Go(func() { w.process(p, fmt.Sprintf("p%d", i)) })
	}
	done := make(chan struct{})
	go func() { processes.Wait(); close(done) }()
	// Every waiter has the lock within this time after the last fault: each may be kept
	// from it by a lease and a grace, or by a dead entry of the queue, several times.
	patience := 10*time.Minute + w.clockFaults.idle*time.Duration(2) // A life is idle once at most, and so is the next.
	select {
	case <-done:
	case <-time.After(time.Until(w.calm) + patience):
		w.violatedf("invariant 8: somebody still waits %v after the last fault", patience)
		w.end()
		<-done
	}
	close(stop)
	background.Wait()
	w.timers.Wait()
	w.finish()
}

// process is a program that uses locks, and is started again when it dies.
func (w *world) process(p plan, name string) {
	for life := uint64(0); ; life++ {
		pass(span(w.starts(name, life), 0, 20*time.Millisecond)) // One after the other.
		n := &node{world: w, name: fmt.Sprintf("%s.%d", name, life)}
		r := rand.New(rand.NewPCG(w.seed, hash(n.name)+1<<19))
		n.clock = span(r, -3*time.Hour, 3*time.Hour)
		n.dateless = p.proxies && w.starts(name, 1<<10).IntN(2) == 0
		if life > 0 && p.crashes {
			pass(span(r, time.Millisecond, 5*time.Second))
		}
		if w.live(p, n, r) {
			return
		}
	}
}

func (w *world) starts(name string, life uint64) *rand.Rand {
	return rand.New(rand.NewPCG(w.seed, hash(name)+life+1<<14))
}

// live is one life of a process. It returns false if the process died.
func (w *world) live(p plan, n *node, r *rand.Rand) (ended bool) {
	c := w.client(n, kubelock.Config{LockDuration: p.lease, ObjectExpiry: p.expiry, MaxClockSkew: maxClockSkew})
	ctx, kill := context.WithCancel(w.ctx)
	defer kill()
	if p.crashes && r.IntN(2) == 0 {
		if left := time.Until(w.calm); left > 0 {
			crash := time.AfterFunc(span(r, 0, left), func() {
				n.die()
				w.sayf("%s: DIES", n.name)
				kill()
			})
			defer crash.Stop()
		}
	}
	stop := make(chan struct{})
	var pauses sync.WaitGroup
	pauses.Go(func() { w.pauses(n, p, rand.New(rand.NewPCG(w.seed, hash(n.name)+1<<18)), stop) })
	var callers sync.WaitGroup
	for i := range uint64(p.callers) { //nolint:gosec // They are few.
		caller := &caller{world: w, plan: p, node: n, client: c, name: fmt.Sprintf("%s/%d", n.name, i),
			rand: rand.New(rand.NewPCG(w.seed, hash(n.name)+1<<17+i))}
		callers.Go(func() { caller.run(ctx) })
	}
	callers.Wait()
	close(stop)
	pauses.Wait()
	if err := c.Close(); err != nil {
		w.violatedf("Close: %v", err)
	}
	w.timers.Go(n.inFlight.Wait)
	return !n.isDead() || w.ctx.Err() != nil
}

// pauses stops a node now and then, for less and for more than a lease.
func (w *world) pauses(n *node, p plan, r *rand.Rand, stop <-chan struct{}) {
	for w.harsh > 0 {
		select {
		case <-stop:
			return
		case <-time.After(span(r, time.Second, time.Minute)):
		}
		if time.Now().After(w.calm) {
			return
		}
		d := span(r, 100*time.Millisecond, 3*p.lease)
		w.sayf("%s: paused for %v", n.name, d)
		n.pause(d)
	}
}

// meddle edits and deletes locks by hand.
func (w *world) meddle(p plan, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(w.seed, 1<<16))
	for {
		select {
		case <-stop:
			return
		case <-time.After(span(r, time.Second, 40*time.Second)):
		}
		if time.Now().After(w.calm) {
			return
		}
		key := p.keys[r.IntN(len(p.keys))]
		switch r.IntN(6) {
		case 0:
			w.sayf("deleted by hand: %s", key)
			w.byHand(http.MethodDelete, key, "")
		case 1:
			w.sayf("freed by hand: %s", key)
			w.free(key)
		case 2:
			w.sayf("annotated by hand: %s", key)
			w.byHand(http.MethodPatch, key, fmt.Sprintf(`{"metadata":{"annotations":{"note":"%v"}}}`, w.at()))
		case 3:
			w.sayf("queue emptied by hand: %s", key)
			w.emptyQueue(key)
		case 4:
			w.sayf("history compacted, watches cut")
			w.server.Compact()
			w.server.CutWatches()
		case 5:
			w.server.AdvanceRevision(1 + r.Int64N(100))
		}
	}
}

// caller is one goroutine of a process.
type caller struct {
	*world
	plan   plan
	node   *node
	client *kubelock.Client
	name   string
	rand   *rand.Rand
	writes int
	idled  bool
}

// sayf adds to the transcript what the caller has seen. The dead say nothing.
func (c *caller) sayf(format string, args ...any) {
	if !c.node.isDead() {
		c.world.sayf(format, args...)
	}
}

// wrote checks what the caller was told of a write.
func (c *caller) wrote(key, value string, err error, what string) {
	if !c.node.isDead() {
		c.world.wrote(key, value, err, what)
	}
}

// value is a state that nobody else writes.
func (c *caller) value() string {
	c.writes++
	return fmt.Sprintf("%s#%d", c.name, c.writes)
}

func (c *caller) run(ctx context.Context) {
	for range c.plan.rounds {
		again := c.plan.loops && c.rand.IntN(20) > 0
		if !again {
			pass(span(c.rand, 0, 300*time.Millisecond))
		}
		c.rest()
		key := c.plan.keys[c.rand.IntN(len(c.plan.keys))]
		l := kubelock.NewLock[string](c.client, key)
		switch x := c.rand.IntN(20); {
		case again:
			c.acquire(ctx, l, key)
		case x < 10:
			c.acquire(ctx, l, key)
		case x < 12:
			c.try(ctx, l, key)
		case x < 15:
			c.do(ctx, l, key)
		case x < 17:
			c.wait(ctx, l)
		case x < 18:
			_, err := l.Get(ctx)
			c.sayf("%s: Get: %s", c.name, outcome(err))
		case x < 19:
			c.delete(ctx, l, key)
		default:
			pass(span(c.rand, 0, 2*c.plan.lease))
		}
		if c.node.isDead() || c.ctx.Err() != nil {
			return
		}
	}
}

func (c *caller) options() (opts []kubelock.Option) {
	if c.rand.IntN(4) == 0 {
		opts = append(opts, kubelock.WithAutoRenew())
	}
	if c.rand.IntN(4) == 0 {
		opts = append(opts, kubelock.WithDuration(span(c.rand, 500*time.Millisecond, 2*c.plan.lease)))
	}
	return opts
}

// patient returns a context that may end before the lock is there.
func (c *caller) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.rand.IntN(3) > 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, span(c.rand, 10*time.Millisecond, 20*time.Second))
}

func (c *caller) acquire(ctx context.Context, l *kubelock.Lock[string], key string) {
	waitCtx, cancel := c.patient(ctx)
	defer cancel()
	held, err := l.Acquire(waitCtx, c.options()...)
	if err != nil {
		c.sayf("%s: Acquire: %s", c.name, outcome(err))
		if waitCtx.Err() == nil && !c.node.isDead() {
			c.unexpected("Acquire", err)
		}
		return
	}
	c.use(ctx, held, key)
}

func (c *caller) try(ctx context.Context, l *kubelock.Lock[string], key string) {
	held, err := l.TryAcquire(ctx, c.options()...)
	if err != nil {
		c.sayf("%s: TryAcquire: %s", c.name, outcome(err))
		return
	}
	c.use(ctx, held, key)
}

// unexpected reports an error that nothing explains but a fault which the library
// should have dealt with.
func (c *caller) unexpected(what string, err error) {
	c.violatedf("%s: %s ended before its context: %v", c.name, what, err)
}

// use holds a lock for a while, and releases it, or not.
func (c *caller) use(ctx context.Context, held *kubelock.Held[string], key string) {
	b := c.believe(c.node, key, held)
	// pause holds the lock for a while, or until it is lost.
	pause := func() {
		select {
		case <-time.After(c.plan.holds[c.rand.IntN(len(c.plan.holds))]):
		case <-held.Context().Done():
		}
	}
	pause()
	for c.rand.IntN(3) == 0 {
		if c.rand.IntN(2) == 0 {
			c.save(ctx, b, held, key)
		} else if err := held.Renew(ctx); err != nil {
			c.sayf("%s: Renew: %s", c.name, outcome(err))
		}
		pause()
	}
	switch x := c.rand.IntN(10); {
	case x == 0: // Forgotten.
		select {
		case <-held.Context().Done():
		case <-ctx.Done():
		case <-time.After(2 * c.plan.lease): // It may be renewed for ever.
			c.release(ctx, b, held, key)
		}
	case x < 3:
		c.giveUp(b)
		err := held.Clear().Release(ctx)
		c.sayf("%s: Release without state: %s", c.name, outcome(err))
	default:
		c.release(ctx, b, held, key)
	}
	c.giveUp(b)
}

func (c *caller) release(ctx context.Context, b *belief, held *kubelock.Held[string], key string) {
	releaseCtx, cancel := ctx, func() {}
	if c.rand.IntN(5) == 0 {
		releaseCtx, cancel = context.WithTimeout(ctx, span(c.rand, time.Millisecond, time.Second))
	}
	defer cancel()
	v := c.value()
	c.giveUp(b)
	err := held.Update(v).Release(releaseCtx)
	c.wrote(key, v, err, c.name+": Release")
	c.freed(held, key, err)
	if err != nil && !errors.Is(err, kubelock.ErrLost) && !c.node.isDead() && c.rand.IntN(2) == 0 {
		again := held.Release(ctx)
		c.sayf("%s: Release again: %s", c.name, outcome(again))
		if again == nil || errors.Is(again, kubelock.ErrLost) {
			c.wrote(key, v, again, c.name+": Release again")
		}
	}
}

func (c *caller) do(ctx context.Context, l *kubelock.Lock[string], key string) {
	waitCtx, cancel := c.patient(ctx)
	defer cancel()
	v, entered := c.value(), false
	_, err := l.Do(waitCtx, func(ctx context.Context, _ string) (string, error) {
		entered = true
		select {
		case <-time.After(c.plan.holds[c.rand.IntN(3)]):
		case <-ctx.Done():
		}
		return v, nil
	}, c.options()...)
	if entered || err == nil {
		c.wrote(key, v, err, c.name+": Do")
	} else {
		c.sayf("%s: Do: %s", c.name, outcome(err))
	}
}

func (c *caller) wait(ctx context.Context, l *kubelock.Lock[string]) {
	ctx, cancel := c.patient(ctx)
	defer cancel()
	s, err := l.Wait(ctx)
	c.sayf("%s: Wait: %+v, %s", c.name, s, outcome(err))
	if err != nil && ctx.Err() == nil && !c.node.isDead() {
		c.unexpected("Wait", err)
	}
}

func (c *caller) delete(ctx context.Context, l *kubelock.Lock[string], key string) {
	ctx, cancel := c.patient(ctx)
	defer cancel()
	before := c.stored(key)
	err := l.Delete(ctx)
	c.sayf("%s: Delete: %s", c.name, outcome(err))
	if err == nil && !c.node.isDead() {
		c.deleted(c.name, key, before)
	}
	if err != nil && ctx.Err() == nil && !c.node.isDead() {
		c.unexpected("Delete", err)
	}
}

// reap runs the reaper.
func (w *world) reap(stop <-chan struct{}) {
	n := &node{world: w, name: "reaper", clock: span(rand.New(rand.NewPCG(w.seed, 1<<15)), -3*time.Hour, 3*time.Hour)}
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), clientgoscheme.AddToScheme(scheme)); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	config := n.config()
	clock := &servertime.Clock{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return clock.Transport(next, n.now) })
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Logger:                 logr.Discard(),
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
		MapperProvider:         mapper,
	})
	if err != nil {
		w.violatedf("the reaper: %v", err)
		return
	}
	reaper := &controllers.Reaper{Kind: w.kind, Client: mgr.GetClient(), Live: mgr.GetAPIReader(), Events: noEvents{}, ServerTime: clock, MaxClockSkew: maxClockSkew, Now: n.now}
	if err := reaper.SetupWithManager(mgr); err != nil {
		w.violatedf("the reaper: %v", err)
		return
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	<-stop
	cancel()
	if err := <-ended; err != nil {
		w.sayf("the reaper ended with %v", err)
	}
	n.inFlight.Wait()
}
