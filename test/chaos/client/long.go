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
	"math/rand/v2"
	"strings"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// holdLong holds a lock of its own with a long lease, and saves every few seconds, until finish is closed.
func (p *program) holdLong(ctx context.Context, finish <-chan struct{}, kind string, random *rand.Rand) {
	key := "long-" + strings.ReplaceAll(p.name, ".", "-")
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, history.LongLease)
		h := p.acquire(one, p.long[kind], kind, key, history.LongLease, false, kubelock.WithAutoRenew())
		cancel()
		if h != nil {
			if finished := h.last(ctx, finish, 20*time.Second+time.Duration(random.Int64N(int64(30*time.Second))), random); finished {
				return
			}
			continue
		}
		select {
		case <-finish:
			return
		case <-time.After(time.Second):
		}
	}
}

// last saves from time to time for the duration d, and releases. It returns whether finish is closed.
func (h *holding) last(ctx context.Context, finish <-chan struct{}, d time.Duration, random *rand.Rand) (finished bool) {
	over := time.After(d)
	for {
		select {
		case <-finish:
			finished = true
		case <-over:
		case <-ctx.Done():
		case <-h.Context().Done():
		case <-time.After(time.Second + time.Duration(random.Int64N(int64(6*time.Second)))):
			h.saveWithin(history.LongLease)
			continue
		}
		h.releaseWithin(history.LongLease, true)
		return finished
	}
}
