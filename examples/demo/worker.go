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
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

const (
	namespace = "demo"
	// The counter's lease is short, so that the demo is short, too.
	lease = 3 * time.Second
	// The messages of a worker: Do has acknowledged an increment; the worker holds both locks and hangs.
	acknowledged = "acknowledged"
	stuck        = "stuck"
)

type counter struct {
	Count int    `json:"count"`
	Last  string `json:"last"`
}

// work adds to the counter until ctx ends. When it gets a line on its standard input, it also acquires the lock
// of the report, and hangs while it holds both locks.
func work(ctx context.Context, name string) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	client, err := kubelock.NewClient(config, kubelock.Config{Namespace: namespace, Identity: name, LockDuration: lease})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // Never fails.
	hang := make(chan struct{})
	go func() {
		if bufio.NewScanner(os.Stdin).Scan() {
			close(hang)
		}
	}()

	lock := kubelock.NewLock[counter](client, "counter")
	for ctx.Err() == nil {
		// The end of ctx must not interrupt the work itself.
		state, err := lock.Do(context.WithoutCancel(ctx), func(ctx context.Context, s counter) (counter, error) {
			select {
			case <-hang:
				return s, hangWith(ctx, config, name)
			case <-time.After(20 * time.Millisecond): // The work.
			}
			return counter{Count: s.Count + 1, Last: name}, nil
		})
		if err != nil {
			return err
		}
		fmt.Println(acknowledged, state.Count)
	}
	return nil
}

// hangWith also acquires the lock of the report, and never returns.
func hangWith(ctx context.Context, config *rest.Config, name string) error {
	client, err := kubelock.NewClient(config, kubelock.Config{
		Namespace: namespace, Identity: name, LockDuration: lease, ObjectExpiry: lease,
	})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // Never fails.
	if _, err := kubelock.NewLock[string](client, "report").Acquire(ctx); err != nil {
		return err
	}
	fmt.Println(stuck)
	select {} // Until it is killed.
}
