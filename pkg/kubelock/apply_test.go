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

package kubelock_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	goruntime "runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

func add(n int) func(int) (int, error) { return func(state int) (int, error) { return state + n, nil } }

// memory is an API server in memory, and how to make a client of it.
type memory struct {
	*testing.T

	server    *kubelocktest.Server
	backend   kubelock.Backend
	newClient func() *kubelock.Client
}

// inMemory runs a test in a bubble of its own time for each kind of object, with clients of a server in memory.
func inMemory(t *testing.T, test func(m memory)) {
	t.Helper()
	for name, backend := range map[string]kubelock.Backend{
		"DistributedLocks": kubelock.DistributedLocks, "Leases": kubelock.Leases, "ConfigMaps": kubelock.ConfigMaps,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				test(memory{t, server, backend, func() *kubelock.Client { return server.NewClient(t, kubelock.Config{Backend: backend}) }})
			})
		})
	}
}

// tap sees the requests of a server, and can keep up those that write.
type tap struct {
	mu    sync.Mutex
	verbs []string
	gate  chan struct{} // writes wait until it is closed
}

func (x *tap) watch(server *kubelocktest.Server) {
	server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		verb := verbOf(req)
		if verb == "watch" {
			return next.RoundTrip(req)
		}
		x.mu.Lock()
		x.verbs = append(x.verbs, verb)
		gate := x.gate
		x.mu.Unlock()
		if verb != "get" && gate != nil {
			<-gate
		}
		return next.RoundTrip(req)
	})
}

// taken is which requests there were since the last call.
func (x *tap) taken() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	verbs := strings.Join(x.verbs, " ")
	x.verbs = nil
	return verbs
}

// close keeps writes up until open is called.
func (x *tap) close() (open func()) {
	gate := make(chan struct{})
	x.mu.Lock()
	defer x.mu.Unlock()
	x.gate = gate
	return func() {
		x.mu.Lock()
		x.gate = nil
		x.mu.Unlock()
		close(gate)
	}
}

// TestApplyCosts counts the requests of Apply, and sees that each is a hold of its own.
func TestApplyCosts(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t, server, newClient := m.T, m.server, m.newClient
		var requests tap
		requests.watch(server)
		l := kubelock.NewLock[int](newClient(), "counter")
		apply := func(l *kubelock.Lock[int], want int, verbs string) {
			t.Helper()
			got, err := l.Apply(t.Context(), add(1))
			if err != nil || got != want {
				t.Fatalf("Apply gives %d, %v, want %d", got, err, want)
			}
			if sent := requests.taken(); sent != verbs {
				t.Errorf("the Apply that gives %d sent %q, want %q", got, sent, verbs)
			}
		}
		apply(l, 1, "get create update") // A creation may arrive late, and carries no state.
		apply(l, 2, "patch")
		apply(l, 3, "patch")
		other := kubelock.NewLock[int](newClient(), "counter")
		apply(other, 4, "get patch")
		apply(l, 5, "patch get patch")

		before := int64(0)
		for range 2 {
			held := acquire(t, l)
			if held.Value() != 5 || held.Token() <= before {
				t.Errorf("a hold has the state %d and the token %d, after %d", held.Value(), held.Token(), before)
			}
			before = held.Token()
			release(t, held)
		}
		if s, err := l.Get(t.Context()); err != nil || s.Held || s.Value != 5 {
			t.Errorf("the lock is %+v, %v", s, err)
		}
	})
}

// TestApplyIsAHold sees what one Apply leaves in the object.
func TestApplyIsAHold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		c := server.NewClient(t, kubelock.Config{Identity: "me"})
		l := kubelock.NewLock[int](c, "counter")
		var last int64
		for n := range int64(3) {
			if _, err := l.Apply(t.Context(), add(1)); err != nil {
				t.Fatal(err)
			}
			object, err := objects(server).Get(t.Context(), protocol.ObjectName("counter"), metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var lock v1alpha1.DistributedLock
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &lock); err != nil {
				t.Fatal(err)
			}
			spec := lock.Spec
			if spec.Holder != nil || spec.Transitions != n+1 || spec.LastRelease == nil || spec.LastRelease.Identity != "me" ||
				spec.LastRelease.Reason != "Released" || n > 0 && spec.LastRelease.Token <= last {
				t.Errorf("after %d calls the lock is %+v, last released as %+v", n+1, spec, spec.LastRelease)
			}
			last = spec.LastRelease.Token
		}
	})
}

