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

package simulation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// caller is one goroutine of a process.
type caller struct {
	*world
	plan   plan
	node   *node
	client *kubelock.Client
	name   string
	rand   *rand.Rand
	writes int
	idled  bool
	// minHolds counts what was drawn of them.
	minHolds uint64
}

// sayf adds a line to the transcript, unless the caller's node is dead.
func (c *caller) sayf(format string, args ...any) {
	if !c.node.isDead() {
		c.world.sayf(format, args...)
	}
}

// wrote checks the result of a write, unless the caller's node is dead.
func (c *caller) wrote(key, value string, err error, what string) {
	if !c.node.isDead() {
		c.world.wrote(key, value, err, what)
	}
}

// value returns a state that no other write has.
func (c *caller) value() string {
	c.writes++
	return fmt.Sprintf("%s#%d", c.name, c.writes)
}

func (c *caller) run(ctx context.Context) {
	for range c.plan.rounds {
		again := c.plan.loops && c.rand.IntN(20) > 0
		if !again {
			pass(span(c.rand, 0, 300*time.Millisecond))
		}
		c.rest()
		key := c.plan.keys[c.rand.IntN(len(c.plan.keys))]
		l := kubelock.NewLock[string](c.client, key)
		switch x := c.rand.IntN(20); {
		case again && c.rand.IntN(3) == 0:
			c.apply(ctx, l, key)
		case again:
			c.acquire(ctx, l, key)
		case x < 4:
			c.apply(ctx, l, key)
		case x < 10:
			c.acquire(ctx, l, key)
		case x < 12:
			c.try(ctx, l, key)
		case x < 15:
			c.do(ctx, l, key)
		case x < 17:
			c.wait(ctx, l)
		case x < 18:
			_, err := l.Get(ctx)
			c.sayf("%s: Get: %s", c.name, outcome(err))
		case x < 19:
			c.delete(ctx, l, key)
		default:
			pass(span(c.rand, 0, 2*c.plan.lease))
		}
		if c.node.isDead() || c.ctx.Err() != nil {
			return
		}
	}
}

func (c *caller) options() (opts []kubelock.Option, minHold time.Duration) {
	if c.rand.IntN(4) == 0 {
		opts = append(opts, kubelock.WithAutoRenew())
	}
	lease := c.plan.lease
	if c.rand.IntN(4) == 0 {
		lease = span(c.rand, 500*time.Millisecond, 2*c.plan.lease)
		opts = append(opts, kubelock.WithDuration(lease))
	}
	if minHold = c.minHold(lease); minHold > 0 {
		opts = append(opts, kubelock.WithMinHold(minHold))
	}
	return opts, minHold
}

// patient returns a context that may end before the caller gets the lock.
func (c *caller) patient(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.rand.IntN(3) > 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, span(c.rand, 10*time.Millisecond, 20*time.Second))
}

func (c *caller) acquire(ctx context.Context, l *kubelock.Lock[string], key string) {
	waitCtx, cancel := c.patient(ctx)
	defer cancel()
	opts, minHold := c.options()
	held, err := l.Acquire(waitCtx, opts...)
	if err != nil {
		c.sayf("%s: Acquire: %s", c.name, outcome(err))
		if waitCtx.Err() == nil && !c.node.isDead() {
			c.unexpected("Acquire", err)
		}
		return
	}
	c.use(ctx, held, key, minHold)
}

func (c *caller) try(ctx context.Context, l *kubelock.Lock[string], key string) {
	opts, minHold := c.options()
	held, err := l.TryAcquire(ctx, opts...)
	if err != nil {
		c.sayf("%s: TryAcquire: %s", c.name, outcome(err))
		return
	}
	c.use(ctx, held, key, minHold)
}

// unexpected reports an error that the library should not have returned: it ended a call before the
// call's context.
func (c *caller) unexpected(what string, err error) {
	if strings.Contains(err.Error(), byFilter) && c.node.filterSeemsToLast() {
		return
	}
	c.violatedf("%s: %s ended before its context: %v", c.name, what, err)
}

