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

// This program makes a short report at every full minute. Each of its replicas starts it, and one of them
// makes it: see docs/guide/scheduler.md.
package main

import (
	"context"
	"errors"
	"log"
	"os/signal"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

const (
	interval = time.Minute
	// window is how far apart the replicas may start the same run: by their clocks, and by how busy they are.
	window = interval / 3
	// releaseTimeout is how long a program that stops goes on to release the lock.
	releaseTimeout = 20 * time.Second
)

type state struct{ Runs int }

func main() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubelock.NewClient(config, kubelock.Config{})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	schedule(ctx, kubelock.NewLock[state](client, "scheduled-report"), func(_ context.Context, run int) error {
		log.Printf("report %d", run)
		return nil
	})
	stop()
	client.Close()
}

// schedule starts the job at every full interval, until ctx ends.
func schedule(ctx context.Context, lock *kubelock.Lock[state], job func(ctx context.Context, run int) error) {
	for {
		next := time.Now().Truncate(interval).Add(interval)
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Until(next)):
		}
		if err := once(ctx, lock, job); err != nil {
			log.Print(err) // The next run is tried all the same.
		}
	}
}

// once runs the job unless another replica does this run, or has just done it. A run that fails is not repeated:
// its lock rests, too.
func once(ctx context.Context, lock *kubelock.Lock[state], job func(ctx context.Context, run int) error) error {
	held, err := lock.TryAcquire(ctx, kubelock.WithMinHold(window), kubelock.WithAutoRenew())
	if errors.Is(err, kubelock.ErrNotAcquired) {
		return nil
	}
	if err != nil {
		return err
	}
	s := held.Value()
	s.Runs++
	err = job(held.Context(), s.Runs) // The context ends if the lock is lost.
	if err == nil {
		held.Update(s)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	return errors.Join(err, held.Release(ctx))
}
