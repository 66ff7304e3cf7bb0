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

// increments measures 32 writers, in separate processes, that each add to one number:
// by Do, and by a read-modify-write that is repeated at a conflict.
func increments(ctx context.Context, b *Bench) error {
	writers := b.writers()
	return b.add(ctx, b.name("do-%d", writers), writers, subjects.RetryOnConflict, subjects.KubelockDo)
}

// writers returns how many processes add to one number.
func (b *Bench) writers() int {
	if b.Quick {
		return 8
	}
	return 32
}

// add measures processes that each add to one number, by subject and by reference, and compares the
// two.
func (b *Bench) add(ctx context.Context, name string, writers int, reference, subject string) error {
	names := []string{reference, subject}
	for round := range b.rounds(2) {
		outcomes := map[string]outcome{}
		for _, subject := range inTurn(names, round) {
			o, err := b.run(ctx, load{
				subject: subject, clients: writers, callers: 1, keys: b.keysFor(1), window: b.lasts(2 * time.Second),
			})
			if err != nil {
				return err
			}
			outcomes[subject] = o
		}
		for _, subject := range names {
			o := outcomes[subject]
			b.Results.Against(name, subject, throughput, "increments/s", o.rate(), reference, outcomes[reference].rate())
			b.Results.Add(name, subject, "requests", "an increment", o.each(o.counts().Requests()))
			b.Results.Add(name, subject, "conflicts", "an increment", o.each(o.counts().Conflicts))
			b.Results.Add(name, subject, "Jain", "", o.jain())
			b.Results.Add(name, subject, "longest increment", "s", o.worst(took).Seconds())
		}
	}
	return nil
}
