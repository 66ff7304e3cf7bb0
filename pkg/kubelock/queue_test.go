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
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// lockOf returns the key's lock of a client of its own.
func lockOf(t testing.TB, ns, key string) *kubelock.Lock[string] {
	t.Helper()
	return kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), key)
}

// waiting is an Acquire in a goroutine of its own.
type waiting struct {
	held *kubelock.Held[string]
	err  error
	done chan struct{}
}

func startAcquire(ctx context.Context, l *kubelock.Lock[string], opts ...kubelock.Option) *waiting {
	w := &waiting{done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.held, w.err = l.Acquire(ctx, opts...)
	}()
	return w
}

func (w *waiting) get(t testing.TB) *kubelock.Held[string] {
	t.Helper()
	<-w.done
	if w.err != nil {
		t.Fatal(w.err)
	}
	return w.held
}

// queued waits until that many clients queue for the lock.
func queued(h *testenv.History, name string, n int) testenv.Version {
	return h.Until(patience, name, fmt.Sprintf("queued for by %d", n), func(v testenv.Version) bool { return len(v.Spec.Waiters) == n })
}

func patchLock(t testing.TB, ns, name, patch string) {
	t.Helper()
	obj := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}}
	if err := env.Client(t).Patch(within(t), obj, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// TestQueueIsFirstComeFirstServed checks that waiters of distinct clients get the lock
// in the order in which their queue entries were written, each with the state that the
// last holder left, and that each hand-off is one write.
func TestQueueIsFirstComeFirstServed(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	const n = 8
	held := acquire(t, lockOf(t, ns, "fifo"))
	waiters := make([]*waiting, 0, n)
	for i := range n {
		waiters = append(waiters, startAcquire(within(t), lockOf(t, ns, "fifo")))
		queued(history, "fifo", i+1)
	}
	state := ""
	for i, w := range waiters {
		last := held.Token()
		state += strconv.Itoa(i)
		release(t, held.Update(state))
		held = w.get(t)
		if held.Value() != state || held.Token() <= last {
			t.Errorf("waiter %d has the state %q and the token %d after %d, want %q", i, held.Value(), held.Token(), last, state)
		}
		for j := i + 1; j < n; j++ {
			select {
			case <-waiters[j].done:
				t.Fatalf("waiter %d has the lock together with waiter %d", j, i)
			default:
			}
		}
	}
	release(t, held)
	history.Until(patience, "fifo", "free", func(v testenv.Version) bool { return v.Free() && v.Spec.Transitions == n+1 })
	free := 0
	for _, v := range history.Of("fifo") {
		if v.Free() {
			free++
		}
		if l := v.Spec.LastRelease; v.Spec.Holder != nil && l != nil && l.Reason != v1alpha1.ReasonHandedOff {
			t.Errorf("a hold ended as %s, want a hand-off", l.Reason)
		}
	}
	if free != 1 {
		t.Errorf("the lock was free %d times, want only at the end", free)
	}
}

// TestTryAcquireDoesNotOvertake checks that a free lock belongs to the head of its
// queue, until everybody in it has had the chance to take it.
func TestTryAcquireDoesNotOvertake(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	release(t, acquire(t, lockOf(t, ns, "try")))
	entry := protocol.Waiter{LockID: "somebody-1", Duration: time.Minute, Identity: "somebody"}
	patchLock(t, ns, "try", `{"spec":{"waiters":["`+entry.String()+`"]}}`)
	other := lockOf(t, ns, "try")
	if _, err := other.TryAcquire(within(t)); !errors.Is(err, kubelock.ErrNotAcquired) || !strings.Contains(err.Error(), `"somebody" is the next to have it`) {
		t.Errorf("got %v, want ErrNotAcquired and who is next", err)
	}
	// The one in the queue is dead, and there is no reaper.
	start := time.Now()
	held := acquire(t, other)
	if took := time.Since(start); took < protocol.Grace-3*time.Second {
		t.Errorf("overtook the head of the queue after %v", took)
	}
	release(t, held)
}

// TestWaiterLeavesTheQueue checks a waiter that gives up: the lock goes to the next.
func TestWaiterLeavesTheQueue(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	held := acquire(t, lockOf(t, ns, "leave"))
	ctx, cancel := context.WithCancel(t.Context())
	first := startAcquire(ctx, lockOf(t, ns, "leave"))
	queued(history, "leave", 1)
	second := startAcquire(within(t), lockOf(t, ns, "leave"))
	queued(history, "leave", 2)
	cancel()
	<-first.done
	if !errors.Is(first.err, kubelock.ErrNotAcquired) || !errors.Is(first.err, context.Canceled) {
		t.Errorf("the one that left got %v", first.err)
	}
	left := history.Until(patience, "leave", "left", func(v testenv.Version) bool {
		w, _ := protocol.ParseWaiter(strings.Join(v.Spec.Waiters, ""))
		return len(v.Spec.Waiters) == 1 && len(history.Of("leave")) > 3 && w.LockID != ""
	})
	release(t, held)
	if got := second.get(t); !strings.HasPrefix(left.Spec.Waiters[0], got.ID()+" ") {
		t.Errorf("the queue was %q, and %s got the lock", left.Spec.Waiters, got.ID())
	} else {
		release(t, got)
	}
}

// TestWaiterThatGivesUpNamesItsPlace checks the error of a waiter that knows that it is in the queue.
func TestWaiterThatGivesUpNamesItsPlace(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		held := acquire(m.T, kubelock.NewLock[string](m.newClient(), "leave"))
		ctx, cancel := context.WithCancel(m.Context())
		waiter := startAcquire(ctx, kubelock.NewLock[string](m.newClient(), "leave"))
		synctest.Wait()
		<-time.After(time.Second) // The answer to its write takes a moment.
		synctest.Wait()
		cancel()
		<-waiter.done
		if !errors.Is(waiter.err, kubelock.ErrNotAcquired) || !strings.Contains(waiter.err.Error(), "place 1 of 1 in the queue") {
			m.Errorf("the one that left got %v", waiter.err)
		}
		release(m.T, held)
	})
}

