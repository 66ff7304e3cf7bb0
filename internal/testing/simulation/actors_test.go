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

// plan describes what happens in a simulation. It follows from the seed.
type plan struct {
	lease     time.Duration
	expiry    time.Duration
	keys      []string
	processes int
	callers   int // per process
	rounds    int // per caller
	holds     []time.Duration
	reaper    bool
	edits     bool // users edit and delete locks by hand
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
		edits:     w.harsh > 0 && r.IntN(4) == 0,
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
			p.lease = 10 * time.Second // With a shorter lease the client would give up every slow write.
		}
	}
	return p
}

// atMost returns the number of rounds per caller: at most rounds, at least least, and otherwise so many
// that all callers together have no more than total. Two short simulations find more than one that is
// twice as long.
func (p plan) atMost(total, least, rounds int) int {
	return min(rounds, max(least, total/(p.processes*p.callers)))
}

// run runs the simulation, and returns when all processes and the scene have ended.
func (w *world) run() {
	p := w.plan()
	w.sayf("seed %d: %+v, faults %v until %v, API servers' clocks %v", w.seed, p, w.harsh, w.calm.Sub(w.begun), w.clocks)
	stop := make(chan struct{})
	defer w.end()
	var background sync.WaitGroup
	if p.reaper {
		background.Go(func() { w.reap(stop) })
	}
	if p.edits {
		background.Go(func() { w.editByHand(p, stop) })
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
	// Every waiter must get the lock within this time after the last fault. A waiter may be delayed
	// several times by a lease and a grace, or by a dead entry in the queue. A process is idle once at
	// most, and so is the one that is started after its death.
	patience := 10*time.Minute + w.clockFaults.idle*time.Duration(2)
	select {
	case <-done:
	case <-time.After(time.Until(w.calm) + patience):
		w.violatedf("invariant 8: a client still waits %v after the last fault", patience)
		w.end()
		<-done
	}
	close(stop)
	background.Wait()
	w.timers.Wait()
	if w.ctx.Err() == nil {
		w.play()
	}
	w.finish()
}

// process runs a program that uses locks, and starts it again when it dies.
func (w *world) process(p plan, name string) {
	for life := uint64(0); ; life++ {
		pass(span(w.starts(name, life), 0, 20*time.Millisecond)) // Processes start one after the other.
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

// live runs a process once. It returns false if the process died.
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
	for i := range uint64(p.callers) { //nolint:gosec // There are few callers.
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

// pauses stops a node from time to time, for less and for more than a lease.
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

// editByHand edits and deletes locks as users would.
func (w *world) editByHand(p plan, stop <-chan struct{}) {
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
			if w.seed%3 == 0 {
				w.sayf("counted anew: %s", key)
				w.countAnew(key)
			}
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
	reaper := &controllers.Reaper{Kind: w.kind, Events: noEvents{}, ServerTime: clock, MaxClockSkew: maxClockSkew, Now: n.now}
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
