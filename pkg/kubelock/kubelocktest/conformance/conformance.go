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

// Package conformance is kubelock's promises as tests. They use nothing but the
// library's public constructors, so that they hold for each kind of object that locks
// can be kept in, and for each API server: the real one, and kubelocktest's.
package conformance

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// Environment is where one behaviour is tested.
type Environment struct {
	// Config reaches the API server.
	Config *rest.Config
	// Namespace exists, and no other test uses it.
	Namespace string
	// Backend is the kind of object to keep locks in.
	Backend kubelock.Backend
	// As, if not nil, returns the configuration of the program that has that identity. It
	// may be asked for one identity several times. nil: all use Config.
	As func(t testing.TB, identity string) *rest.Config
}

// Run tests every behaviour as a subtest of t, at the same time. newEnvironment is
// called once for each, by the subtest.
func Run(t *testing.T, newEnvironment func(t *testing.T) Environment) {
	t.Helper()
	for _, b := range behaviours {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			b.test(&suite{T: t, env: newEnvironment(t)})
		})
	}
}

type behaviour struct {
	name string
	test func(s *suite)
}

var behaviours = []behaviour{
	{"StateIsKeptWithTheLock", stateIsKept},
	{"ZeroValuesAreState", zeroValuesAreState},
	{"ClearLeavesNoState", clearLeavesNoState},
	{"SaveWritesAndKeepsTheLock", saveKeepsTheLock},
	{"StateTooLargeIsRefused", stateTooLarge},
	{"LargestStateFits", largestStateFits},
	{"KeysAreNotConfused", keysAreNotConfused},
	{"TryAcquireOfAHeldLockFails", tryAcquireOfAHeldLock},
	{"AcquireWaitsForTheRelease", acquireWaits},
	{"AcquireEndsWithItsContext", acquireEndsWithContext},
	{"QueueIsFirstComeFirstServed", queueIsFIFO},
	{"CallersOfOneClientAllGetTheLock", callersAreServed},
	{"WaiterThatLeavesIsNotServed", waiterLeaves},
	{"ClosedClientLeavesTheQueue", closedWaiterLeaves},
	{"DeadWaiterCostsNoLease", deadWaiter},
	{"TokensIncrease", tokensIncrease},
	{"ExpiredHoldIsTakenOverNotBeforeItsDeadline", expiredHoldIsTakenOver},
	{"ShortLeasesAreExact", shortLeases},
	{"LateReleaseWritesNothing", lateRelease},
	{"LostHoldCannotBeRenewed", lostHold},
	{"RenewMovesTheDeadline", renewMovesDeadline},
	{"AutoRenewKeepsTheLock", autoRenew},
	{"DoIsAtomic", doIsAtomic},
	{"DoWritesNothingAfterAnError", doError},
	{"DoReleasesAfterAPanic", doPanic},
	{"LeadHandsOver", leadHandsOver},
	{"LeadOutlastsALoss", leadOutlastsALoss},
	{"ApplyIsOneWrite", applyIsOneWrite},
	{"ApplyQueues", applyQueues},
	{"ApplyIsAtomic", applyIsAtomic},
	{"ApplyWritesNothingAfterAnError", applyError},
	{"ApplyIsDoneOnceThoughAnswersAreLost", applyLostAnswers},
	{"ApplyWritesNothingInATerminatingObject", applyTerminating},
	{"WaitOfAFreeLockReturns", waitFree},
	{"WaitReturnsAtTheRelease", waitRelease},
	{"WaitReturnsAtTheExpiry", waitExpiry},
	{"DeleteRemovesTheState", deleteRemoves},
	{"DeleteHandsOnWithoutState", deleteHandsOn},
	{"TerminatingObjectIsNotTaken", terminatingIsNotTaken},
	{"TerminatingObjectIsNotWritten", terminatingIsNotWritten},
	{"DeleteOutlastsFinalizers", deleteOutlastsFinalizers},
	{"LabelsAndAnnotationsAreOfTheCreator", metadataIsOfTheCreator},
	{"ClosedClientIsClosed", closedClient},
	{"MinHoldKeepsTheLock", minHoldKeepsTheLock},
	{"MinHoldWakesTheQueue", minHoldWakesTheQueue},
	{"DeleteEndsARest", deleteEndsARest},
	{"NamesAreLabelsOfMetrics", namesAreLabels},
	{"SpansTellOfCallsAndHolds", spansTellOfCallsAndHolds},
	{"RequestsAreFew", requestsAreFew},
	{"HandOffIsOneWrite", handOffIsOneWrite},
	{"LostAnswersAreResolved", lostAnswers},
	{"LostRequestsAreRepeated", lostRequests},
	{"UnknownOutcomesAreTold", unknownOutcome},
}

