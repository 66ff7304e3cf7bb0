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
	"strconv"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

const namespace = "default"

// result is what one case gave.
type result struct {
	counts   []int64 // cycles of each client
	took     time.Duration
	worst    time.Duration // longest wait for the lock
	requests *requests
}

func (r result) cycles() (sum int64) {
	for _, n := range r.counts {
		sum += n
	}
	return sum
}

// jain is Jain's fairness index: 1 if all have had the lock equally often, 1/n if one
// had it always.
func (r result) jain() float64 {
	var sum, squares float64
	for _, n := range r.counts {
		sum += float64(n)
		squares += float64(n) * float64(n)
	}
	return sum * sum / (float64(len(r.counts)) * squares)
}

func (b *bench) key() string {
	b.keys++
	return fmt.Sprintf("bench-%d", b.keys)
}

// contender does one cycle: acquire, change the state, release.
type contender func(ctx context.Context) error

// closedLoop lets contenders repeat their cycles for as long as the case lasts. Each
// has gone once before it counts.
func (b *bench) closedLoop(ctx context.Context, sent *requests, contenders []contender) (result, error) {
	type tally struct {
		n     int64
		worst time.Duration
		err   error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	tallies := make(chan tally, len(contenders))
	warm, begin := make(chan error, len(contenders)), make(chan struct{})
	for _, cycle := range contenders {
		go func() {
			err := cycle(ctx)
			warm <- err
			var t tally
			if err == nil {
				<-begin
			}
			for t.err = err; t.err == nil && ctx.Err() == nil; {
				start := time.Now()
				if err := cycle(ctx); err != nil {
					if ctx.Err() == nil {
						t.err = err
					}
					break
				}
				t.n++
				t.worst = max(t.worst, time.Since(start))
			}
			tallies <- t
		}()
	}
	var errs []error
	for range contenders {
		errs = append(errs, <-warm)
	}
	if err := errors.Join(errs...); err != nil {
		return result{}, err
	}
	sent.reads.Store(0)
	sent.writes.Store(0)
	sent.conflicts.Store(0)
	sent.events.Store(0)
	start := time.Now()
	close(begin)
	timer := time.NewTimer(b.lasts)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	r := result{took: time.Since(start), requests: &requests{}}
	r.requests.reads.Store(sent.reads.Load())
	r.requests.writes.Store(sent.writes.Load())
	r.requests.conflicts.Store(sent.conflicts.Load())
	r.requests.events.Store(sent.events.Load())
	cancel()
	for range contenders {
		t := <-tallies
		errs = append(errs, t.err)
		r.counts = append(r.counts, t.n)
		r.worst = max(r.worst, t.worst)
	}
	return r, errors.Join(errs...)
}

// clients measures kubelock: so many clients with so many callers each, on one key.
func (b *bench) clients(ctx context.Context, clients, callers int) (result, error) {
	sent, key := &requests{}, b.key()
	var contenders []contender
	for range clients {
		c, err := kubelock.NewClient(sent.counted(b.config), kubelock.Config{Namespace: namespace})
		if err != nil {
			return result{}, err
		}
		defer func() { _ = c.Close() }() //nolint:gocritic // All of them are closed at the end.
		for range callers {
			l := kubelock.NewLock[int](c, key)
			contenders = append(contenders, func(ctx context.Context) error {
				held, err := l.Acquire(ctx)
				if err != nil {
					return err
				}
				return held.Update(held.Value() + 1).Release(context.WithoutCancel(ctx))
			})
		}
	}
	return b.closedLoop(ctx, sent, contenders)
}

func (b *bench) store(config *rest.Config) (store.Store, error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return store.DistributedLocks.Open(config, client, namespace, "bench")
}

// bare is how many updates of one lock's object a single client does in a second, one
// after the other.
func (b *bench) bare(ctx context.Context, lasts time.Duration) (float64, error) {
	s, err := b.store(b.config)
	if err != nil {
		return 0, err
	}
	// The object is a lock as it is between two of its transitions.
	key := b.key()
	claim := protocol.Claim{Identity: key, Client: key, LockID: key + "-1", Duration: time.Minute}
	now := func() protocol.Stamp { return protocol.Stamp{Time: time.Now(), Source: protocol.Server} }
	r, err := protocol.Take(protocol.Record{Name: key, Key: key}, claim, 0, now())
	if err != nil {
		return 0, err
	}
	if r, err = s.Create(ctx, r); err != nil {
		return 0, err
	}
	successor := claim
	successor.LockID = key + "-2"
	if r, err = protocol.Release(r, claim, 0, protocol.Change{}, &successor, now()); err != nil {
		return 0, err
	}
	if r, err = s.Update(ctx, r); err != nil {
		return 0, err
	}
	n, start := 0, time.Now()
	for ; time.Since(start) < lasts; n++ {
		if r, err = protocol.Renew(r, successor, r.Holder.Token, protocol.Change{Write: true, Value: new(strconv.Itoa(n))}, now()); err != nil {
			return 0, err
		}
		if r, err = s.Update(ctx, r); err != nil {
			return 0, err
		}
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

// racers measures what most locks on Kubernetes do that watch at all: everybody is
// woken at each release, and everybody tries.
func (b *bench) racers(ctx context.Context, n int) (result, error) {
	sent, key := &requests{}, b.key()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	first, err := b.store(b.config)
	if err != nil {
		return result{}, err
	}
	if _, err := first.Create(ctx, protocol.Record{Name: key, Key: key, Value: new("0")}); err != nil {
		return result{}, err
	}
	var contenders []contender
	for i := range n {
		s, err := b.store(sent.counted(b.config))
		if err != nil {
			return result{}, err
		}
		versions := make(chan protocol.Record, 1)
		informer := cache.NewSharedIndexInformer(s.Watcher(key), s.Kind().New(), 0, cache.Indexers{})
		newest := func(obj any) {
			r, err := s.Kind().Decode(obj)
			if err != nil {
				return
			}
			select { // Only the newest matters.
			case <-versions:
			default:
			}
			versions <- r
		}
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: newest, UpdateFunc: func(_, obj any) { newest(obj) }}); err != nil {
			return result{}, err
		}
		go informer.RunWithContext(ctx)
		claim := protocol.Claim{Identity: fmt.Sprint("racer-", i), Client: fmt.Sprint("racer-", i), LockID: fmt.Sprint("racer-", i), Duration: time.Minute}
		contenders = append(contenders, func(ctx context.Context) error { return race(ctx, s, key, claim, versions) })
	}
	return b.closedLoop(ctx, sent, contenders)
}

func race(ctx context.Context, s store.Store, key string, claim protocol.Claim, versions <-chan protocol.Record) error {
	now := func() protocol.Stamp { return protocol.Stamp{Time: time.Now(), Source: protocol.Server} }
	for {
		var r protocol.Record
		select {
		case r = <-versions:
		case <-time.After(time.Second): // A free lock that nobody changes.
			var err error
			if r, err = s.Get(ctx, key); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		if r.Holder != nil {
			continue
		}
		held, err := protocol.Take(r, claim, 0, now())
		if err != nil {
			return err
		}
		held, err = s.Update(ctx, held)
		if store.OutcomeOf(err) == store.Stale {
			continue
		}
		if err != nil {
			return err
		}
		free, err := protocol.Release(held, claim, held.Holder.Token, protocol.Change{Write: true, Value: new("1")}, nil, now())
		if err != nil {
			return err
		}
		_, err = s.Update(context.WithoutCancel(ctx), free)
		return err
	}
}

// idle measures what waiters cost that do nothing but wait, behind a holder that keeps
// the lock for two of its lease durations.
func (b *bench) idle(ctx context.Context, n int) error {
	const lease = 10 * time.Second
	key := b.key()
	holder, err := kubelock.NewClient(b.config, kubelock.Config{Namespace: namespace})
	if err != nil {
		return err
	}
	defer func() { _ = holder.Close() }() // Always nil.
	held, err := kubelock.NewLock[int](holder, key).Acquire(ctx, kubelock.WithDuration(lease), kubelock.WithAutoRenew())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sent, done := &requests{}, make(chan error, n)
	for range n {
		c, err := kubelock.NewClient(sent.counted(b.config), kubelock.Config{Namespace: namespace})
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }() //nolint:gocritic // All of them are closed at the end.
		go func() {
			_, err := kubelock.NewLock[int](c, key).Acquire(ctx)
			done <- err
		}()
	}
	if err := b.queued(ctx, key, n); err != nil {
		return err
	}
	before := sent.reads.Load() + sent.writes.Load()
	select {
	case <-time.After(2 * lease):
	case <-ctx.Done():
		return ctx.Err()
	}
	spent := sent.reads.Load() + sent.writes.Load() - before
	_, _ = fmt.Fprintf(b.table, "%d idle waiters\t%.2f requests a waiter a lease duration, %.2f watches a client\n", n,
		float64(spent)/float64(n)/2, float64(sent.watches.Load())/float64(n))
	if err := held.Release(ctx); err != nil {
		return err
	}
	cancel()
	for range n {
		if err := <-done; err != nil && !errors.Is(err, kubelock.ErrNotAcquired) {
			return err
		}
	}
	return nil
}