// TestDeadWaiterCostsTheGrace checks, without a reaper, that a dead client at the head
// of the queue does not keep the lock from the next.
func TestDeadWaiterCostsTheGrace(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	held := acquire(t, lockOf(t, ns, "dead"), kubelock.WithDuration(3*time.Second))
	var rec recorder
	dead := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns})
	ctx, dies := context.WithCancel(within(t))
	first := startAcquire(ctx, kubelock.NewLock[string](dead, "dead"))
	queued(history, "dead", 1)
	second := startAcquire(within(t), lockOf(t, ns, "dead"))
	queued(history, "dead", 2)
	rec.on(func(*http.Request, http.RoundTripper) (*http.Response, error) { return nil, errors.New("dead") })
	dies() // It cannot leave the queue.
	<-first.done
	if !errors.Is(first.err, kubelock.ErrNotAcquired) {
		t.Errorf("got %v, want ErrNotAcquired", first.err)
	}
	release(t, held)
	granted := history.Until(patience, "dead", "granted to the dead", func(v testenv.Version) bool {
		return v.Spec.Holder != nil && v.Spec.Transitions == 2
	})
	got := second.get(t)
	if waited := time.Since(granted.Seen); waited < protocol.Grace-time.Second {
		t.Errorf("a grant of %v was taken over after %v", protocol.Grace, waited)
	}
	release(t, got)
}

// TestLockFreedByHandIsNoticed checks the safety re-read: nobody tells a waiter that the
// lock was freed by hand, or deleted.
func TestLockFreedByHandIsNoticed(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"freed", "deleted"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			history := env.Watch(t, ns)
			acquire(t, lockOf(t, ns, how), kubelock.WithDuration(4*time.Second), kubelock.WithAutoRenew())
			w := startAcquire(within(t), lockOf(t, ns, how))
			queued(history, how, 1)
			if how == "freed" {
				patchLock(t, ns, how, `{"metadata":{"labels":{"kubelock.dev/holder":null}},"spec":{"holder":null}}`)
			} else if err := env.Client(t).Delete(within(t), &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: how}}); err != nil {
				t.Fatal(err)
			}
			release(t, w.get(t))
		})
	}
}