// start calls Apply in the background.
func startApply(ctx context.Context, l *kubelock.Lock[int], fn func(int) (int, error)) (result func() (int, error)) {
	var n int
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		n, err = l.Apply(ctx, fn)
	}()
	return func() (int, error) { <-done; return n, err }
}

// TestApplyShares has many calls come while one is under way: one write carries all of them, in their order. A call of
// Do that came among them has its turn, and so has another client.
func TestApplyShares(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t, server, newClient := m.T, m.server, m.newClient
		var requests tap
		requests.watch(server)
		l := kubelock.NewLock[int](newClient(), "counter")
		release(t, acquire(t, l))
		open := requests.close()
		const more = 40
		results := make([]func() (int, error), 0, 1+more)
		results = append(results, startApply(t.Context(), l, add(1)))
		synctest.Wait()
		for range more {
			results = append(results, startApply(t.Context(), l, add(1)))
			synctest.Wait()
		}
		requests.taken()
		open()
		for i, result := range results {
			if n, err := result(); n != i+1 || err != nil {
				t.Errorf("call %d gives %d, %v", i, n, err)
			}
		}
		if sent := requests.taken(); sent != "patch" {
			t.Errorf("%d calls sent %q", more, sent)
		}
	})
}

// TestApplyBatchesAreBounded has more calls come than one write may carry, and calls that make more state than one batch may.
func TestApplyBatchesAreBounded(t *testing.T) {
	t.Parallel()
	const large = 900 << 10
	for _, tc := range []struct {
		name        string
		calls, size int
		writes      int // of those that come while one is under way
	}{
		{"many", 1500, 1, 2},
		{"large", 12, large, 3}, // Five make more than four MiB.
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				var requests tap
				requests.watch(server)
				l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "text")
				release(t, acquire(t, l))
				open := requests.close()
				var calls sync.WaitGroup
				order := make([]int, 0, tc.calls) // Each appends to it while it has its turn.
				for i := range tc.calls + 1 {
					calls.Go(func() {
						_, err := l.Apply(t.Context(), func(string) (string, error) {
							order = append(order, i)
							return strings.Repeat("x", tc.size), nil
						})
						if err != nil {
							t.Error(err)
						}
					})
					synctest.Wait()
				}
				requests.taken()
				open()
				calls.Wait()
				if sent := requests.taken(); strings.Count(sent, "patch") != tc.writes || strings.Contains(sent, "update") {
					t.Errorf("%d calls sent %q, want %d writes", tc.calls, sent, tc.writes)
				}
				if !slices.IsSorted(order) || len(order) != tc.calls+1 {
					t.Errorf("%d calls had %d turns, in order: %v", tc.calls+1, len(order), slices.IsSorted(order))
				}
			})
		})
	}
}

// TestApplyKeepsItsPlace has a call of Do come after one of Apply that cannot share the write under way: Apply is first. What comes
// after Do shares Apply's write.
func TestApplyKeepsItsPlace(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t := m.T
		var requests tap
		requests.watch(m.server)
		l := kubelock.NewLock[int](m.newClient(), "counter")
		open := requests.close()
		first := startApply(t.Context(), l, add(1))
		synctest.Wait()
		second := startApply(t.Context(), l, add(10))
		synctest.Wait()
		seen := make(chan int, 1)
		go func() {
			_, err := l.Do(t.Context(), func(_ context.Context, state int) (int, error) { seen <- state; return state, nil })
			if err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		third := startApply(t.Context(), l, add(100))
		synctest.Wait()
		open()
		for want, call := range map[int]func() (int, error){1: first, 11: second, 111: third} {
			if n, err := call(); n != want || err != nil {
				t.Errorf("a call gives %d, %v, want %d", n, err, want)
			}
		}
		if n := <-seen; n != 111 {
			t.Errorf("Do has seen %d", n)
		}
	})
}

