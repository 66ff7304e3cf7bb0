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

package worker

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kubelock/kubelock/test/bench/subjects"
)

// warm is the number of cycles after which the behaviour of a caller does not change any more: its
// client has queued, has returned to the lock, and has adapted to that.
const warm = 3

// loop is a set of callers that repeat their cycle, each with locks of its own.
type loop struct {
	turns   []turn
	callers sync.WaitGroup
	cancel  context.CancelFunc
}

// turn records the cycles of one caller. Only the caller may use it until it has stopped.
type turn struct {
	cycles  []Cycle
	waiting Instant // since when it waited at the end
	err     error

	done atomic.Int64 // completed cycles, for other goroutines; at least warm when the caller has stopped
}

func startLoop(ctx context.Context, locks [][]subjects.Lock, critical time.Duration) *loop {
	ctx, cancel := context.WithCancel(ctx)
	l := &loop{turns: make([]turn, len(locks)), cancel: cancel}
	for i := range l.turns {
		l.callers.Go(func() { l.turns[i].run(ctx, locks[i], critical) })
	}
	return l
}

func (t *turn) run(ctx context.Context, locks []subjects.Lock, critical time.Duration) {
	defer t.done.Add(warm) // Nothing waits for a caller that has failed; its error is reported at the end.
	for n := 0; ctx.Err() == nil; n++ {
		c := Cycle{Asked: Now()}
		held, err := locks[n%len(locks)].Acquire(ctx)
		if err != nil {
			if ctx.Err() == nil {
				t.err = err
			} else {
				t.waiting = c.Asked
			}
			return
		}
		c.Acquired = Now()
		if critical > 0 {
			stay(ctx, critical)
		}
		c.Releasing = Now()
		if t.err = held.Release(context.WithoutCancel(ctx)); t.err != nil {
			return
		}
		c.Done = Now()
		t.cycles = append(t.cycles, c)
		t.done.Add(1)
	}
}

// stay waits for d, as a critical section of that length.
func stay(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// cold returns how many cycles the callers still need until each is warm.
func (l *loop) cold() (cycles int) {
	for i := range l.turns {
		cycles += max(warm-int(l.turns[i].done.Load()), 0)
	}
	return cycles
}

// measure counts requests and allocations in the window, and stops the loop at its end.
func (l *loop) measure(w Window, meter *subjects.Meter) (Answer, error) {
	stay(context.Background(), w.Begin.Since(Now()))
	before, mallocs := meter.Counts(), allocated()
	stay(context.Background(), w.End.Since(Now()))
	counts, after := meter.Counts().Minus(before), allocated()
	answer, err := l.stop()
	answer.Counts, answer.Mallocs = counts, after-mallocs
	return answer, err
}

// stop ends the loop, and returns all of its cycles.
func (l *loop) stop() (Answer, error) {
	l.cancel()
	l.callers.Wait()
	var answer Answer
	errs := make([]error, 0, len(l.turns))
	for i := range l.turns {
		t := &l.turns[i]
		answer.Cycles = append(answer.Cycles, t.cycles...)
		if t.waiting != 0 {
			answer.Waiting = append(answer.Waiting, t.waiting)
		}
		errs = append(errs, t.err)
	}
	return answer, errors.Join(errs...)
}

// allocated returns how many objects this process has allocated so far.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