// TestWaitBesideAQueue checks that Wait sees a hand-off as the end of a hold.
func TestWaitBesideAQueue(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	held := acquire(t, lockOf(t, ns, "beside"))
	next := startAcquire(within(t), lockOf(t, ns, "beside"))
	queued(history, "beside", 1)
	var rec recorder
	beside := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "beside")
	snapshots, errs := make(chan kubelock.Snapshot[string], 1), make(chan error, 1)
	go func() {
		s, err := beside.Wait(within(t))
		snapshots <- s
		errs <- err
	}()
	rec.waitFor(t, "watch")
	release(t, held.Update("handed on"))
	got := next.get(t)
	s, err := <-snapshots, <-errs
	if err != nil || s.Value != "handed on" || !s.Held || s.Token != got.Token() {
		t.Errorf("Wait gives %+v, %v; want the state at the hand-off to the token %d", s, err, got.Token())
	}
	release(t, got)
}

// TestDeleteWithWaiters checks that a deletion queues as everybody does, and hands the
// lock on without state when others queue behind it.
func TestDeleteWithWaiters(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	held := acquire(t, lockOf(t, ns, "delete"))
	deleted := make(chan error, 1)
	deleter := lockOf(t, ns, "delete")
	go func() { deleted <- deleter.Delete(within(t)) }()
	queued(history, "delete", 1)
	next := startAcquire(within(t), lockOf(t, ns, "delete"))
	queued(history, "delete", 2)
	release(t, held.Update("state"))
	if err := <-deleted; err != nil {
		t.Fatal(err)
	}
	got := next.get(t)
	if got.Exists() {
		t.Errorf("after the deletion the state is %q", got.Value())
	}
	release(t, got.Update("new"))
	for _, v := range history.Of("delete") {
		if v.Deleted {
			t.Error("the object was deleted although somebody queued")
		}
	}
	if err := deleter.Delete(within(t)); err != nil {
		t.Error(err)
	}
	history.Until(patience, "delete", "deleted", func(v testenv.Version) bool { return v.Deleted })
}

// TestCallersOfOneClient checks that callers of one client are served in their order at
// one write a cycle, and that they do not keep the lock from other clients.
func TestCallersOfOneClient(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	var rec recorder
	c := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns})
	l := kubelock.NewLock[string](c, "local")
	held := acquire(t, l)
	const n = 10
	callers := make([]*waiting, 0, n)
	for i := range n {
		callers = append(callers, startAcquire(within(t), l))
		eventuallyQueued(t, c, "local", i+2)
	}
	rec.taken()
	for i, w := range callers[:n-2] {
		last := held.Token()
		release(t, held.Update(strconv.Itoa(i)))
		held = w.get(t)
		if held.Value() != strconv.Itoa(i) || held.Token() <= last {
			t.Errorf("caller %d has the state %q and the token %d after %d", i, held.Value(), held.Token(), last)
		}
	}
	if got, want := rec.taken(), strings.TrimSpace(strings.Repeat("update ", n-2)); got != want {
		t.Errorf("%d cycles sent %q, want %q", n-2, got, want)
	}

	other := startAcquire(within(t), lockOf(t, ns, "local"))
	queued(history, "local", 1)
	release(t, held)
	got := other.get(t) // Before the callers that are left.
	queued(history, "local", 1)
	release(t, got.Update("from another"))
	for _, w := range callers[n-2:] {
		held = w.get(t)
		if held.Value() != "from another" {
			t.Errorf("the state is %q", held.Value())
		}
		release(t, held)
	}
}

// eventuallyQueued waits until that many callers of a client have the lock or want it.
func eventuallyQueued(t testing.TB, c *kubelock.Client, object string, n int) {
	t.Helper()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for ctx := within(t); c.Queued(object) != n; {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%d callers want %s, not %d", c.Queued(object), object, n)
		}
	}
}

