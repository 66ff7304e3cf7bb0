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

// Command counter adds one to a counter that all its replicas share.
package main

import (
	"context"
	"log"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

type state struct{ Runs int }

func main() {
	config, err := rest.InClusterConfig()
	if err != nil {
		log.Fatal(err)
	}
	client, err := kubelock.NewClient(config, kubelock.Config{LockDuration: 20 * time.Second})
	if err != nil {
		log.Fatal(err)
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute) // Wait for at most a minute.
	now, err := kubelock.NewLock[state](client, "nightly/report").Do(ctx,
		func(ctx context.Context, s state) (state, error) {
			s.Runs++ // Only one replica at a time runs this; ctx ends if it loses the lock.
			return s, nil
		})
	cancel()
	client.Close()
	if err != nil {
		log.Fatal(err) // Nothing was written, unless it Is kubelock.ErrUnknownOutcome.
	}
	log.Printf("run %d is done", now.Runs)
}
