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
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

const (
	namespace = "default"
	lease     = 4 * time.Second

	// The clients of each kind of work.
	reportClients = 4
	indexClients  = 4
	countClients  = 2
	batchClients  = 2
	steadyClients = reportClients + indexClients + countClients + batchClients
	// burstClients more compete for the index in the middle third.
	burstClients = 12

	callersPerCounter = 6
	killInterval      = 8 * time.Second
)

// work is what a client does, again and again.
type work func(ctx context.Context, c *kubelock.Client, i int) error

// record runs the workload for warmUp and so long. An error of it, or a process that ends, is an error.
func (s *stage) record(ctx context.Context, length time.Duration) error {
	limited, end := context.WithTimeout(ctx, warmUp+length)
	defer end()
	group, running := errgroup.WithContext(limited)
	s.clients(running, group, "report", reportClients, report)
	s.clients(running, group, "index", indexClients, index)
	s.clients(running, group, "count", countClients, count)
	s.clients(running, group, "batch", batchClients, batch)
	group.Go(func() error { return s.burst(running, length/3) })
	group.Go(func() error { return s.killAgain(running, "report") })  // Clients wait for it.
	group.Go(func() error { return s.killAgain(running, "nightly") }) // No client waits for it.
	group.Go(func() error {
		for pause(running, time.Second, time.Second) {
			if err := s.failure(); err != nil {
				return err
			}
		}
		return nil
	})
	return errors.Join(group.Wait(), ctx.Err())
}

// clients starts n clients that work until ctx ends.
func (s *stage) clients(ctx context.Context, group *errgroup.Group, name string, n int, do work) {
	for i := range n {
		group.Go(func() (err error) {
			config := rest.CopyConfig(s.config)
			config.QPS = -1 // The clients stand for programs with a limit of their own.
			c, err := kubelock.NewClient(config, kubelock.Config{
				Namespace: namespace, Identity: fmt.Sprint(name, "-", i), LockDuration: lease, ObjectExpiry: 2 * lease, Metrics: s.registry,
			})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, c.Close()) }()
			for ctx.Err() == nil {
				err := do(ctx, c, i)
				// A lost hold is shown by the metrics. Whatever fails after ctx has ended is not recorded.
				if err != nil && ctx.Err() == nil && !errors.Is(err, kubelock.ErrLost) && !errors.Is(err, kubelock.ErrUnknownOutcome) {
					return fmt.Errorf("%s: %w", name, err)
				}
			}
			return nil
		})
	}
}

// report holds a lock for seconds, and renews it. Later it takes the lock once more if that is free.
func report(ctx context.Context, c *kubelock.Client, _ int) error {
	lock := kubelock.NewLock[int](c, "report")
	if _, err := lock.Do(ctx, func(ctx context.Context, n int) (int, error) {
		pause(ctx, 300*time.Millisecond, 3*time.Second)
		return n + 1, ctx.Err()
	}, kubelock.WithName("report"), kubelock.WithAutoRenew()); err != nil {
		return err
	}
	pause(ctx, 500*time.Millisecond, 2*time.Second)
	held, err := lock.TryAcquire(ctx, kubelock.WithName("report"))
	if errors.Is(err, kubelock.ErrNotAcquired) {
		return nil
	}
	if err != nil {
		return err
	}
	return held.Release(ctx)
}

// index holds a busy lock for a moment.
func index(ctx context.Context, c *kubelock.Client, _ int) error {
	_, err := kubelock.NewLock[int](c, "index").Do(ctx, func(ctx context.Context, n int) (int, error) {
		pause(ctx, 10*time.Millisecond, 60*time.Millisecond)
		return n + 1, ctx.Err()
	}, kubelock.WithName("index"))
	pause(ctx, 100*time.Millisecond, 500*time.Millisecond)
	return err
}

// count changes a counter by several callers at once.
func count(ctx context.Context, c *kubelock.Client, _ int) error {
	group, ctx := errgroup.WithContext(ctx)
	lock := kubelock.NewLock[int](c, "counter")
	for range callersPerCounter {
		group.Go(func() error {
			for {
				if _, err := lock.Apply(ctx, func(n int) (int, error) { return n + 1, nil }, kubelock.WithName("count")); err != nil {
					return err
				}
				if !pause(ctx, 20*time.Millisecond, 300*time.Millisecond) {
					return nil
				}
			}
		})
	}
	return group.Wait()
}

// batch uses a lock once, so that its object is deleted after its expiry. The second client's work takes longer
// than its lease, so its holds are lost.
func batch(ctx context.Context, c *kubelock.Client, i int) error {
	length := time.Second
	if i == 1 {
		length *= 2
	}
	key := fmt.Sprintf("batch/%d/%d", i, time.Now().UnixMilli())
	_, err := kubelock.NewLock[int](c, key).Do(ctx, func(ctx context.Context, n int) (int, error) {
		pause(ctx, length, length)
		return n, ctx.Err()
	}, kubelock.WithName("batch"), kubelock.WithDuration(1500*time.Millisecond))
	pause(ctx, 2*time.Second, 4*time.Second)
	return err
}

// burst starts more clients after a third of the time, and stops them after another third.
func (s *stage) burst(ctx context.Context, third time.Duration) error {
	if !pause(ctx, warmUp+third, warmUp+third) {
		return nil
	}
	limited, end := context.WithTimeout(ctx, third)
	defer end()
	group, running := errgroup.WithContext(limited)
	s.clients(running, group, "burst", burstClients, index)
	return group.Wait()
}

// killAgain kills one holder of a lock after another.
func (s *stage) killAgain(ctx context.Context, key string) error {
	for pause(ctx, killInterval, killInterval) {
		if err := s.kill(ctx, key); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// kill starts a process that acquires a lock, and kills it.
func (s *stage) kill(ctx context.Context, key string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "--hang", key)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = bufio.NewReader(out).ReadString('\n') // It writes a line when it has the lock.
	if err != nil {
		err = fmt.Errorf("a process that was to hold %q ended: %w", key, err)
	}
	_ = cmd.Process.Kill() // It may have ended.
	_ = cmd.Wait()         // Killed.
	return err
}

// hang acquires a lock, says so, and holds it until ctx ends.
func hang(ctx context.Context, key string) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	c, err := kubelock.NewClient(config, kubelock.Config{Namespace: namespace, Identity: "killed", LockDuration: lease})
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // Never fails.
	if _, err := kubelock.NewLock[int](c, key).Acquire(ctx, kubelock.WithAutoRenew()); err != nil {
		return err
	}
	fmt.Println("held")
	<-ctx.Done()
	return nil
}

// pause waits for a time between least and most, and returns false if ctx ended first.
func pause(ctx context.Context, least, most time.Duration) bool {
	timer := time.NewTimer(least + time.Duration(rand.Int64N(int64(most-least)+1))) //nolint:gosec // No secret.
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