// TestApplyLosesARace has another client take the lock just before the write of a call, and leave the state as it is: when the turn of
// the call comes, the calls that came meanwhile share its write.
func TestApplyLosesARace(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t := m.T
		other := kubelock.NewLock[int](m.newClient(), "counter")
		l := kubelock.NewLock[int](m.newClient(), "counter")
		if _, err := l.Apply(t.Context(), add(1)); err != nil {
			t.Fatal(err)
		}
		var held *kubelock.Held[int]
		m.server.Intercept(once("patch", func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			m.server.Intercept(nil)
			held = acquire(t, other)
			return next.RoundTrip(req)
		}))
		results := make([]func() (int, error), 0, 4)
		for range 4 {
			results = append(results, startApply(t.Context(), l, add(1)))
			<-time.After(time.Second)
		}
		var requests tap
		requests.watch(m.server)
		release(t, held)
		for i, call := range results {
			if n, err := call(); n != 2+i || err != nil {
				t.Errorf("call %d gives %d, %v", i, n, err)
			}
		}
		if sent := requests.taken(); strings.Count(sent, "patch")+strings.Count(sent, "update") > 3 { // The other one's release is two.
			t.Errorf("a release and 4 calls sent %q", sent)
		}
	})
}

// TestApplyQueues has calls wait for another client: the write that ends their hold stores what they make of the state, and
// gives the lock to the next in the queue.
func TestApplyQueues(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t, server, newClient := m.T, m.server, m.newClient
		var requests tap
		requests.watch(server)
		held := acquire(t, kubelock.NewLock[int](newClient(), "counter"))
		l := kubelock.NewLock[int](newClient(), "counter")
		results := make([]func() (int, error), 0, 4)
		for range 4 {
			results = append(results, startApply(t.Context(), l, add(1)))
			<-time.After(time.Second)
		}
		next := make(chan *kubelock.Held[int], 1)
		go func() { next <- acquire(t, kubelock.NewLock[int](newClient(), "counter")) }()
		<-time.After(time.Second)
		requests.taken()
		release(t, held.Update(10))
		for i, result := range results {
			if n, err := result(); n != 11+i || err != nil {
				t.Errorf("call %d gives %d, %v", i, n, err)
			}
		}
		after := <-next
		if after.Value() != 14 {
			t.Errorf("the next holder has %d", after.Value())
		}
		if sent := requests.taken(); sent != "update get patch patch" { // The holder did not know that others queue.
			t.Errorf("a release and 4 calls sent %q", sent)
		}
		release(t, after)
	})
}

var errMine = errors.New("mine")

// TestApplyLeavesOut has some of the calls that share a write fail: only what the others make of the state is stored.
func TestApplyLeavesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		var requests tap
		requests.watch(server)
		c := server.NewClient(t, kubelock.Config{})
		l := kubelock.NewLock[map[string]int](c, "things")
		apply := func(fn func(map[string]int) (map[string]int, error)) func() (map[string]int, error) {
			var state map[string]int
			err := errors.New("it has panicked, or ended its goroutine")
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() {
					if p := recover(); p != nil {
						err = fmt.Errorf("panic: %v", p)
					}
				}()
				state, err = l.Apply(t.Context(), fn)
			}()
			synctest.Wait()
			return func() (map[string]int, error) { <-done; return state, err }
		}
		with := func(name string, err error) func(map[string]int) (map[string]int, error) {
			return func(state map[string]int) (map[string]int, error) {
				if state == nil {
					state = map[string]int{}
				}
				state[name] = len(state)
				return state, err
			}
		}
		release(t, acquire(t, l))
		open := requests.close()
		first := apply(with("first", nil))
		failing := apply(with("failing", errMine))
		panicking := apply(func(map[string]int) (map[string]int, error) { panic("mine") })
		good := apply(with("good", nil))
		exiting := apply(func(state map[string]int) (map[string]int, error) { goruntime.Goexit(); return state, nil })
		large := apply(func(map[string]int) (map[string]int, error) {
			return map[string]int{strings.Repeat("x", 2<<20): 1}, nil
		})
		last := apply(with("last", nil))
		requests.taken()
		open()
		if state, err := first(); err != nil || len(state) != 1 {
			t.Errorf("the first gives %v, %v", state, err)
		}
		if state, err := failing(); !errors.Is(err, errMine) || state != nil {
			t.Errorf("the one that fails gives %v, %v", state, err)
		}
		if _, err := panicking(); err == nil || err.Error() != "panic: mine" {
			t.Errorf("the one that panics gives %v", err)
		}
		if _, err := exiting(); err == nil {
			t.Error("the one that ends its goroutine gives no error")
		}
		if _, err := large(); !errors.Is(err, kubelock.ErrValueTooLarge) {
			t.Errorf("the large one gives %v", err)
		}
		if state, err := good(); err != nil || fmt.Sprint(state) != "map[first:0 good:1]" {
			t.Errorf("the good one gives %v, %v", state, err)
		}
		if state, err := last(); err != nil || fmt.Sprint(state) != "map[first:0 good:1 last:2]" {
			t.Errorf("the last gives %v, %v", state, err)
		}
		if sent := requests.taken(); sent != "patch" {
			t.Errorf("they sent %q", sent)
		}
		if s, err := l.Get(t.Context()); err != nil || fmt.Sprint(s.Value) != "map[first:0 good:1 last:2]" {
			t.Errorf("the state is %v, %v", s.Value, err)
		}
	})
}

