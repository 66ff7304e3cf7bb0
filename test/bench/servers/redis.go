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

package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrNoRedis says that no Redis is installed, and how to get it.
var ErrNoRedis = errors.New("redis-server is not on the PATH: install it with apt-get install redis-server, or your system's equivalent")

// Redis is a Redis server without persistence.
type Redis struct {
	Addr    string
	Version string

	process *exec.Cmd
	dir     string
}

// StartRedis starts the redis-server on PATH, or returns ErrNoRedis.
func StartRedis(ctx context.Context) (*Redis, error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, ErrNoRedis
	}
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "kubelock-bench-redis-")
	if err != nil {
		return nil, err
	}
	r := &Redis{Addr: net.JoinHostPort("127.0.0.1", port), dir: dir, process: exec.CommandContext(ctx, path,
		"--bind", "127.0.0.1", "--port", port, "--dir", dir, "--save", "", "--appendonly", "no")}
	r.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must reach only the benchmark, which then stops Redis.
	if err := r.process.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	client := redis.NewClient(&redis.Options{Addr: r.Addr, MaxRetries: -1})
	defer func() { _ = client.Close() }() // All requests have been answered.
	ticker, patience := time.NewTicker(20*time.Millisecond), time.After(10*time.Second)
	defer ticker.Stop()
	for {
		info, err := client.Info(ctx, "server").Result()
		if err == nil {
			for line := range strings.Lines(info) {
				if version, ok := strings.CutPrefix(line, "redis_version:"); ok {
					r.Version = strings.TrimSpace(version)
				}
			}
			return r, nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), r.Stop())
		case <-patience:
			return nil, errors.Join(fmt.Errorf("redis-server does not answer: %w", err), r.Stop())
		}
	}
}

// Stop ends the server.
func (r *Redis) Stop() error {
	_ = r.process.Process.Kill() // It has no data to lose, and may have ended already.
	_ = r.process.Wait()         // The error says that it was killed.
	return os.RemoveAll(r.dir)
}

func freePort(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}
