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
	"sync"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/test/chaos/history"
)

// finalRound acquires each lock once more, and applies changes to some, after the last fault. All
// processes do so at the same time. Each acquisition must succeed within the bound.
func (p *program) finalRound(ctx context.Context) {
	var all sync.WaitGroup
	for _, kind := range history.Kinds {
		for _, key := range []string{"counter-0-0", "register-0-0", "external", "queue-0-0", "storm-0-0", "passing-0"} {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, p.bound)
				defer cancel()
				c := p.plain[kind]
				if key == "passing-0" {
					c = p.brief[kind]
				}
				p.last(ctx, c, kind, key)
			})
		}
		for _, key := range []string{"counter-0-0", "queue-0-0"} {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, p.bound)
				defer cancel()
				e := p.called(history.Apply, kind, key, "")
				e.Timeout, e.Final = int64(p.bound), true
				p.change(ctx, p.plain[kind], e, returns)
			})
		}
	}
	all.Wait()
}

func (p *program) last(ctx context.Context, c *kubelock.Client, kind, key string) {
	e := p.called(history.Acquire, kind, key, "")
	e.Final = true
	if h := p.acquireAs(ctx, c, e, p.bound, false); h != nil {
		h.release(true)
	}
}