// use holds a lock for a while, and then usually releases it.
func (c *caller) use(ctx context.Context, held *kubelock.Held[string], key string, minHold time.Duration) {
	b := c.believe(c.node, key, held)
	c.rested(key, held, minHold)
	// pause holds the lock for a while, or until it is lost.
	pause := func() {
		select {
		case <-time.After(c.plan.holds[c.rand.IntN(len(c.plan.holds))]):
		case <-held.Context().Done():
		}
	}
	pause()
	for c.rand.IntN(3) == 0 {
		if c.rand.IntN(2) == 0 {
			c.save(ctx, b, held, key)
		} else if err := held.Renew(ctx); err != nil {
			c.sayf("%s: Renew: %s", c.name, outcome(err))
		}
		pause()
	}
	switch x := c.rand.IntN(10); {
	case x == 0: // Forget to release.
		select {
		case <-held.Context().Done():
		case <-ctx.Done():
		case <-time.After(2 * c.plan.lease): // With WithAutoRenew the lease never ends.
			c.release(ctx, b, held, key)
		}
	case x < 3:
		c.giveUp(b)
		err := held.Clear().Release(ctx)
		c.sayf("%s: Release without state: %s", c.name, outcome(err))
	default:
		c.release(ctx, b, held, key)
	}
	c.giveUp(b)
}

func (c *caller) release(ctx context.Context, b *belief, held *kubelock.Held[string], key string) {
	releaseCtx, cancel := ctx, func() {}
	if c.rand.IntN(5) == 0 {
		releaseCtx, cancel = context.WithTimeout(ctx, span(c.rand, time.Millisecond, time.Second))
	}
	defer cancel()
	v := c.value()
	c.giveUp(b)
	err := held.Update(v).Release(releaseCtx)
	c.wrote(key, v, err, c.name+": Release")
	c.freed(held, key, err)
	if err != nil && !errors.Is(err, kubelock.ErrLost) && !c.node.isDead() && c.rand.IntN(2) == 0 {
		again := held.Release(ctx)
		c.sayf("%s: Release again: %s", c.name, outcome(again))
		if again == nil || errors.Is(again, kubelock.ErrLost) {
			c.wrote(key, v, again, c.name+": Release again")
		}
	}
}

func (c *caller) do(ctx context.Context, l *kubelock.Lock[string], key string) {
	waitCtx, cancel := c.patient(ctx)
	defer cancel()
	v, entered := c.value(), false
	opts, _ := c.options()
	_, err := l.Do(waitCtx, func(ctx context.Context, _ string) (string, error) {
		entered = true
		select {
		case <-time.After(c.plan.holds[c.rand.IntN(3)]):
		case <-ctx.Done():
		}
		return v, nil
	}, opts...)
	if entered || err == nil {
		c.wrote(key, v, err, c.name+": Do")
	} else {
		c.sayf("%s: Do: %s", c.name, outcome(err))
	}
}

func (c *caller) wait(ctx context.Context, l *kubelock.Lock[string]) {
	ctx, cancel := c.patient(ctx)
	defer cancel()
	s, err := l.Wait(ctx)
	c.sayf("%s: Wait: %+v, %s", c.name, s, outcome(err))
	if err != nil && ctx.Err() == nil && !c.node.isDead() {
		c.unexpected("Wait", err)
	}
}

func (c *caller) delete(ctx context.Context, l *kubelock.Lock[string], key string) {
	ctx, cancel := c.patient(ctx)
	defer cancel()
	before := c.stored(key)
	err := l.Delete(ctx)
	c.sayf("%s: Delete: %s", c.name, outcome(err))
	if err == nil && !c.node.isDead() {
		c.deleted(c.name, key, before)
	}
	if err != nil && ctx.Err() == nil && !c.node.isDead() {
		c.unexpected("Delete", err)
	}
}
