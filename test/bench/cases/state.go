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

package cases

import (
	"context"
	"time"

	"github.com/kubelock/kubelock/test/bench/subjects"
)

// state measures the cycle of a lock with a larger state.
func state(ctx context.Context, b *Bench) error {
	for _, size := range []struct {
		name   string
		bytes  int
		window time.Duration
	}{{"1KB", 1_000, 400 * time.Millisecond}, {"100KB", 100_000, 600 * time.Millisecond}, {"1MB", 1_000_000, 1500 * time.Millisecond}} {
		if b.Quick && size.bytes > 100_000 {
			continue
		}
		name := b.name("state-%s", size.name)
		names, err := b.runnable(name, append(append([]string{}, floors...), without(locks, subjects.Elector, subjects.Naive)...)...)
		if err != nil {
			return err
		}
		if size.bytes == 1_000_000 {
			for _, kind := range []string{subjects.Leases, subjects.ConfigMaps} {
				b.Results.NotRun(name, subjects.KubelockOn(kind), "that much state does not fit into the object")
				names = without(names, subjects.KubelockOn(kind), subjects.FloorOf(kind))
			}
		}
		outcomes := map[string]outcome{}
		for _, subject := range names {
			outcomes[subject], err = b.run(ctx, load{
				subject: subject, clients: 1, callers: 1, keys: b.keysFor(1), options: subjects.Options{Size: size.bytes},
				window: b.lasts(size.window),
			})
			if err != nil {
				return err
			}
		}
		for _, subject := range names {
			floor := outcomes[floorUnder(subject)]
			if outcomes[subject].rate() == 0 {
				continue // No cycle ended within the window.
			}
			b.Results.Against(name, subject, latency, "ms", quantile(outcomes[subject].latencies(), 0.5), twoUpdates, quantile(floor.latencies(), 0.5))
			b.Results.Add(name, subject, "p99", "ms", quantile(outcomes[subject].latencies(), 0.99))
		}
	}
	return nil
}
