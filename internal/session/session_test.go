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
	"strconv"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/servertime"
)

// script drives one session by hand. It is the API server, and answers as the test says.
type script struct {
	t       *testing.T
	s       *Session
	now     time.Time
	number  uint64
	version int
	effects []Effect // of the last step
	server  servertime.Clock
	stale   bool // what is known of the server's time is old
}

// serverTime is what is known of the server's time, which may be said to be old.
type serverTime struct {
	ServerTime

	stale bool
}

func (s serverTime) Fresh(now time.Time) bool { return !s.stale && s.ServerTime.Fresh(now) }

const me, other = "me", "other"

func newScript(t *testing.T) *script {
	t.Helper()
	return &script{t: t, now: time.Unix(0, 0), s: New(&Config{Object: "k", Key: "k", Identity: me, Client: me})}
}

func (x *script) step(e Event) {
	x.t.Helper()
	x.number++
	e.Now, e.Server, e.Number = x.now, serverTime{x.server.Reading(), x.stale}, x.number
	x.effects = x.s.Step(e)
}

// after lets time pass, and the session see it.
func (x *script) after(d time.Duration) {
	x.t.Helper()
	x.now = x.now.Add(d)
	x.step(Event{Kind: Tick})
}

// the returns the one effect of that kind.
func (x *script) the(kind EffectKind) Effect {
	x.t.Helper()
	for _, e := range x.effects {
		if e.Kind == kind {
			return e
		}
	}
	x.t.Fatalf("in state %v there is no effect %d among %+v", x.s.State(), kind, x.effects)
	return Effect{}
}

// request returns the request that the session sends.
func (x *script) request(kind RequestKind) *Request {
	x.t.Helper()
	r := x.the(Send).Request
	if r.Kind != kind {
		x.t.Fatalf("the session sends request %d, want %d", r.Kind, kind)
	}
	return r
}

// answer answers a request with how the lock is then, in a version of its own.
func (x *script) answer(r *Request, record protocol.Record) protocol.Record {
	x.t.Helper()
	record = x.versionOf(record)
	x.step(Event{Kind: Answer, Answered: Answered{Request: r.ID, Reply: Reply{Outcome: protocol.Committed}, Record: record}})
	return record
}

func (x *script) versionOf(r protocol.Record) protocol.Record {
	x.version++
	if r.Name != "" {
		r.ResourceVersion = strconv.Itoa(x.version)
		if r.UID == "" {
			r.UID = "u"
		}
	}
	return r
}

// hold has caller 1 acquire the lock, which does not exist.
func (x *script) hold() protocol.Record {
	x.t.Helper()
	const caller = 1
	x.step(Event{Kind: Arrive, Caller: caller, Want: Want{Duration: time.Minute}})
	x.answer(x.request(Read), protocol.Record{})
	x.the(Check)
	x.step(Event{Kind: Checked, Caller: caller})
	r := x.request(Write)
	created := x.answer(r, r.To)
	x.the(Grant)
	return created
}

// handOver has the holder release the lock to a waiter of another client.
func (x *script) handOver(caller int, r protocol.Record) protocol.Record {
	x.t.Helper()
	r.Waiters = []string{protocol.Waiter{LockID: other + "-1", Duration: time.Minute, Identity: other}.String()}
	x.step(Event{Kind: Shown, Record: x.versionOf(r)})
	x.step(Event{Kind: Release, Caller: caller, Op: 1})
	release := x.request(Amend)
	given := x.answer(release, release.To)
	if x.the(Done).Result.Kind != OK || given.Holder == nil || given.Holder.Client != other {
		x.t.Fatalf("the release left %+v", given)
	}
	return given
}

