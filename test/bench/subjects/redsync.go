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

package subjects

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/go-redsync/redsync/v4"
	"github.com/go-redsync/redsync/v4/redis/goredis/v9"
	"github.com/redis/go-redis/v9"
)

// Redsync is the name of redsync's lock.
const Redsync = "redsync"

// redisRetry is the polling interval of the Redis locks. Their defaults are longer (redsync waits 50
// to 250 ms).
const redisRetry = 5 * time.Millisecond

func redsyncMutex() Subject {
	return Subject{Name: Redsync, NeedsRedis: true, Open: func(_ context.Context, servers Servers, meter *Meter, o Options) (Client, error) {
		c := openRedis(servers, meter)
		return &redsyncClient{c, redsync.New(goredis.NewPool(c)), o}, nil
	}}
}

type redsyncClient struct {
	*redis.Client

	sync    *redsync.Redsync
	options Options
}

func (c *redsyncClient) Lock(_ context.Context, key string) (Lock, error) {
	m := c.sync.NewMutex("bench-redsync-"+key, redsync.WithExpiry(c.options.lease()), redsync.WithTries(math.MaxInt), redsync.WithRetryDelay(redisRetry))
	return &redsyncLock{m, redisState{client: c.Client, key: "bench-redsync-state-" + key, size: c.options.Size}}, nil
}

type redsyncLock struct {
	mutex *redsync.Mutex
	state redisState
}

func (l *redsyncLock) Acquire(ctx context.Context) (Hold, error) {
	if err := l.mutex.LockContext(ctx); err != nil {
		return nil, err
	}
	return (*redsyncHold)(l), l.state.read(ctx)
}

type redsyncHold redsyncLock

func (h *redsyncHold) Release(ctx context.Context) error {
	if err := h.state.write(ctx); err != nil {
		return err
	}
	ok, err := h.mutex.UnlockContext(ctx)
	if err == nil && !ok {
		err = fmt.Errorf("the lock %s was lost", h.mutex.Name())
	}
	return err
}

func (h *redsyncHold) End(context.Context) (time.Time, error) { return h.mutex.Until(), nil }
func (h *redsyncHold) Lost() bool                             { return time.Now().After(h.mutex.Until()) }
