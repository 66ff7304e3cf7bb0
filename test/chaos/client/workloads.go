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

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// worker is one goroutine that uses locks.
type worker struct {
	*program
	random *rand.Rand
}

var errUnwanted = errors.New("the function wants nothing written")

// registers is how many registers of a kind are in use at a time. New ones are used every minute, so
// that histories stay short enough for the check of linearizability.
const registers = 2

// work runs random workloads until finish is closed.
func (w *worker) work(ctx context.Context, finish <-chan struct{}) {
	workloads := []struct {
		weight int
		do     func(ctx context.Context, kind string)
	}{
		{30, w.count}, {30, w.register}, {20, w.external}, {20, w.queue}, {20, w.apply}, {10, w.storm}, {6, w.await}, {6, w.get}, {6, w.passing},
	}
	total := 0
	for _, l := range workloads {
		total += l.weight
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-finish:
			return
		case <-time.After(w.upTo(150 * time.Millisecond)):
		}
		kind := history.Kinds[w.random.IntN(len(history.Kinds))]
		at := w.random.IntN(total)
		for _, l := range workloads {
			if at -= l.weight; at < 0 {
				l.do(ctx, kind)
				break
			}
		}
	}
}

func (w *worker) upTo(d time.Duration) time.Duration { return time.Duration(w.random.Int64N(int64(d))) }

// patience returns a random timeout for a caller, and a context with it.
func (w *worker) patience(ctx context.Context) (context.Context, time.Duration, context.CancelFunc) {
	d := 2*time.Second + w.upTo(10*time.Second)
	if w.random.IntN(4) == 0 {
		d = 20*time.Millisecond + w.upTo(time.Second)
	}
	ctx, cancel := context.WithTimeout(ctx, d)
	return ctx, d, cancel
}

// count adds one to a counter by Do. Some functions fail, and some take too long.
func (w *worker) count(ctx context.Context, kind string) {
	key := w.epoch("counter", 1)
	ctx, patience, cancel := w.patience(ctx)
	defer cancel()
	fails, takes := w.random.IntN(10) == 0, w.upTo(30*time.Millisecond)
	if w.random.IntN(60) == 0 {
		takes = w.lease + w.upTo(w.lease)
	}
	acquire, release := w.called(history.Acquire, kind, key, ""), history.Entry{}
	acquire.Timeout = int64(patience)
	w.call(acquire)
	_, err := kubelock.NewLock[history.State](w.plain[kind], key).Do(ctx, func(work context.Context, s history.State) (history.State, error) {
		acquire.Read, acquire.Outcome = s.Write, history.OK
		began := history.Now()
		w.returned(acquire)
		w.pass(work, takes)
		w.alive(acquire.ID, work, began)
		release = w.called(history.Release, kind, key, acquire.ID)
		if !fails {
			release.Write = w.id()
		}
		w.call(release)
		if fails {
			return s, errUnwanted
		}
		return s.Next(release.Write), nil
	})
	if release.ID == "" {
		acquire.Outcome, acquire.Err = outcomeOf(err)
		w.returned(acquire)
		return
	}
	if errors.Is(err, errUnwanted) && fails {
		err = errors.Join(without(err, errUnwanted)...)
	}
	release.Outcome, release.Err = outcomeOf(err)
	w.returned(release)
}

// without returns the parts of a joined error except one.
func without(err, one error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	var rest []error
	for _, part := range joined.Unwrap() {
		if !errors.Is(part, one) {
			rest = append(rest, part)
		}
	}
	return rest
}

// epoch returns a key that is used for a minute.
func (w *worker) epoch(name string, n int) string {
	return fmt.Sprintf("%s-%d-%d", name, (history.Now()-w.begun)/int64(time.Minute), w.random.IntN(n))
}

