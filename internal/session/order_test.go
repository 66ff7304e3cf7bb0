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
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

var errTest = errors.New("test")

// fails answers a request with an outcome that is no success.
func (x *script) fails(r *Request, o protocol.Outcome) {
	x.t.Helper()
	x.step(Event{Kind: Answer, Answered: Answered{Request: r.ID, Reply: Reply{Outcome: o, Err: errTest}, Err: errTest}})
}

// has returns the effects of that kind.
func (x *script) has(kind EffectKind) (all []Effect) {
	for _, e := range x.effects {
		if e.Kind == kind {
			all = append(all, e)
		}
	}
	return all
}

// want is what callers want here.
var want = Want{Duration: time.Minute}

// TestHoldIsNotBegunThatMayBeGivenBack has the session give a lock back that no caller needs, without an
// answer, and a caller come who would use it: the write that gives it back may be done yet, so the
// hold has to be another, or renewed, before the caller believes in it.
func TestHoldIsNotBegunThatMayBeGivenBack(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	x.step(Event{Kind: Arrive, Caller: 1, Want: want})
	x.answer(x.request(Read), protocol.Record{})
	x.step(Event{Kind: Checked, Caller: 1})
	take := x.request(Write)
	x.step(Event{Kind: GiveUp, Caller: 1})
	held := x.answer(take, take.To)
	x.answer(x.request(Read), held)
	back := x.request(Amend)
	if back.To.Holder != nil {
		t.Fatalf("it does not give the lock back: %+v", back.To)
	}
	x.step(Event{Kind: Arrive, Caller: 2, Want: want})
	x.fails(back, protocol.Unknown)
	x.step(Event{Kind: Answer, Answered: Answered{Request: x.request(Read).ID, Reply: Reply{Outcome: protocol.Committed}, Record: held}})
	x.the(Check)
	x.step(Event{Kind: Checked, Caller: 2})
	if grants := x.has(Grant); len(grants) > 0 {
		t.Fatalf("the caller has the lock by lock ID %s, renewed at %v, which a release of that may end",
			grants[0].Hold.LockID, held.Holder.RenewTime)
	}
	next := x.request(Amend)
	x.answer(next, next.To)
	if h := x.the(Grant).Hold; h.LockID == back.From.Holder.LockID && next.To.Holder.RenewTime.Equal(held.Holder.RenewTime) {
		t.Errorf("the hold is as it was: %+v", h)
	}
}

// TestUnknownOutcomeOutlastsTheCallers has a caller give up whose write is under way, and then the next one, before
// its turn has begun: the session looks for what the write may do yet.
func TestUnknownOutcomeOutlastsTheCallers(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	x.step(Event{Kind: Arrive, Caller: 1, Want: want})
	x.answer(x.request(Read), protocol.Record{})
	x.step(Event{Kind: Checked, Caller: 1})
	take := x.request(Write)
	x.step(Event{Kind: Arrive, Caller: 2, Want: want})
	x.step(Event{Kind: GiveUp, Caller: 1})
	if f := x.the(Fail).Failure; !f.OutcomeUnknown {
		t.Fatalf("the first caller knows: %+v", f)
	}
	x.step(Event{Kind: GiveUp, Caller: 2})
	if f := x.the(Fail).Failure; f.OutcomeUnknown {
		t.Fatalf("the second caller has sent nothing: %+v", f)
	}
	x.fails(take, protocol.Unknown)
	x.answer(x.request(Read), protocol.Record{})
	if x.s.State() != Leaving {
		t.Fatalf("in state %v while a write may be on its way", x.s.State())
	}
	x.after(10 * time.Second)
	x.answer(x.request(Read), take.To)
	if r := x.request(Amend); r.To.Holder != nil {
		t.Errorf("it does not give the lock back: %+v", r.To)
	}
}

// TestHolderGoesFirst has a request be under way whose answer no holder needs when a holder wants to
// renew: that does not wait.
func TestHolderGoesFirst(t *testing.T) {
	t.Parallel()
	suspect := func(x *script, held protocol.Record) {
		x.t.Helper()
		x.step(Event{Kind: Vanished, Record: held})
	}
	again := func(x *script, _ protocol.Record) { // The release of an earlier hold that is made again.
		x.t.Helper()
		e := &Ending{caller: 7, uid: "u", token: 1, tenure: tenure{lockID: "me-old", attempts: []attempt{{ends: true, open: true, request: 1}}}}
		x.step(Event{Kind: Release, Caller: 7, Op: 7, Ending: e})
	}
	for name, reads := range map[string]func(*script, protocol.Record){"a suspicion": suspect, "a release made again": again} {
		for how, renews := range map[string]func(*script){
			"asked for": func(x *script) {
				x.after(time.Second)
				x.step(Event{Kind: Update, Caller: 1, Op: 5})
			},
			"background": func(x *script) {
				x.step(Event{Kind: KeepAlive, Caller: 1})
				x.after(time.Minute * 2 / 5)
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				t.Parallel()
				x := newScript(t)
				held := x.hold()
				reads(x, held)
				read := x.request(Read)
				renews(x)
				renewal := x.request(Amend)
				if cancelled := x.the(Cancel).Request; cancelled != read {
					t.Errorf("it does not wait any more for %+v", cancelled)
				}
				x.answer(renewal, renewal.To)
				x.the(Extend)
			})
		}
	}
}