// TestApplyThatFailsWritesNothing has no call make anything of the state, as it is and not as it was remembered.
func TestApplyThatFailsWritesNothing(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t, server, newClient := m.T, m.server, m.newClient
		var requests tap
		requests.watch(server)
		l, other := kubelock.NewLock[int](newClient(), "counter"), kubelock.NewLock[int](newClient(), "counter")
		for _, l := range []*kubelock.Lock[int]{l, other} {
			if _, err := l.Apply(t.Context(), add(1)); err != nil {
				t.Fatal(err)
			}
		}
		requests.taken()
		seen := 0
		_, err := l.Apply(t.Context(), func(state int) (int, error) { seen = state; return 0, errMine })
		if !errors.Is(err, errMine) || seen != 2 {
			t.Errorf("Apply gives %v after it has seen %d", err, seen)
		}
		if sent := requests.taken(); sent != "get" {
			t.Errorf("it sent %q", sent)
		}
		held := acquire(t, other)
		queued := startApply(t.Context(), l, func(int) (int, error) { return 0, errMine })
		<-time.After(time.Second)
		release(t, held.Update(7))
		if _, err := queued(); !errors.Is(err, errMine) {
			t.Errorf("Apply in the queue gives %v", err)
		}
		if n, err := other.Apply(t.Context(), add(1)); n != 8 || err != nil {
			t.Errorf("the next Apply gives %d, %v", n, err)
		}
	})
}

// TestApplyIsGivenUp has contexts end: of calls that are not sent, and of one that is.
func TestApplyIsGivenUp(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t, server, newClient := m.T, m.server, m.newClient
		var requests tap
		requests.watch(server)
		c := newClient()
		l := kubelock.NewLock[int](c, "counter")
		if _, err := l.Apply(t.Context(), add(1)); err != nil {
			t.Fatal(err)
		}
		open := requests.close()
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("the test ends it")
		sent := startApply(ctx, l, add(10))
		synctest.Wait()
		waiting, stays := startApply(ctx, l, add(100)), startApply(t.Context(), l, add(1000))
		synctest.Wait()
		cancel(cause)
		if _, err := sent(); !errors.Is(err, kubelock.ErrUnknownOutcome) || !errors.Is(err, cause) {
			t.Errorf("the call that was sent gives %v", err)
		}
		if _, err := waiting(); !errors.Is(err, kubelock.ErrNotAcquired) || errors.Is(err, kubelock.ErrUnknownOutcome) {
			t.Errorf("the call that waits gives %v", err)
		}
		open()
		if n, err := stays(); n != 1011 || err != nil {
			t.Errorf("the call that stays gives %d, %v", n, err)
		}

		other := acquire(t, kubelock.NewLock[int](newClient(), "counter"))
		ctx, cancel = context.WithCancelCause(t.Context())
		alone := startApply(ctx, l, add(1))
		<-time.After(time.Second)
		cancel(cause)
		if _, err := alone(); !errors.Is(err, kubelock.ErrNotAcquired) || !strings.Contains(err.Error(), "held by") {
			t.Errorf("the call that waits for another client gives %v", err)
		}
		release(t, other)
		if n, err := l.Apply(t.Context(), add(1)); n != 1012 || err != nil {
			t.Errorf("the next call gives %d, %v", n, err)
		}

		// One that has queued, and whose write is under way.
		other = acquire(t, kubelock.NewLock[int](newClient(), "counter"))
		ctx, cancel = context.WithCancelCause(t.Context())
		queued := startApply(ctx, l, add(1))
		<-time.After(time.Second)
		given := make(chan struct{})
		go func() { defer close(given); release(t, other) }()
		m.server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			select {
			case <-given: // What is written now is not the release.
				if verbOf(req) != "get" && verbOf(req) != "watch" {
					<-ctx.Done()
					<-time.After(time.Second)
				}
			default:
			}
			return next.RoundTrip(req)
		})
		<-given
		<-time.After(time.Second)
		began := time.Now()
		cancel(cause)
		if _, err := queued(); !errors.Is(err, kubelock.ErrUnknownOutcome) || time.Since(began) > 0 {
			t.Errorf("the call whose release is under way gives %v after %v", err, time.Since(began))
		}
	})
}

