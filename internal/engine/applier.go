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
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

const (
	// maxBatch is how many calls of Apply one write carries at most, and maxBatchBytes how much state they may
	// make until no further call is added: others wait for the batch meanwhile.
	maxBatch      = 1024
	maxBatchBytes = 4 << 20
)

// errNothing says that no call of a batch has a change.
var errNothing = errors.New("there is nothing to apply")

// application is one call of Apply.
type application struct {
	fn       func(text *string) (*string, error)
	duration time.Duration
	turns    chan *string // what its fn is to be applied to next, on the call's own goroutine
	ended    chan outcome // how it has ended
	alone    bool         // it does not share a write: one that it shared was refused
	gone     bool         // its call does not wait any more; protected by applier.mu
	over     bool         // ended has said how; protected by applier.mu
	err      error        // of its fn, whose change is left out then; the applier's own
}

// outcome is how a batch has ended: one of them.
type outcome struct {
	result  *session.Result  // of its write
	failure *session.Failure // it got no turn
	nothing bool             // there was nothing to write
}

// computed is what the fn of an application has made of the state.
type computed struct {
	text *string
	err  error
	gone bool // it panicked, ended its goroutine, or its call has ended before
}

// applier has the calls of Apply that wait for one lock, in their order. When its turn comes they are applied one
// after another to the state as it is then, and one write stores what they make of it. For the
// session all of them are one caller. Those that come while a batch is under way are a second one.
type applier struct {
	driver  *driver
	answers chan reply    // of the session to its callers: a question and an end for each
	replies chan computed // of the application whose turn it is

	mu      sync.Mutex // protects the fields below
	running bool
	waiting []*application // those in the batch among them
	callers []int          // as which the session knows them, in their order
	batch   []*application // that is being computed, or was answered to the session; nil: none
	posted  bool           // it was answered
	current *application   // whose turn it is
}

// applications is what has the driver's calls of Apply.
func (d *driver) applications() *applier {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.applier == nil {
		d.applier = &applier{driver: d, answers: make(chan reply, 4), replies: make(chan computed, 1)}
	}
	return d.applier
}

// join lets a call wait. It returns false if the client is closed.
func (p *applier) join(a *application) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.running {
		d := p.driver
		d.pool.enter(d) // Until run ends.
		if !d.client.start(p.run) {
			d.pool.leave(d)
			return false
		}
		p.running = true
	}
	p.waiting = append(p.waiting, a)
	p.stand()
	return true
}

// stand has a caller stand in the session for the calls that wait, and another for those that
// are not in the batch.
func (p *applier) stand() {
	if n := len(p.callers); len(p.waiting) == 0 || n > 1 || n == 1 && (p.batch == nil || len(p.waiting) == len(p.batch)) {
		return
	}
	id := p.driver.client.number()
	p.callers = append(p.callers, id)
	p.driver.arrive(id, session.Want{Duration: p.waiting[len(p.batch)].duration, Apply: true}, p.driver.client.metrics.names.unnamed, p.answers)
}

// left is what becomes of a call that does not wait any more.
type left int

const (
	takenOut left = iota // its change is in no write
	isSent               // its change was sent, which cannot be taken back
	toldSoon             // application.ended says it at once
)

// leave ends the wait of a call.
func (p *applier) leave(a *application) left {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a.over {
		return toldSoon
	}
	a.gone = true
	if p.current == a { // It has not begun.
		p.current = nil
		p.replies <- computed{gone: true}
	}
	if len(p.waiting) == 1 { // The session says what is known of the write.
		p.giveUp()
		return toldSoon
	}
	in := p.posted && a.err == nil && slices.Contains(p.batch, a)
	p.waiting, p.batch = slices.DeleteFunc(p.waiting, is(a)), slices.DeleteFunc(p.batch, is(a))
	if !in {
		return takenOut
	}
	result := isSent
	d := p.driver
	d.client.drivers.ask(d.key, session.Event{Kind: session.Retract, Caller: p.callers[0], Op: d.client.number()}, func(r *session.Result) {
		if r.Kind == session.OK {
			result = takenOut
		}
	})
	return result
}

// giveUp ends the wait of the callers that stand in the session.
func (p *applier) giveUp() {
	for _, id := range p.callers {
		p.driver.post(session.Event{Kind: session.GiveUp, Caller: id})
	}
}

// is finds one application.
func is(a *application) func(*application) bool {
	return func(other *application) bool { return other == a }
}

// compute applies a call's fn, on the call's goroutine.
func (p *applier) compute(a *application, text *string) {
	reply := computed{gone: true} // If fn panics, or ends its goroutine.
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.current = nil
		p.replies <- reply
	}()
	next, err := a.fn(text)
	reply = computed{text: next, err: err}
}