// TestCallersInheritTheirClientsPlace checks a caller that gives up: the next one of
// its client goes on with the client's place in the queue.
func TestCallersInheritTheirClientsPlace(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	held := acquire(t, lockOf(t, ns, "place"))
	c := newClient(t, kubelock.Config{Namespace: ns})
	l := kubelock.NewLock[string](c, "place")
	ctx, cancel := context.WithCancel(t.Context())
	first := startAcquire(ctx, l)
	entry := queued(history, "place", 1).Spec.Waiters[0]
	second := startAcquire(within(t), l, kubelock.WithDuration(time.Hour))
	eventuallyQueued(t, c, "place", 2)
	cancel()
	<-first.done
	if !errors.Is(first.err, kubelock.ErrNotAcquired) {
		t.Error(first.err)
	}
	release(t, held)
	got := second.get(t)
	if !strings.HasPrefix(entry, got.ID()+" ") {
		t.Errorf("got the lock as %s, the place was that of %q", got.ID(), entry)
	}
	if err := got.Renew(within(t)); err != nil {
		t.Error(err)
	}
	if left := time.Until(got.Deadline()); left < 50*time.Minute {
		t.Errorf("renewed for %v, want the hour that this caller asked for", left)
	}
	release(t, got)
}

// TestGrantIsExtended checks that a hold which was handed on has a short lease at
// first, and the whole one if it lasts.
func TestGrantIsExtended(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	held := acquire(t, lockOf(t, ns, "extended"))
	w := startAcquire(within(t), lockOf(t, ns, "extended"), kubelock.WithDuration(time.Hour))
	queued(history, "extended", 1)
	release(t, held)
	got := w.get(t)
	if left := time.Until(got.Deadline()); left > protocol.Grace {
		t.Errorf("was given %v, want at most %v", left, protocol.Grace)
	}
	whole := history.Until(patience, "extended", "extended", func(v testenv.Version) bool {
		return v.Spec.Holder != nil && v.Spec.Holder.LockID == got.ID() && v.Spec.Holder.Duration.Duration == time.Hour
	})
	if err := got.Context().Err(); err != nil {
		t.Error("the hold was lost before it was extended")
	}
	if whole.Spec.Holder.Token != got.Token() {
		t.Errorf("the token has changed to %d", whole.Spec.Holder.Token)
	}
	release(t, got)
}

// TestLateGrantIsConfirmed checks a waiter that has waited for longer than it is given:
// it does not know when its lease began, and renews it before it uses it.
func TestLateGrantIsConfirmed(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	held := acquire(t, lockOf(t, ns, "confirmed"))
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "confirmed")
	w := startAcquire(within(t), l, kubelock.WithDuration(time.Second))
	since := queued(history, "confirmed", 1).Seen
	<-time.After(time.Until(since.Add(600 * time.Millisecond)))
	rec.taken()
	release(t, held)
	got := w.get(t)
	if requests := rec.taken(); requests != "patch" {
		t.Errorf("sent %q before it used the grant, want one renewal", requests)
	}
	if left := time.Until(got.Deadline()); left <= 0 || left > time.Second {
		t.Errorf("the lease lasts for %v more", left)
	}
	_ = got.Release(within(t)) // On a loaded machine it may be late.
}

// TestFullQueue checks what a client does that finds no room in the queue.
func TestFullQueue(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	held := acquire(t, lockOf(t, ns, "full"))
	entries := make([]string, protocol.MaxWaiters)
	for i := range entries {
		entries[i] = fmt.Sprintf("%q", protocol.Waiter{LockID: protocol.LockID("dead", uint64(i)), Duration: time.Second, Identity: "x"})
	}
	patchLock(t, ns, "full", `{"spec":{"waiters":[`+strings.Join(entries, ",")+`]}}`)
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "full")
	w := startAcquire(within(t), l)
	rec.waitFor(t, "watch")
	if requests := rec.taken(); strings.Contains(requests, "patch") {
		t.Errorf("sent %q to a full queue", requests)
	}
	patchLock(t, ns, "full", `{"spec":{"waiters":[]}}`)
	queued(history, "full", protocol.MaxWaiters)
	queued(history, "full", 1)
	release(t, held)
	release(t, w.get(t))
}