// TestSuspicionWaitsForTheHolder has a hold be suspected while its renewal is under way: the answer to
// a write that is sent later is a look, too.
func TestSuspicionWaitsForTheHolder(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	held := x.hold()
	x.step(Event{Kind: Update, Caller: 1, Op: 5})
	first := x.request(Amend)
	x.step(Event{Kind: Vanished, Record: held})
	x.step(Event{Kind: Update, Caller: 1, Op: 6})
	x.answer(first, first.To)
	second := x.request(Amend)
	x.answer(second, second.To)
	if len(x.has(Send)) > 0 {
		t.Errorf("after a write that has shown the hold: %+v", x.effects)
	}
}

// TestNextCallerDoesNotWaitForARead has a read be under way that is no look for the caller whose turn
// begins.
func TestNextCallerDoesNotWaitForARead(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(x *script){
		"of a caller that has given up": func(x *script) {
			x.step(Event{Kind: Arrive, Caller: 1, Want: want})
			x.step(Event{Kind: Arrive, Caller: 2, Want: want})
		},
		"of what is taken back": func(x *script) {
			x.step(Event{Kind: Arrive, Caller: 1, Want: want})
			x.answer(x.request(Read), protocol.Record{})
			x.step(Event{Kind: Checked, Caller: 1})
			x.step(Event{Kind: GiveUp, Caller: 1})
			x.fails(&Request{ID: x.s.lastID}, protocol.Unknown)
			x.step(Event{Kind: Tick})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newScript(t)
			begin(x)
			read := x.s.request
			if read == nil || read.Kind != Read {
				t.Fatalf("request %+v", read)
			}
			if x.s.State() == Leaving {
				x.step(Event{Kind: Arrive, Caller: 2, Want: want})
			} else {
				x.step(Event{Kind: GiveUp, Caller: 1})
			}
			if cancelled := x.the(Cancel).Request; cancelled != read {
				t.Errorf("it does not wait any more for %+v", cancelled)
			}
			x.answer(x.request(Read), protocol.Record{})
			x.the(Check)
		})
	}
}

// TestClosedClientDoesNotRenew has a renewal in the background fail when the client has been closed:
// there is no other.
func TestClosedClientDoesNotRenew(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	x.hold()
	x.step(Event{Kind: KeepAlive, Caller: 1})
	x.after(time.Minute * 2 / 5)
	renewal := x.request(Amend)
	x.step(Event{Kind: Close})
	x.fails(renewal, protocol.Busy)
	for range 5 {
		if sends := x.has(Send); len(sends) > 0 {
			t.Fatalf("a closed client sends %+v", sends[0].Request)
		}
		at, ok := x.s.Wake()
		if !ok || x.s.State() != Holding {
			t.Fatalf("state %v, wake %v", x.s.State(), ok)
		}
		if at.Equal(x.s.hold.Deadline) {
			return
		}
		x.after(at.Sub(x.now))
	}
	t.Error("it wakes up again and again before the hold ends")
}

// TestMemoryOutlastsAWatch has a watch show what the client's own release has left: it is known as before.
func TestMemoryOutlastsAWatch(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	x.hold()
	x.step(Event{Kind: Release, Caller: 1, Op: 1})
	release := x.request(Amend)
	free := x.answer(release, release.To)
	x.step(Event{Kind: Shown, Record: free})
	x.step(Event{Kind: Arrive, Caller: 2, Want: want})
	x.the(Check) // And no read before.
}

// TestServerIsAskedOnce has the server tell its time, which does not tell how old a hold is: two servers
// are too far apart. It is not asked again and again.
func TestServerIsAskedOnce(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	told := time.Unix(1e9, 0)
	x.server.Told(told, x.now, x.now)
	x.server.Told(told.Add(time.Hour), x.now, x.now)
	x.step(Event{Kind: Arrive, Caller: 1, Want: want})
	x.answer(x.request(Read), protocol.Record{
		Name: "k", Key: "k", Transitions: 1,
		Holder: &protocol.Holder{
			Identity: other, Client: other, LockID: other + "-1", Token: 1, Duration: time.Second,
			AcquireTime: told, RenewTime: told, Source: protocol.Server,
		},
	})
	asked := 0
	for range 100 {
		sends := x.has(Send)
		if len(sends) == 0 || sends[0].Request.Kind != Ask {
			break
		}
		asked++
		x.server.Told(told.Add(time.Hour), x.now, x.now)
		x.step(Event{Kind: Answer, Answered: Answered{Request: sends[0].Request.ID, Reply: Reply{Outcome: protocol.Committed}}})
	}
	if asked > 1 {
		t.Errorf("the server was asked %d times", asked)
	}
}

