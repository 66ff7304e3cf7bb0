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

package session

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// applying has caller 1 come, which makes "one" of the state of a free lock, and returns what it sends.
func (x *script) applying() *Request {
	x.t.Helper()
	x.step(Event{Kind: Arrive, Caller: 1, Want: Want{Duration: time.Minute, Apply: true}})
	x.answer(x.request(Read), x.free())
	x.the(Check)
	made := "one"
	x.step(Event{Kind: Checked, Caller: 1, Change: protocol.Change{Write: true, Value: &made}})
	return x.the(Send).Request
}

// lose has a request get no answer.
func (x *script) lose(r *Request) {
	x.t.Helper()
	x.step(Event{Kind: Answer, Answered: Answered{Request: r.ID, Reply: Reply{Outcome: protocol.Unknown, Err: errors.New("lost")}}})
}

func (x *script) free() protocol.Record { return protocol.Record{Name: "k", Key: "k"} }

// TestApplyIsDoubtedThoughItsObjectWasDeleted has the object be deleted, and made again, after a change was
// stored in it, perhaps: a caller that gives up then is not told that it has changed nothing.
func TestApplyIsDoubtedThoughItsObjectWasDeleted(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	x.lose(x.applying())
	x.after(time.Second)
	again := x.versionOf(x.free())
	again.UID = "another"
	read := x.request(Read)
	x.step(Event{Kind: Answer, Answered: Answered{Request: read.ID, Reply: Reply{Outcome: protocol.Committed}, Record: again}})
	x.the(Check) // The change is made anew.
	x.step(Event{Kind: GiveUp, Caller: 1})
	if f := x.the(Fail).Failure; !f.OutcomeUnknown {
		t.Errorf("it fails without a doubt: %+v", f)
	}
}

// TestApplyThatQueuesIsDoubtedThoughItsObjectWasDeleted has the object be deleted, and another client hold one of that
// name, after a change was stored, perhaps. The caller queues, is given the lock, and then its object is being deleted: it is not told
// that nothing was written.
func TestApplyThatQueuesIsDoubtedThoughItsObjectWasDeleted(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	x.lose(x.applying())
	x.after(time.Second)
	again := x.versionOf(x.free())
	again.UID, again.Transitions = "another", 1
	again.Holder = &protocol.Holder{Identity: other, Client: other, LockID: other + "-1", Token: 1, RenewTime: x.now, Duration: time.Minute}
	x.answer(x.request(Read), again)
	enqueue := x.request(Enqueue)
	again.Waiters = []string{enqueue.Entry}
	queued := x.answer(enqueue, again)
	given, err := protocol.Release(queued, protocol.Claim{Client: other, LockID: other + "-1"}, 1, protocol.Change{}, nil, protocol.Stamp{Time: x.now})
	if err != nil {
		t.Fatal(err)
	}
	x.step(Event{Kind: Shown, Record: x.versionOf(given)})
	x.the(Check)
	made := "one"
	x.step(Event{Kind: Checked, Caller: 1, Change: protocol.Change{Write: true, Value: &made}})
	x.lose(x.request(Amend)) // It was not done: the object is being deleted.
	given.Terminating = true
	for !slices.ContainsFunc(x.effects, func(e Effect) bool { return e.Kind == Applied }) {
		if len(x.effects) == 0 {
			x.after(time.Second)
			continue
		}
		switch r := x.the(Send).Request; r.Kind {
		case Read:
			x.answer(r, given)
		default:
			x.answer(r, r.To)
		}
	}
	if r := x.the(Applied).Result; !r.OutcomeUnknown || r.Kind == OK {
		t.Errorf("it ends without a doubt: %+v", r)
	}
}

// TestApplyOfAnotherCaller has a caller give up whose change was stored: the next one has not made it.
func TestApplyOfAnotherCaller(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	stored := x.applying()
	x.step(Event{Kind: Arrive, Caller: 2, Want: Want{Duration: time.Minute, Apply: true}})
	x.step(Event{Kind: GiveUp, Caller: 1})
	if f := x.the(Fail).Failure; !f.OutcomeUnknown {
		t.Errorf("the first fails without a doubt: %+v", f)
	}
	x.lose(stored)
	x.answer(x.request(Read), stored.To)
	if check := x.the(Check); check.Caller != 2 || *check.Value != "one" {
		t.Errorf("asked is %+v", check)
	}
}