// run does what the session asks of the callers that stand for the calls, until none waits.
func (p *applier) run() {
	defer p.driver.pool.leave(p.driver)
	for {
		switch r := <-p.answers; {
		case r.Kind == session.Check:
			p.check(r)
		case !p.end(r):
			return
		}
	}
}

// check applies all calls that wait to the state, and answers the session with what they make of it.
func (p *applier) check(r reply) {
	for answered := false; !answered; {
		batch, second := p.begin()
		if second != 0 { // No call is left that it would stand for.
			p.driver.post(session.Event{Kind: session.GiveUp, Caller: second})
		}
		change, err := p.applyAll(batch, r.Value)
		p.mu.Lock()
		// A call whose change is in, and which has gone since, takes it along.
		answered = !slices.ContainsFunc(batch, func(a *application) bool { return a.gone && a.err == nil })
		if p.posted = answered; answered { // At once: a call that goes from now on retracts what the session has.
			p.driver.post(session.Event{Kind: session.Checked, Caller: r.Caller, Change: change, Err: err})
		}
		p.mu.Unlock()
	}
}

// begin says which calls are applied now. second is the caller which stood for those that are among
// them, and 0 if it stands for others.
func (p *applier) begin() (batch []*application, second int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.waiting) && n < maxBatch && (n == 0 || !p.waiting[n].alone && !p.waiting[0].alone) {
		n++
	}
	p.batch, p.posted = slices.Clone(p.waiting[:n]), false
	if len(p.callers) > 1 && n == len(p.waiting) {
		second = p.callers[1]
	}
	return slices.Clone(p.batch), second
}

// applyAll applies the calls of a batch one after another. What one of them makes of the state is
// left out if its fn returns an error.
func (p *applier) applyAll(batch []*application, text *string) (protocol.Change, error) {
	change, bytes := protocol.Change{}, 0
	for i, a := range batch {
		if bytes > maxBatchBytes {
			p.shorten(batch[i:])
			break
		}
		switch next := p.turn(a, text); {
		case next.gone:
			a.err = errNothing
		case next.err != nil:
			a.err = next.err
		default:
			a.err = nil
			text, change.Write = next.text, true
			change.Value = text
			if text != nil {
				bytes += len(*text)
			}
		}
	}
	if !change.Write {
		return change, errNothing
	}
	return change, nil
}

// shorten leaves calls to the next batch.
func (p *applier) shorten(late []*application) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batch = slices.DeleteFunc(p.batch, func(a *application) bool { return slices.Contains(late, a) })
	p.stand()
}

// turn has one call apply its fn.
func (p *applier) turn(a *application, text *string) computed {
	p.mu.Lock()
	if a.gone {
		p.mu.Unlock()
		return computed{gone: true}
	}
	p.current = a
	a.turns <- text
	p.mu.Unlock()
	return <-p.replies
}

// end tells the calls how the turn of a caller has ended, and reports whether any waits still.
func (p *applier) end(r reply) (goesOn bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.callers, r.Caller); i == 0 {
		p.endFirst(r)
	} else if i > 0 {
		p.callers = slices.Delete(p.callers, i, i+1)
	}
	p.stand()
	if len(p.waiting) == 0 {
		p.giveUp()
	}
	p.running = len(p.callers) > 0
	return p.running
}

// endFirst tells the calls of the batch how it has ended, or all that wait that there is no turn.
func (p *applier) endFirst(r reply) {
	batch, written := p.batch, 0
	for _, a := range batch {
		if a.err == nil {
			written++
		}
	}
	p.callers, p.batch, p.posted = p.callers[1:], nil, false
	o := outcome{result: r.Result, failure: r.Failure}
	switch f := r.Failure; {
	case f == nil && r.Result.Kind == session.OK:
		p.driver.client.metrics.batch.Observe(float64(written))
	case f == nil && written > 1 && r.Result.Refused():
		part(batch)
		return
	case f == nil:
	case f.GaveUp:
		batch = slices.DeleteFunc(slices.Clone(p.waiting), func(a *application) bool { return !a.gone })
	case errors.Is(f.Err, errNothing) && !f.OutcomeUnknown:
		o = outcome{nothing: true}
	case batch == nil:
		batch = slices.Clone(p.waiting)
		for _, a := range batch {
			a.err = nil // It was of an earlier batch, which was not stored.
		}
	case written > 1 && !f.OutcomeUnknown:
		part(batch)
		return
	}
	for _, a := range batch {
		a.over = true
		a.ended <- o
	}
	p.waiting = slices.DeleteFunc(p.waiting, func(a *application) bool { return a.over })
}

// part lets each call of a batch that was refused try alone: one of them may be to blame.
func part(batch []*application) {
	for _, a := range batch {
		a.alone = true
	}
}