// TestApplyLosesItsAnswer has the write of a call be done, or not, and its answer be lost; also while another
// client changes the lock meanwhile.
func TestApplyLosesItsAnswer(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name         string
		done, others int // how often
		unknown      bool
	}{
		{"done", 1, 0, false},
		{"not done", 0, 0, false},
		{"not done, another client was in once", 0, 1, false},
		{"done, another client was in", 1, 1, true},
		{"not done, others were in", 0, 2, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(m memory) {
				t, server, newClient := m.T, m.server, m.newClient
				l, other := kubelock.NewLock[int](newClient(), "counter"), kubelock.NewLock[int](newClient(), "counter")
				if _, err := l.Apply(t.Context(), add(1)); err != nil {
					t.Fatal(err)
				}
				server.Intercept(once("patch", func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
					server.Intercept(nil)
					if tc.done > 0 {
						resp, err := next.RoundTrip(req)
						if err != nil {
							return nil, err
						}
						resp.Body.Close()
					}
					for range tc.others {
						if _, err := other.Apply(t.Context(), add(100)); err != nil {
							t.Error(err)
						}
					}
					return nil, io.ErrUnexpectedEOF
				}))
				n, err := l.Apply(t.Context(), add(1))
				want := 2 + 100*tc.others
				switch {
				case tc.unknown && !errors.Is(err, kubelock.ErrUnknownOutcome):
					t.Errorf("Apply gives %d, %v, want an unknown outcome", n, err)
				case tc.unknown:
					want = 1 + tc.done + 100*tc.others
				case err != nil || n != want:
					t.Errorf("Apply gives %d, %v, want %d", n, err, want)
				}
				if s, err := l.Get(t.Context()); err != nil || s.Value != want {
					t.Errorf("the state is %d, %v, want %d", s.Value, err, want)
				}
			})
		})
	}
}

// words are calls that each add a word to a text. Writes wait until all have come, and pass through change, which may
// alter their body or, by a status, refuse them.
func words(t *testing.T, server *kubelocktest.Server, c *kubelock.Client, change func(body string) (changed string, status int), all ...string) []error {
	t.Helper()
	l := kubelock.NewLock[string](c, "text")
	release(t, acquire(t, l)) // The first write of a call creates nothing then, and stores its change.
	gate := make(chan struct{})
	server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		verb := verbOf(req)
		if verb == "get" || verb == "watch" {
			return next.RoundTrip(req)
		}
		<-gate
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		changed, status := change(string(body))
		if status != 0 {
			return answerOf(req, status, ""), nil
		}
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader(changed)), int64(len(changed))
		return next.RoundTrip(req)
	})
	errs := make([]error, len(all))
	var calls sync.WaitGroup
	for i, word := range all {
		calls.Go(func() {
			_, errs[i] = l.Apply(t.Context(), func(state string) (string, error) { return state + word, nil })
		})
		synctest.Wait()
	}
	close(gate)
	calls.Wait()
	return errs
}

// TestApplyIsRefused has the API server refuse a write that several calls share because of one of them: the others are stored.
func TestApplyIsRefused(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		c := m.newClient()
		errs := words(m.T, m.server, c, func(body string) (string, int) {
			if strings.Contains(body, "evil") {
				return "", http.StatusUnprocessableEntity
			}
			return body, 0
		}, "first ", "a ", "evil ", "b ")
		if err := errors.Join(errs[0], errs[1], errs[3]); err != nil {
			m.Error("the others:", err)
		}
		if err := errs[2]; err == nil || errors.Is(err, kubelock.ErrUnknownOutcome) {
			m.Errorf("the call that is refused gives %v", err)
		}
		if s, err := kubelock.NewLock[string](c, "text").Get(m.Context()); err != nil || s.Value != "first a b " {
			m.Errorf("the state is %q, %v", s.Value, err)
		}
	})
}

