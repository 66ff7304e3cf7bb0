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
	"net"
	"strings"

	"github.com/redis/go-redis/v9"
)

// openRedis returns a client whose commands the meter counts.
func openRedis(servers Servers, meter *Meter) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: servers.Redis})
	c.AddHook(meter)
	return c
}

// DialHook implements redis.Hook.
func (m *Meter) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (m *Meter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		m.command(cmd)
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements redis.Hook.
func (m *Meter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, cmd := range cmds {
			m.command(cmd)
		}
		return next(ctx, cmds)
	}
}

func (m *Meter) command(cmd redis.Cmder) {
	if strings.EqualFold(cmd.Name(), "get") {
		m.reads.Add(1)
	} else {
		m.writes.Add(1)
	}
}

// redisState is the state beside a lock. The holder reads and writes it.
type redisState struct {
	client  *redis.Client
	key     string
	size, n int
}

func (s *redisState) read(ctx context.Context) error {
	if err := s.client.Get(ctx, s.key).Err(); err != nil && err != redis.Nil { //nolint:errorlint // Never wrapped.
		return err
	}
	return nil
}

func (s *redisState) write(ctx context.Context) error {
	s.n++
	return s.client.Set(ctx, s.key, text(s.n, s.size), 0).Err()
}
