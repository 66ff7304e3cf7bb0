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
	"time"

	"github.com/kubelock/kubelock/hack/bench/subjects"
)

// loop lets the callers repeat their cycle until the loop's end, each over its own locks.
func (w *serving) loop(ctx context.Context, l Loop) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, l.End.Since(Now()))
	defer cancel()
	var answer Answer
	var measuring sync.WaitGroup
	measuring.Go(func() { answer.Counts, answer.Mallocs = w.measure(ctx, l) })

	type turn struct {
		cycles  []Cycle
		waiting Instant
		err     error
	}
	turns := make([]turn, len(w.locks))
	var callers sync.WaitGroup
	for i, locks := range w.locks {
		callers.Go(func() {
			t := &turns[i]
			for n := 0; ctx.Err() == nil && t.err == nil; n++ {
				c := Cycle{Asked: Now()}
				var held subjects.Hold
				if held, t.err = locks[n%len(locks)].Acquire(ctx); t.err != nil {
					if ctx.Err() != nil {
						t.err, t.waiting = nil, c.Asked
					}
					return
				}
				c.Acquired = Now()
				if l.Critical > 0 {
					stay(ctx, l.Critical)
				}
				c.Releasing = Now()
				if t.err = held.Release(context.WithoutCancel(ctx)); t.err == nil {
					c.Done = Now()
					t.cycles = append(t.cycles, c)
				}
			}
		})
	}
	callers.Wait()
	measuring.Wait()
	var errs []error
	for _, t := range turns {
		answer.Cycles = append(answer.Cycles, t.cycles...)
		if t.waiting != 0 {
			answer.Waiting = append(answer.Waiting, t.waiting)
		}
		errs = append(errs, t.err)
	}
	return answer, errors.Join(errs...)
}

// stay is the critical section.
func stay(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// measure counts from the loop's begin to its end, which is ctx's.
func (w *serving) measure(ctx context.Context, l Loop) (subjects.Counts, uint64) {
	stay(ctx, l.Begin.Since(Now()))
	before, mallocs := w.meter.Counts(), allocated()
	<-ctx.Done()
	return w.meter.Counts().Minus(before), allocated() - mallocs
}

// allocated is how many objects this process has allocated so far.
func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}
