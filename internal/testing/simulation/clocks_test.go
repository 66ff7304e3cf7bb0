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
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// Faults of clocks: proxies that write the Date of each answer by a wrong clock, load balancers that
// answer instead of the server, and clients that are idle for so long that their bounds of the server's
// time have become wide.

const (
	clocksStream = 1<<27 + 1
	// exact is how far a stamp may be ahead of the server's time: by the largest delay of an answer.
	exact = 40 * time.Second
)

// clockFaults are the faults of clocks in a simulation.
type clockFaults struct {
	liars bool // whether some nodes are behind proxies with wrong clocks
	idle  time.Duration
}

func (w *world) drawClockFaults() {
	r := rand.New(rand.NewPCG(w.seed, clocksStream))
	w.clockFaults.liars = r.IntN(3) == 0
	if r.IntN(6) == 0 {
		w.clockFaults.idle = span(r, 24*time.Hour, 30*time.Hour)
	}
}

// proxy returns by how much the clock of a node's proxy is wrong.
func (w *world) proxy(n *node) time.Duration {
	r := rand.New(rand.NewPCG(w.seed, hash(n.name)+clocksStream))
	if !w.clockFaults.liars || r.IntN(3) == 0 {
		return 0
	}
	return span(r, -time.Minute, time.Minute)
}

// page turns an answer into one of a load balancer with a clock of its own.
func (w *world) page(resp *http.Response, f fate) {
	resp.Header.Del("Audit-Id")
	resp.Header.Set("Date", time.Now().Add(w.clocks[0]+span(f.rand, -time.Hour, time.Hour)).UTC().Format(http.TimeFormat))
}

// rest makes a caller idle for a long time, once.
func (c *caller) rest() {
	if c.clockFaults.idle > 0 && !c.idled && c.rand.IntN(2) == 0 {
		c.idled = true
		c.sayf("%s: idle for %v", c.name, c.clockFaults.idle)
		pass(c.clockFaults.idle)
	}
}

// checkStamp checks that a stamp by the server's clock is not much later than that clock: other clients
// would wait that much longer for a dead holder. It needs w.mu.
func (w *world) checkStamp(old, now protocol.Record) {
	h := now.Holder
	if w.writer == nil || w.clockFaults.liars || h == nil || h.Source != protocol.Server {
		return
	}
	if old.Holder != nil && old.Holder.RenewTime.Equal(h.RenewTime) {
		return
	}
	if ahead := h.RenewTime.Sub(time.Now().Add(w.clocks[1])); ahead > exact {
		w.violatedLockedf("%s stamps %v ahead of the server's time", w.writerName(), ahead)
	}
}