// TestHandOverIsChecked has the one that was granted the lock not use it: the client that handed it over reads
// after the grace, and gives it to the next. An older version that is shown meanwhile changes nothing, nor
// does a newer one of the same hold; a renewal, and a hold of another, end it.
func TestHandOverIsChecked(t *testing.T) {
	t.Parallel()
	renewed := func(r protocol.Record) protocol.Record {
		h := *r.Holder
		h.RenewTime = h.RenewTime.Add(time.Second)
		r.Holder = &h
		return r
	}
	free := func(r protocol.Record) protocol.Record {
		r.Holder = nil
		return r
	}
	same := func(r protocol.Record) protocol.Record { return r }
	for name, tc := range map[string]struct {
		old    bool
		change func(protocol.Record) protocol.Record
		looks  bool
	}{
		"an older version": {true, renewed, true},
		"the same hold":    {false, same, true},
		"a renewal":        {false, renewed, false},
		"a free lock":      {false, free, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := newScript(t)
			before := x.hold()
			given := x.handOver(1, before)
			shown := tc.change(given)
			if tc.old {
				shown.ResourceVersion = before.ResourceVersion
			} else {
				shown = x.versionOf(shown)
			}
			x.step(Event{Kind: Shown, Record: shown})
			x.after(protocol.Grace - 1)
			if len(x.effects) > 0 {
				t.Fatalf("before the grace is over: %+v", x.effects)
			}
			x.after(1)
			if !tc.looks {
				if len(x.effects) > 0 || !x.s.Quiet() {
					t.Errorf("effects %+v, quiet %v; want nothing more", x.effects, x.s.Quiet())
				}
				return
			}
			x.answer(x.request(Read), given)
			if to := x.request(Amend).To; to.Holder != nil || to.LastRelease.Reason != protocol.Expired {
				t.Errorf("the session writes %+v", to)
			}
		})
	}
}

// TestSaveThatWasCommittedAndLost has a save be committed with a stamp that does not cover its lease, and the lease end
// before the next write: the holder learns that the hold is lost, and not that nothing was written.
func TestSaveThatWasCommittedAndLost(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	created := x.hold()
	x.server.Observe(time.Unix(1000, 0), x.now, x.now) // A hint: the stamp that it makes is to be confirmed.
	made := "one"
	x.step(Event{Kind: Update, Caller: 1, Op: 5, Change: protocol.Change{Write: true, Value: &made}})
	save := x.request(Amend)
	x.answer(save, save.To)
	for _, e := range x.effects {
		if e.Kind == Done {
			t.Fatalf("the stamp covers the lease: %+v", e.Result)
		}
	}
	x.after(created.Holder.Duration)
	if r := x.the(Done).Result; r.Kind != Lost || !r.OutcomeUnknown {
		t.Errorf("its write was committed, and the save ends with %+v", r)
	}
}

// TestCopyOfACreation has a copy of the write that began a hold arrive when the hold is over and its object deleted: the
// client takes back what it sees of that, as no caller believes in it. Late news of the hold itself are nothing to take back.
func TestCopyOfACreation(t *testing.T) {
	t.Parallel()
	for uid, want := range map[string]State{"another": Leaving, "u": Idle} {
		x := newScript(t)
		created := x.hold()
		x.step(Event{Kind: Release, Caller: 1, Op: 1})
		release := x.request(Amend)
		x.answer(release, release.To)
		again := x.versionOf(created)
		again.UID = uid
		x.step(Event{Kind: Shown, Record: again})
		if got := x.s.State(); got != want {
			t.Errorf("in the object %s the hold appears again: the session is %v, want %v", uid, got, want)
		}
	}
}

// TestSaveBesideARenewalAtTheSameTime has another process renew the hold just before a save arrives, and write the same time: each adds a
// microsecond to the time before where its own clock is behind that. The save was refused, and is sent again.
func TestSaveBesideARenewalAtTheSameTime(t *testing.T) {
	t.Parallel()
	x := newScript(t)
	held := x.hold()
	state := "saved"
	x.step(Event{Kind: Update, Caller: 1, Op: 1, Change: protocol.Change{Write: true, Value: &state}})
	save := x.request(Amend)
	renewed := held
	h := *held.Holder
	h.RenewTime = save.To.Holder.RenewTime
	renewed.Holder = &h
	x.step(Event{Kind: Answer, Answered: Answered{Request: save.ID, Reply: Reply{Outcome: protocol.Stale, Err: errors.New("another version")}}})
	x.answer(x.request(Read), renewed)
	again := x.request(Amend)
	if again.To.Value == nil || *again.To.Value != state {
		t.Fatalf("the next write is %+v", again.To)
	}
	x.answer(again, again.To)
	if r := x.the(Done).Result; r.Kind != OK {
		t.Errorf("the save is %+v", r)
	}
}