// TestSaveIsNotTakenForDone has a renewal from before the hold began be done late, while a save waits for a
// read and was not sent: what the read shows is not that the save was done.
func TestSaveIsNotTakenForDone(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	held := x.hold()
	late := held.Holder.RenewTime.Add(time.Millisecond)
	x.s.tenure.attempts = append(x.s.tenure.attempts, attempt{request: 1, stamp: late, sent: x.now, takes: true, open: true})
	x.stale = true // So that the save reads first.
	x.step(Event{Kind: Update, Caller: 1, Op: 5, Change: protocol.Change{Write: true, Value: new("state")}})
	h := *held.Holder
	h.RenewTime = late
	held.Holder = &h
	x.answer(x.request(Read), held)
	if done := x.has(Done); len(done) > 0 {
		t.Fatalf("the save was not sent, and is %+v", done[0].Result)
	}
	r := x.request(Amend)
	if r.To.Value == nil || *r.To.Value != "state" {
		t.Fatalf("the session writes %+v", r.To)
	}
	x.answer(r, r.To)
	if result := x.the(Done).Result; result.Kind != OK {
		t.Errorf("the save is %+v", result)
	}
}

// TestAttemptsAreBounded has a caller be refused for hours, each time for a reason that may end: what
// the session remembers of its attempts does not grow with them.
func TestAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	x.step(Event{Kind: Arrive, Caller: 1, Want: want})
	x.answer(x.request(Read), protocol.Record{})
	x.step(Event{Kind: Checked, Caller: 1})
	for range 10 * maxAttempts {
		x.fails(x.request(Write), protocol.Busy)
		x.after(time.Minute)
	}
	if n := len(x.s.tenure.attempts); n > maxAttempts {
		t.Errorf("%d attempts", n)
	}
	r := x.request(Write)
	x.answer(r, r.To)
	x.the(Grant)
}

// TestRefusalsCountFromTheirRequests has a write be refused again and again, the last time but one by an
// answer that takes long to come: it says nothing of the time since its request was sent.
func TestRefusalsCountFromTheirRequests(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	x.step(Event{Kind: Arrive, Caller: 1, Want: want})
	free := x.answer(x.request(Read), protocol.Record{Name: "k", Key: "k"})
	x.step(Event{Kind: Checked, Caller: 1})
	// next has the session send its next request, soon.
	next := func(kind RequestKind) *Request {
		t.Helper()
		for len(x.has(Send)) == 0 {
			x.after(time.Second)
		}
		return x.request(kind)
	}
	// refused has the next write be refused by an answer that takes that long, and the lock be as it was.
	refused := func(after time.Duration) {
		t.Helper()
		r := next(Write)
		x.now = x.now.Add(after)
		x.fails(r, protocol.Stale)
		x.step(Event{Kind: Answer, Answered: Answered{Request: next(Read).ID, Reply: Reply{Outcome: protocol.Committed}, Record: free}})
	}
	refused(0)
	x.after(Patience / 2)
	refused(0)
	refused(Patience / 2)
	if failed := x.has(Fail); len(failed) > 0 {
		t.Fatalf("the caller has failed: %+v", failed[0].Failure)
	}
	refused(0)
	if f := x.the(Fail).Failure; f.Err == nil {
		t.Errorf("the caller has failed by %+v", f)
	}
}

// TestFirstAmongEntriesThatCannotBeRead has a client queue behind entries that no client wrote: it is the first
// that can be given the lock, and so it watches the lock itself and sees its holder renew the lease.
func TestFirstAmongEntriesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for entry, want := range map[string]Watch{
		"no entry": WatchLock,
		protocol.Waiter{LockID: "third-1", Duration: time.Minute, Identity: "third"}.String(): WatchOwn,
	} {
		x := newScript(t)
		held := protocol.Record{
			Name: "k", Key: "k", Transitions: 1, Waiters: []string{entry},
			Holder: &protocol.Holder{Identity: other, Client: other, LockID: other + "-1", Token: 1, RenewTime: x.now, Duration: time.Minute},
		}
		x.step(Event{Kind: Arrive, Caller: 1, Want: Want{Duration: time.Minute}})
		x.answer(x.request(Read), held)
		r := x.request(Enqueue)
		held.Waiters = append(held.Waiters, r.Entry)
		x.answer(r, held)
		x.after(headWatchAfter)
		if got := x.s.Watch(); got != want {
			t.Errorf("behind %q: a second later the client watches %d, want %d", entry, got, want)
		}
	}
}
