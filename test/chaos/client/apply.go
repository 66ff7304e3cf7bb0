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
	"sync"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// ending says how the function of an Apply ends.
type ending int

const (
	returns ending = iota
	refuses        // with an error
	panics
)

// maxCallers is how many callers of one worker apply changes at once, at most. The callers of all
// workers are fewer than the changes that a state names.
const maxCallers = 8

// apply changes the state of a contended lock, by one caller or by several at once. Some functions
// fail.
func (w *worker) apply(ctx context.Context, kind string) {
	clients, key := w.plain, []string{w.epoch("counter", 1), w.epoch("register", registers), w.epoch("queue", 1)}[w.random.IntN(3)]
	if w.random.IntN(8) == 0 {
		clients, key = w.brief, fmt.Sprintf("passing-%d", w.random.IntN(2))
	}
	callers := 1
	if w.random.IntN(3) == 0 {
		callers += 1 + w.random.IntN(maxCallers-1)
	}
	var all sync.WaitGroup
	for range callers {
		ctx, patience, cancel := w.patience(ctx)
		e := w.called(history.Apply, kind, key, "")
		e.Timeout = int64(patience)
		how := returns
		if w.random.IntN(10) == 0 {
			how = []ending{refuses, panics}[w.random.IntN(2)]
		}
		all.Go(func() {
			defer cancel()
			w.change(ctx, clients[kind], e, how)
		})
	}
	all.Wait()
}

// change applies one change, and records its outcome.
func (p *program) change(ctx context.Context, c *kubelock.Client, e history.Entry, how ending) {
	e.Write, e.Fails = p.id(), how != returns
	p.call(e)
	var saw string
	state, err := caught(func() (history.State, error) {
		return kubelock.NewLock[history.State](c, e.Key).Apply(ctx, func(s history.State) (history.State, error) {
			saw = s.Write
			switch next := s.Next(e.Write); how {
			case refuses:
				return next, errUnwanted
			case panics:
				panic(errUnwanted)
			default:
				return next, nil
			}
		})
	})
	e.Outcome, e.Err = outcomeOf(err)
	switch {
	case err == nil:
		e.Read = state.Below() // From the returned state, and not from the one that the function saw.
	case how == refuses && errors.Is(err, errUnwanted) && len(without(err, errUnwanted)) == 0:
		e.Read = saw // Nothing was written, so this state is stored.
	}
	p.returned(e)
	if e.Outcome == history.Failed && !e.Fails { // A caller that was refused pauses before its next call.
		p.pause(ctx)
	}
}

// caught returns errUnwanted if call panics with it.
func caught(call func() (history.State, error)) (s history.State, err error) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case errUnwanted:
			err = errUnwanted
		default:
			panic(r)
		}
	}()
	return call()
}

// pause waits for a moment.
func (*program) pause(ctx context.Context) {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
	}
}