// pass waits for d, or until ctx ends.
func (w *worker) pass(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// register acquires a register, reads it, saves and releases.
func (w *worker) register(ctx context.Context, kind string) {
	key := w.epoch("register", registers)
	var opts []kubelock.Option
	renews := w.random.IntN(2) == 0
	if renews {
		opts = append(opts, kubelock.WithAutoRenew())
	}
	ctx, patience, cancel := w.patience(ctx)
	defer cancel()
	h := w.acquire(ctx, w.plain[kind], kind, key, patience, false, opts...)
	if h == nil {
		return
	}
	takes := w.upTo(40 * time.Millisecond)
	switch n := w.random.IntN(40); {
	case n == 0 && renews:
		takes = 2 * w.lease
	case n == 1:
		takes = w.lease + w.upTo(w.lease)
	}
	for range w.random.IntN(3) {
		h.save()
		w.pass(h.Context(), takes/2)
	}
	w.pass(h.Context(), takes)
	h.release(w.random.IntN(3) > 0)
}

// external adds one to a counter in each external store, under the lock.
func (w *worker) external(ctx context.Context, kind string) {
	key := "external"
	ctx, patience, cancel := w.patience(ctx)
	defer cancel()
	h := w.acquire(ctx, w.plain[kind], kind, key, patience, false)
	if h == nil {
		return
	}
	// The worker does not check whether it still holds the lock. Only the fenced store can prevent the
	// effects of that mistake.
	_ = w.stores.Add(kind+"/"+key, h.Token(), func() { w.pass(context.Background(), w.upTo(20*time.Millisecond)) })
	h.release(false)
}

// queue waits for a contended lock, and holds it for a moment.
func (w *worker) queue(ctx context.Context, kind string) {
	ctx, patience, cancel := w.patience(ctx)
	defer cancel()
	h := w.acquire(ctx, w.plain[kind], kind, w.epoch("queue", 1), patience, false)
	if h == nil {
		return
	}
	w.pass(h.Context(), w.upTo(20*time.Millisecond))
	h.release(true)
}

// storm calls TryAcquire for a lock in quick succession.
func (w *worker) storm(ctx context.Context, kind string) {
	for range 2 + w.random.IntN(8) {
		h := w.acquire(ctx, w.plain[kind], kind, w.epoch("storm", 1), 0, true)
		if h == nil {
			continue
		}
		w.pass(h.Context(), w.upTo(10*time.Millisecond))
		h.release(true)
	}
}

// await waits until a lock is free, and does not acquire it.
func (w *worker) await(ctx context.Context, kind string) {
	ctx, _, cancel := w.patience(ctx)
	defer cancel()
	e := w.called(history.Wait, kind, []string{w.epoch("queue", 1), w.epoch("counter", 1)}[w.random.IntN(2)], "")
	w.call(e)
	s, err := kubelock.NewLock[history.State](w.plain[kind], e.Key).Wait(ctx)
	e.Outcome, e.Err = outcomeOf(err)
	e.Read = s.Value.Write
	w.returned(e)
}

// get reads a lock without acquiring it.
func (w *worker) get(ctx context.Context, kind string) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	e := w.called(history.Get, kind, w.epoch("register", registers), "")
	w.call(e)
	s, err := kubelock.NewLock[history.State](w.plain[kind], e.Key).Get(ctx)
	e.Outcome, e.Err = outcomeOf(err)
	e.Read = s.Value.Write
	w.returned(e)
}

// passing uses a lock that this program or the reaper deletes soon.
func (w *worker) passing(ctx context.Context, kind string) {
	key := fmt.Sprintf("passing-%d", w.random.IntN(2))
	ctx, patience, cancel := w.patience(ctx)
	defer cancel()
	if w.random.IntN(4) == 0 {
		e := w.called(history.Delete, kind, key, "")
		w.call(e)
		e.Outcome, e.Err = outcomeOf(kubelock.NewLock[history.State](w.brief[kind], key).Delete(ctx))
		w.returned(e)
		return
	}
	if h := w.acquire(ctx, w.brief[kind], kind, key, patience, false); h != nil {
		h.release(true)
	}
}
