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

package engine

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// driver returns the driver of a key; nil if there is none and create is not set. It is not
// forgotten before leave is called.
func (e *drivers) driver(k Key, create bool) *driver {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.byKey[k.name]
	switch {
	case d == nil && (!create || e.closed):
		return nil
	case d == nil:
		d = newDriver(e, k)
		e.byKey[k.name] = d
	}
	e.enterLocked(d)
	return d
}

// driver does what a session decides, and tells it what has happened: a monitor. Callers,
// watches, timers and answers post events; the effects are done before the next event, and none of them
// blocks.
type driver struct {
	pool   *drivers
	client *Client
	key    Key

	users int // protected by pool.mu, as is bytes
	bytes int // of its state when it became idle

	mu      sync.Mutex // protects the fields below
	session *session.Session
	random  *rand.Rand      // only to spread requests
	queue   []session.Event // that effects have caused
	timer   *time.Timer
	cancel  context.CancelFunc // of the request under way
	calls   map[int]*call      // that want the lock
	ops     map[int]func(*session.Result)
	applier *applier // protected by itself
	hold    *Hold    // that a caller believes in
	watch   session.Watch
	stop    func() // ends the watch
	counted bool   // Close waits for what it ends well

	place atomic.Int32 // of this client in the queue when it joined, from 1; 0: none, or there is no tracing
}

// call is a caller that waits for the lock.
type call struct {
	answers chan<- reply
	as      *series // how its hold is counted
}

// reply is what a caller gets: a question, or what ends its wait.
type reply struct {
	session.Effect
	granted *Hold
}

func newDriver(e *drivers, k Key) *driver {
	c := e.client
	return &driver{
		random: rand.New(rand.NewPCG(c.seed, c.numbers.Add(1))), //nolint:gosec // Only to spread requests.
		pool:   e, client: c, key: k, calls: map[int]*call{}, ops: map[int]func(*session.Result){},
		session: session.New(&session.Config{
			Object:       k.object,
			Key:          k.name,
			Identity:     c.Identity,
			Pod:          c.Pod,
			Client:       c.id,
			ObjectExpiry: c.ObjectExpiry,
			MaxClockSkew: c.MaxClockSkew,
		}),
	}
}

// quiet reports whether the session may be forgotten, and how much state it remembers.
func (d *driver) quiet() (quiet bool, bytes int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session.Quiet(), d.session.Bytes()
}

// post tells the session that something has happened. A session that was forgotten had no part in the
// lock, and does not get one: the client may have another session of the lock by now.
func (d *driver) post(e session.Event) {
	if !d.pool.enter(d) {
		return
	}
	defer d.pool.leave(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.postLocked(e)
}

// arrive tells the session of a caller, which does not let it be forgotten. answers has room for a question to
// the caller, and for what ends its wait meanwhile.
func (d *driver) arrive(id int, w session.Want, as *series, answers chan<- reply) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls[id] = &call{answers, as}
	d.postLocked(session.Event{Kind: session.Arrive, Caller: id, Want: w})
}

func (d *driver) postLocked(e session.Event) {
	for d.step(e); len(d.queue) > 0; d.step(e) {
		e = d.queue[0] // Before Delete, which clears it.
		d.queue = slices.Delete(d.queue, 0, 1)
	}
}

// step does what follows from one event.
func (d *driver) step(e session.Event) {
	c := d.client
	e.Now = c.now() // First: deadlines count from it.
	e.Server = c.server.Reading()
	e.Number = c.numbers.Add(1)
	e.Random = d.random.Float64()
	effects := d.session.Step(e)
	d.count(e.Kind)
	d.follow() // Before a request that makes the watch show something.
	for i := range effects {
		d.do(&effects[i])
	}
	at, ok := d.session.Wake()
	switch {
	case !ok && d.timer != nil:
		d.timer.Stop()
	case !ok:
	case d.timer == nil:
		d.timer = time.AfterFunc(at.Sub(e.Now), d.tick)
	default:
		d.timer.Reset(at.Sub(e.Now))
	}
}

func (d *driver) tick() { d.post(session.Event{Kind: session.Tick}) }

// count lets Close wait while the session ends well what was begun. Once the client is closed only
// what a call leaves behind counts: the call itself counts until then.
func (d *driver) count(kind session.EventKind) {
	busy := d.session.Busy()
	switch {
	case busy && !d.counted:
		d.counted = d.client.expect(kind == session.GiveUp)
	case !busy && d.counted:
		d.counted = false
		d.client.calls.Done()
	}
}

// follow opens the watch that the session wants, and ends another.
func (d *driver) follow() {
	want := d.session.Watch()
	if want == d.watch {
		return
	}
	stop := d.stop
	d.watch, d.stop = want, nil
	if want != session.WatchNone {
		var err error
		if d.stop, err = d.client.watches.follow(d, want == session.WatchLock); err != nil {
			d.watch = session.WatchNone
			d.queue = append(d.queue, session.Event{Kind: session.WatchLost, Err: err})
		}
	}
	if stop != nil {
		stop()
	}
}

// do does one effect.
func (d *driver) do(e *session.Effect) {
	switch e.Kind {
	case session.Send:
		d.send(e.Request)
	case session.Cancel:
		d.cancel()
	case session.Check, session.Fail, session.Applied:
		d.tell(*e)
	case session.Grant:
		d.hold = newHold(d, e, d.calls[e.Caller].as)
		d.client.checkLabel(*e.Record)
		if e.Granted {
			d.hold.as.handed.Inc()
		}
		d.tell(*e)
	case session.Extend:
		d.hold.extend(e.Deadline)
	case session.Lose:
		d.hold.lose()
		d.hold = nil
	case session.Done:
		d.done(e.Op, e.Result)
	case session.Believe:
		d.client.access.Believe(e.Err)
	}
}

// tell tells a caller that waits for the lock.
func (d *driver) tell(e session.Effect) {
	c, r := d.calls[e.Caller], reply{Effect: e}
	if e.Kind != session.Check {
		delete(d.calls, e.Caller)
	}
	if e.Kind == session.Grant {
		r.granted = d.hold
	}
	c.answers <- r
}

// done tells a holder what became of its call.
func (d *driver) done(op int, r *session.Result) {
	if op == 0 { // A renewal in the background.
		d.hold.as.renew.Observe(r.Took.Seconds())
		if r.Kind != session.OK {
			d.client.Log.Error(updateError(d.client.ctx, d.client, d.key, r), "Could not renew a lock, will retry until its lease ends",
				"key", d.key.name, "lockID", d.hold.lockID)
		}
		return
	}
	done := d.ops[op]
	delete(d.ops, op)
	done(r)
}

// send sends a request, whose answer it posts.
func (d *driver) send(r *session.Request) {
	c := d.client
	life := c.writes // What a write did is worth knowing also for callers that went away.
	if (r.Kind == session.Read || r.Kind == session.Ask) && !r.Closing {
		life = c.ctx
	}
	ctx, cancel := context.WithTimeout(life, r.Timeout)
	d.cancel = cancel
	ok := c.launch(r.Closing, func() {
		defer cancel()
		answered := d.perform(ctx, r)
		d.post(session.Event{Kind: session.Answer, Answered: answered})
	})
	if !ok {
		cancel()
		d.queue = append(d.queue, session.Event{Kind: session.Answer, Answered: session.Answered{
			Request: r.ID, Reply: session.Reply{Outcome: protocol.Rejected}, Err: ErrClosed,
		}})
	}
}