// suite is one behaviour's test.
type suite struct {
	*testing.T
	env Environment
}

// patience is how long something may take that is bound to happen, on a machine that
// is busy with something else.
const patience = 60 * time.Second

const key = "orders"

// soon is the context of calls that do not wait for a lease.
func (s *suite) soon() context.Context {
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	s.Cleanup(cancel)
	return ctx
}

// client returns a new client, that of a process of its own, with leases of that
// length.
func (s *suite) client(identity string, lease time.Duration, change ...func(*rest.Config)) *kubelock.Client {
	s.Helper()
	return s.configured(kubelock.Config{Identity: identity, LockDuration: lease}, change...)
}

// configured returns a new client with that configuration, for the environment.
func (s *suite) configured(cfg kubelock.Config, change ...func(*rest.Config)) *kubelock.Client {
	s.Helper()
	config, identity := s.env.Config, cfg.Identity
	if s.env.As != nil {
		config = s.env.As(s, identity)
	}
	config = rest.CopyConfig(config)
	for _, c := range change {
		c(config)
	}
	cfg.Namespace, cfg.Backend = s.env.Namespace, s.env.Backend
	c, err := kubelock.NewClient(config, cfg)
	s.must(err)
	s.Cleanup(func() { s.must(c.Close()) })
	return c
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// is checks that err is each of want.
func (s *suite) is(err error, want ...error) {
	s.Helper()
	for _, w := range want {
		if !errors.Is(err, w) {
			s.Fatalf("got the error %v, want %v", err, w)
		}
	}
}

func (s *suite) acquire(c *kubelock.Client, opts ...kubelock.Option) *kubelock.Held[string] {
	s.Helper()
	h, err := kubelock.NewLock[string](c, key).Acquire(s.soon(), opts...)
	s.must(err)
	return h
}

func (s *suite) release(h *kubelock.Held[string]) {
	s.Helper()
	s.must(h.Release(s.soon()))
}

// state checks what the lock holds; "" for no state.
func (s *suite) state(c *kubelock.Client, want string) kubelock.Snapshot[string] {
	s.Helper()
	got, err := kubelock.NewLock[string](c, key).Get(s.soon())
	s.must(err)
	if got.Value != want || got.Exists != (want != "") {
		s.Fatalf("the lock has the state %+v, want %q", got, want)
	}
	return got
}

// acquired is how an Acquire in the background ended.
type acquired struct {
	who  string
	held *kubelock.Held[string]
	err  error
}

// waiter acquires in the background, through a client of its own, and returns when that
// has written itself into the queue.
func (s *suite) waiter(ctx context.Context, who string, lease time.Duration, to chan<- acquired) (*kubelock.Client, *network) {
	s.Helper()
	n := newNetwork()
	c := s.client(who, lease, n.wrap)
	go func() {
		h, err := kubelock.NewLock[string](c, key).Acquire(ctx)
		to <- acquired{who, h, err}
	}()
	select {
	case <-n.written:
	case <-s.soon().Done():
		s.Fatal("the waiter does not queue")
	}
	return c, n
}

// next is the next acquisition that succeeds.
func (s *suite) next(from <-chan acquired) acquired {
	s.Helper()
	select {
	case a := <-from:
		s.must(a.err)
		return a
	case <-s.soon().Done():
		s.Fatal("nobody gets the lock")
	}
	return acquired{}
}