// TestApplyIsRefusedAtItsRelease is TestApplyIsRefused for calls that have queued for another client.
func TestApplyIsRefusedAtItsRelease(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		held := acquire(m.T, kubelock.NewLock[string](m.newClient(), "text"))
		c := m.newClient()
		l := kubelock.NewLock[string](c, "text")
		m.server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if req.Body == nil || req.Method == http.MethodGet {
				return next.RoundTrip(req)
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				return nil, err
			}
			if strings.Contains(string(body), "evil") {
				return answerOf(req, http.StatusUnprocessableEntity, ""), nil
			}
			req.Body = io.NopCloser(strings.NewReader(string(body)))
			return next.RoundTrip(req)
		})
		errs := make([]error, 3)
		var calls sync.WaitGroup
		for i, word := range []string{"a ", "evil ", "b "} {
			calls.Go(func() {
				_, errs[i] = l.Apply(m.Context(), func(state string) (string, error) { return state + word, nil })
			})
			<-time.After(time.Second)
		}
		release(m.T, held)
		calls.Wait()
		if err := errors.Join(errs[0], errs[2]); err != nil {
			m.Error("the others:", err)
		}
		if err := errs[1]; err == nil || errors.Is(err, kubelock.ErrUnknownOutcome) {
			m.Errorf("the call that is refused gives %v", err)
		}
		if s, err := l.Get(m.Context()); err != nil || s.Value != "a b " {
			m.Errorf("the state is %q, %v", s.Value, err)
		}
	})
}

// TestApplyIsStoredOtherwise has something before the API server change what several calls share: each gets an
// error that says so, and none is tried again.
func TestApplyIsStoredOtherwise(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		c := m.newClient()
		errs := words(m.T, m.server, c, func(body string) (string, int) {
			return strings.ReplaceAll(body, "second", "SECOND"), 0
		}, "first ", "second ", "third ")
		if errs[0] != nil {
			m.Error(errs[0])
		}
		for _, err := range errs[1:] {
			if err == nil || !strings.Contains(err.Error(), "stored something else") || errors.Is(err, kubelock.ErrUnknownOutcome) {
				m.Errorf("a call whose state is stored otherwise gives %v", err)
			}
		}
		if s, err := kubelock.NewLock[string](c, "text").Get(m.Context()); err != nil || s.Value != "first SECOND third " {
			m.Errorf("the state is %q, %v", s.Value, err)
		}
	})
}

// TestApplyIsMisused has calls that cannot be.
func TestApplyIsMisused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		c := server.NewClient(t, kubelock.Config{})
		l := kubelock.NewLock[int](c, "counter")
		if _, err := l.Apply(t.Context(), nil); err == nil {
			t.Error("without a function there is no error")
		}
		if _, err := l.Apply(t.Context(), add(1), kubelock.WithAutoRenew()); err == nil || !strings.Contains(err.Error(), "WithAutoRenew") {
			t.Errorf("WithAutoRenew gives %v", err)
		}
		if _, err := l.Apply(nil, add(1)); err == nil { //nolint:staticcheck // That is what it tests.
			t.Error("without a context there is no error")
		}
		if _, err := new(kubelock.Lock[int]).Apply(t.Context(), add(1)); err == nil {
			t.Error("a zero Lock gives no error")
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Apply(ended, add(1)); !errors.Is(err, context.Canceled) || !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Errorf("a context that has ended gives %v", err)
		}
		_, err := l.Do(t.Context(), func(ctx context.Context, state int) (int, error) {
			_, err := l.Apply(ctx, add(1))
			if !errors.Is(err, kubelock.ErrDeadlock) {
				t.Errorf("Apply in Do gives %v", err)
			}
			return state, nil
		})
		if err != nil {
			t.Error(err)
		}
		if _, err := kubelock.NewLock[string](c, "counter").Apply(t.Context(), func(s string) (string, error) { return s, nil }); err == nil ||
			!strings.Contains(err.Error(), "is not a string") {
			t.Errorf("a state of another type gives %v", err)
		}
		c.Close()
		if _, err := l.Apply(t.Context(), add(1)); !errors.Is(err, kubelock.ErrClosed) {
			t.Errorf("a closed client gives %v", err)
		}
	})
}