// TestOneWatchAClient checks that a client opens no watch before it waits, and one for
// all keys that it waits for.
func TestOneWatchAClient(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	var rec recorder
	c := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns})
	selectors := make(chan string, 100)
	rec.on(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if verbOf(req) == "watch" {
			selectors <- req.URL.Query().Get("labelSelector") + req.URL.Query().Get("fieldSelector")
		}
		return next.RoundTrip(req)
	})
	other := newClient(t, kubelock.Config{Namespace: ns})
	keys := make([]string, 0, 5)
	var wg sync.WaitGroup
	for i := range 5 {
		keys = append(keys, fmt.Sprint("key", i))
		release(t, acquire(t, kubelock.NewLock[string](c, keys[i])))
	}
	if len(selectors) > 0 {
		t.Errorf("opened a watch of %s without waiting", <-selectors)
	}
	for _, key := range keys {
		held := acquire(t, kubelock.NewLock[string](other, key))
		wg.Go(func() { release(t, acquire(t, kubelock.NewLock[string](c, key))) })
		queued(history, key, 1)
		release(t, held)
	}
	wg.Wait()
	if n := len(selectors); n != 1 {
		t.Errorf("opened %d watches", n)
	}
	if s := <-selectors; !strings.HasPrefix(s, v1alpha1.HolderLabel+"=") {
		t.Errorf("watches %q, want only its own locks", s)
	}
}

// TestQueueEntryDeliveredTwice checks a lock that is given to a client in vain, because
// the network delivered its queue entry twice: it is handed on at once.
func TestQueueEntryDeliveredTwice(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	held := acquire(t, lockOf(t, ns, "twice"))
	var rec recorder
	twice := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "twice")
	var joins atomic.Int64
	rec.on(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		if verbOf(req) != "patch" {
			return next.RoundTrip(req)
		}
		switch joins.Add(1) {
		case 1: // Somebody is faster: the next time it joins whatever version there is.
			patchLock(t, ns, "twice", `{"metadata":{"annotations":{"faster":"yes"}}}`)
			return next.RoundTrip(req)
		case 2:
		default:
			return next.RoundTrip(req)
		}
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		again := req.Clone(context.WithoutCancel(req.Context()))
		again.Body = body
		resp, err := next.RoundTrip(req)
		if err == nil {
			copied, err := next.RoundTrip(again)
			if err != nil {
				return nil, err
			}
			_ = copied.Body.Close()
		}
		return resp, err
	})
	first := startAcquire(within(t), twice)
	queued(history, "twice", 2)
	second := startAcquire(within(t), lockOf(t, ns, "twice"))
	third := queued(history, "twice", 3)
	if third.Spec.Waiters[0] != third.Spec.Waiters[1] {
		t.Fatalf("the queue is %q", third.Spec.Waiters)
	}
	release(t, held)
	got := first.get(t)
	release(t, got) // To the second: its own entry would not count.
	release(t, second.get(t))

	// The entry of a waiter that has left is not skipped, but comes back.
	held = acquire(t, lockOf(t, ns, "again"))
	ctx, cancel := context.WithCancel(t.Context())
	gone := startAcquire(ctx, kubelock.NewLock[string](newClientFor(t, env.Config, kubelock.Config{Namespace: ns}), "again"))
	joined := queued(history, "again", 1)
	cancel()
	<-gone.done
	history.Until(patience, "again", "left", func(v testenv.Version) bool {
		return len(v.Spec.Waiters) == 0 && v.Seen.After(joined.Seen)
	})
	patchLock(t, ns, "again", fmt.Sprintf(`{"spec":{"waiters":[%q]}}`, joined.Spec.Waiters[0]))
	release(t, held)
	start := time.Now()
	history.Until(patience, "again", "handed on", func(v testenv.Version) bool { return v.Free() && v.Spec.Transitions == 2 })
	if took := time.Since(start); took > protocol.Grace {
		t.Errorf("a lock that nobody waited for was handed on after %v", took)
	}
}
