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
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubelock/kubelock/test/chaos/checks"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// planned is one fault of the schedule.
type planned struct {
	at     time.Duration // since the beginning of its storm
	fault  fault
	lasts  time.Duration
	target int
	random uint64 // for all other random choices
}

// plan returns random faults for a storm. Over all storms each kind of fault is drawn equally often.
func plan(random *rand.Rand, deck *[]fault, faults []fault, length time.Duration) []planned {
	var all []planned
	for at := upTo(random, time.Second); at < length-time.Second; at += 500*time.Millisecond + upTo(random, 2500*time.Millisecond) {
		if len(*deck) == 0 {
			*deck = slices.Clone(faults)
			random.Shuffle(len(*deck), func(i, j int) { (*deck)[i], (*deck)[j] = (*deck)[j], (*deck)[i] })
		}
		f := (*deck)[0]
		*deck = (*deck)[1:]
		lasts := f.shortest + upTo(random, f.longest-f.shortest+1)
		all = append(all, planned{at, f, min(lasts, length-at), random.IntN(1 << 16), random.Uint64()})
	}
	return all
}

// runSchedule injects the faults of all storms, with calms in between.
func (r *run) runSchedule(ctx context.Context) error {
	faults, err := faultsNamed(r.only)
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(r.seed, 99))
	var deck []fault
	end := time.Now().Add(r.length)
	for {
		length := min(storm, time.Until(end))
		var all sync.WaitGroup
		start := time.Now()
		for _, p := range plan(random, &deck, faults, length) {
			if !sleep(ctx, time.Until(start.Add(p.at))) {
				break
			}
			all.Go(func() { r.inject(ctx, p) })
		}
		all.Wait()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		from := history.Now()
		left := time.Until(end)
		if left < calm && len(r.calms) > 0 { // Even a short run has one calm.
			return nil
		}
		sleep(ctx, calm)
		r.mu.Lock()
		r.calms = append(r.calms, checks.Span{From: from + int64(aftermath), To: history.Now()})
		r.mu.Unlock()
		if time.Until(end) < 10*time.Second {
			return ctx.Err()
		}
	}
}

// inject injects one fault, and records it for the checks.
func (r *run) inject(ctx context.Context, p planned) {
	span := checks.Fault{Span: checks.Span{From: history.Now()}, Name: p.fault.name}
	if p.fault.affects == affectsOne {
		span.Client = r.client(p).Name
	}
	what, err := p.fault.do(ctx, r, p)
	span.To = max(history.Now(), span.From+int64(p.lasts)) // Some faults return before they are over.
	r.mu.Lock()
	if p.fault.affects != affectsNone {
		r.faultSpans = append(r.faultSpans, span)
	}
	if err != nil {
		r.failed[p.fault.name]++ // Other faults may prevent this one: that is no error.
	} else {
		r.injected[p.fault.name]++
	}
	r.mu.Unlock()
	if err != nil {
		what += ": " + err.Error()
	}
	r.notef("%s: %s", p.fault.name, what)
}

// faultsNamed returns the faults with those names, separated by commas; all faults if there are none.
func faultsNamed(names string) ([]fault, error) {
	if names == "" {
		return faults, nil
	}
	var some []fault
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(faults, func(f fault) bool { return f.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no fault %q", name)
		}
		some = append(some, faults[i])
	}
	return some, nil
}

// sleep waits for d, or until ctx ends. It reports whether d has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

func upTo(random *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(d)))
}
