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
	"time"

	"github.com/bsm/redislock"
	"github.com/redis/go-redis/v9"
)

// Redislock is the name of bsm/redislock.
const Redislock = "redislock"

func redislockLock() Subject {
	return Subject{Name: Redislock, NeedsRedis: true, Open: func(_ context.Context, servers Servers, meter *Meter, o Options) (Client, error) {
		c := openRedis(servers, meter)
		return &redislockClient{c, redislock.New(c), o}, nil
	}}
}

type redislockClient struct {
	*redis.Client

	locks   *redislock.Client
	options Options
}

func (c *redislockClient) Lock(_ context.Context, key string) (Lock, error) {
	return &redislockOf{client: c, key: "bench-redislock-" + key,
		state: redisState{client: c.Client, key: "bench-redislock-state-" + key, size: c.options.Size}}, nil
}

type redislockOf struct {
	client *redislockClient
	key    string
	state  redisState
}

func (l *redislockOf) Acquire(ctx context.Context) (Hold, error) {
	// Without a deadline, Obtain would give up after the time to live.
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	held, err := l.client.locks.Obtain(ctx, l.key, l.client.options.lease(), &redislock.Options{RetryStrategy: redislock.LinearBackoff(redisRetry)})
	if err != nil {
		return nil, err
	}
	return &redislockHold{held, l}, l.state.read(ctx)
}

type redislockHold struct {
	held *redislock.Lock
	lock *redislockOf
}

func (h *redislockHold) Release(ctx context.Context) error {
	if err := h.lock.state.write(ctx); err != nil {
		return err
	}
	return h.held.Release(ctx)
}

func (h *redislockHold) End(ctx context.Context) (time.Time, error) {
	ttl, err := h.held.TTL(ctx)
	return time.Now().Add(ttl), err
}

func (h *redislockHold) Lost() bool { return false }