// TestApplyOfAnotherIdentity has another account write what a caller of this client would have left, which can be read and
// guessed: the caller has not made its change.
func TestApplyOfAnotherIdentity(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	write := x.applying()
	x.lose(write)
	x.after(time.Second)
	forged, last := write.To, *write.To.LastRelease
	last.Identity = other
	forged.LastRelease = &last
	x.answer(x.request(Read), forged)
	for _, e := range x.effects {
		if e.Kind == Applied {
			t.Errorf("the change of another identity is taken for its own: %+v", e.Result)
		}
	}
}

// TestCreationStoresNoChange has a caller find no object: it creates one that it holds, and stores its change when that is there. The
// creation may arrive at any time later at which there is no object.
func TestCreationStoresNoChange(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	x.step(Event{Kind: Arrive, Caller: 1, Want: Want{Duration: time.Minute, Apply: true}})
	x.answer(x.request(Read), protocol.Record{})
	x.the(Check)
	made := "one"
	x.step(Event{Kind: Checked, Caller: 1, Change: protocol.Change{Write: true, Value: &made}})
	create := x.request(Write)
	if h := create.To.Holder; h == nil || create.To.Value != nil {
		t.Errorf("the creation stores %+v", create.To)
	}
	x.answer(create, create.To)
	x.the(Check)
	x.step(Event{Kind: Checked, Caller: 1, Change: protocol.Change{Write: true, Value: &made}})
	write := x.request(Amend)
	x.answer(write, write.To)
	if r := x.the(Applied).Result; r.Kind != OK || write.To.Value == nil || *write.To.Value != made || write.To.Holder != nil {
		t.Errorf("the write stores %+v, and the call has %+v", write.To, r)
	}
}

// TestRetract has a caller want to make another change: before its write is sent, and after.
func TestRetract(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	write := x.applying()
	x.step(Event{Kind: Retract, Caller: 1, Op: 7})
	if r := x.the(Done).Result; r.Kind != Failed || !r.OutcomeUnknown {
		t.Errorf("a change that is under way is retracted: %+v", r)
	}
	x.step(Event{Kind: Answer, Answered: Answered{Request: write.ID, Reply: Reply{Outcome: protocol.Busy, Err: errors.New("busy")}}})
	x.step(Event{Kind: Retract, Caller: 1, Op: 8})
	if r := x.the(Done).Result; r.Kind != OK {
		t.Errorf("a change that was refused is not retracted: %+v", r)
	}
	x.the(Check)
}

// TestApplyWaitsForItsRelease has a caller be given the lock, and the API server refuse the write that stores its change,
// for now, again and again, for longer than the lease: the caller waits, as it would for its turn. No other client has
// taken the lock, so its change is stored.
func TestApplyWaitsForItsRelease(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	held := protocol.Record{
		Name: "k", Key: "k", Transitions: 1,
		Holder: &protocol.Holder{Identity: other, Client: other, LockID: other + "-1", Token: 1, RenewTime: x.now, Duration: time.Minute},
	}
	x.step(Event{Kind: Arrive, Caller: 1, Want: Want{Duration: time.Second, Apply: true}})
	x.answer(x.request(Read), held)
	enqueue := x.request(Enqueue)
	held.Waiters = []string{enqueue.Entry}
	queued := x.answer(enqueue, held)
	given, err := protocol.Release(queued, protocol.Claim{Client: other, LockID: other + "-1"}, 1, protocol.Change{}, nil, protocol.Stamp{Time: x.now})
	if err != nil {
		t.Fatal(err)
	}
	x.step(Event{Kind: Shown, Record: x.versionOf(given)})
	x.the(Check)
	made := "one"
	x.step(Event{Kind: Checked, Caller: 1, Change: protocol.Change{Write: true, Value: &made}})
	write := x.request(Amend)
	for since := x.now; x.now.Sub(since) < 3*FirstRequest; {
		x.step(Event{Kind: Answer, Answered: Answered{Request: write.ID, Reply: Reply{Outcome: protocol.Busy, Err: errors.New("busy")}}})
		for tries := 0; ; tries++ {
			for _, e := range x.effects {
				switch e.Kind {
				case Send:
					write = e.Request
				case Applied, Fail:
					t.Fatalf("after %v its wait ends: %+v", x.now.Sub(since), e.Result)
				default:
				}
			}
			if tries > 0 && write.Sent.Equal(x.now) {
				break
			}
			at, ok := x.s.Wake()
			if !ok {
				t.Fatal("the session wants nothing any more")
			}
			x.after(at.Sub(x.now))
		}
	}
	x.answer(write, write.To)
	if r := x.the(Applied).Result; r.Kind != OK || write.To.Value == nil || *write.To.Value != made {
		t.Errorf("the write stores %+v, and the call has %+v", write.To, r)
	}
}