// TestApplyEndsWithItsClient closes a client while its calls wait, and while one is sent.
func TestApplyEndsWithItsClient(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t, server, newClient := m.T, m.server, m.newClient
		var requests tap
		requests.watch(server)
		held := acquire(t, kubelock.NewLock[int](newClient(), "held"))
		c := newClient()
		waiting := []func() (int, error){
			startApply(t.Context(), kubelock.NewLock[int](c, "held"), add(1)),
			startApply(t.Context(), kubelock.NewLock[int](c, "held"), add(1)),
		}
		<-time.After(time.Second)
		free := kubelock.NewLock[int](c, "free")
		release(t, acquire(t, free))
		open := requests.close()
		sent := startApply(t.Context(), free, add(1))
		synctest.Wait()
		closed := make(chan struct{})
		go func() { defer close(closed); c.Close() }()
		for _, call := range waiting {
			if _, err := call(); !errors.Is(err, kubelock.ErrClosed) {
				t.Errorf("a call that waits gives %v", err)
			}
		}
		if _, err := sent(); !errors.Is(err, kubelock.ErrUnknownOutcome) || !errors.Is(err, kubelock.ErrClosed) {
			t.Errorf("the call that was sent gives %v", err)
		}
		open()
		<-closed
		release(t, held)
	})
}

// TestApplyExactlyOnce has many callers of many clients apply changes, beside calls of Do, while answers are lost,
// contexts end and writes are refused: each change that was acknowledged is stored once, one that was refused never.
func TestApplyExactlyOnce(t *testing.T) {
	t.Parallel()
	const clients, callers, rounds = 4, 6, 12
	inMemory(t, func(m memory) {
		t, server, newClient := m.T, m.server, m.newClient
		random := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		draw := func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			return random.IntN(n)
		}
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if verbOf(req) == "watch" {
				return next.RoundTrip(req)
			}
			<-time.After(time.Duration(1+draw(5)) * time.Millisecond)
			switch draw(20) {
			case 0:
				return nil, io.ErrUnexpectedEOF
			case 1:
				if resp, err := next.RoundTrip(req); err == nil {
					resp.Body.Close()
				}
				return nil, io.ErrUnexpectedEOF
			}
			return next.RoundTrip(req)
		})
		var done, unknown, failed []string
		note := func(list *[]string, change string) {
			mu.Lock()
			defer mu.Unlock()
			*list = append(*list, change)
		}
		var wait sync.WaitGroup
		for i := range clients {
			l := kubelock.NewLock[[]string](newClient(), "log")
			for j := range callers {
				wait.Go(func() {
					for k := range rounds {
						change := fmt.Sprintf("%d/%d/%d", i, j, k)
						ctx, cancel := context.WithTimeout(t.Context(), time.Duration(5+draw(4000))*time.Millisecond)
						var err error
						if draw(5) == 0 {
							_, err = l.Do(ctx, func(_ context.Context, state []string) ([]string, error) { return append(state, change), nil })
						} else {
							_, err = l.Apply(ctx, func(state []string) ([]string, error) {
								if draw(8) == 0 {
									return append(state, "never"), errMine
								}
								return append(state, change), nil
							})
						}
						cancel()
						switch {
						case err == nil:
							note(&done, change)
						case errors.Is(err, kubelock.ErrUnknownOutcome):
							note(&unknown, change)
						default:
							note(&failed, change)
						}
						<-time.After(time.Duration(draw(20)) * time.Millisecond)
					}
				})
			}
		}
		wait.Wait()
		server.Intercept(nil)
		<-time.After(time.Minute) // What was begun in the background ends.
		s, err := kubelock.NewLock[[]string](newClient(), "log").Get(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		count := map[string]int{}
		for _, change := range s.Value {
			count[change]++
		}
		for _, change := range done {
			if count[change] != 1 {
				t.Errorf("%s was acknowledged, and is stored %d times", change, count[change])
			}
		}
		for _, change := range unknown {
			if count[change] > 1 {
				t.Errorf("%s is stored %d times", change, count[change])
			}
		}
		for _, change := range append(slices.Clone(failed), "never") {
			if count[change] != 0 {
				t.Errorf("%s has failed, and is stored %d times", change, count[change])
			}
		}
		if len(done) < clients*callers*rounds/2 {
			t.Errorf("of %d calls %d were done, of %d it is not known", clients*callers*rounds, len(done), len(unknown))
		}
	})
}
