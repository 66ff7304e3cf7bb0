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
	"fmt"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/kubelock/kubelock/hack/chaos/checks"
)

// settle has every client take each lock once more and end, and waits for the reaper to
// free what dead clients have left.
func (r *run) settle(ctx context.Context) (violations []checks.Violation) {
	bad := func(format string, args ...any) {
		violations = append(violations, checks.Violation{Check: "settling", Text: fmt.Sprintf(format, args...)})
	}
	for _, m := range r.cluster.Etcd {
		_ = m.Start()
	}
	for _, m := range slices.Concat(r.clients, r.reapers) {
		m.Signal(syscall.SIGCONT)
	}
	for _, s := range r.cluster.Servers {
		one, cancel := context.WithTimeout(ctx, 3*time.Minute) // It may just have been started.
		if err := r.cluster.Ready(one, s); err != nil {
			bad("%v", err)
		}
		cancel()
	}
	r.repair(ctx)
	var all sync.WaitGroup
	for _, c := range r.clients {
		if !c.Running() {
			bad("%s ended by itself: %v", c.Name, c.Err())
			continue
		}
		all.Go(func() {
			c.Say("settle")
			select {
			case <-c.Ended():
				if err := c.Err(); err != nil {
					r.mu.Lock()
					defer r.mu.Unlock()
					bad("%s: %v", c.Name, err)
				}
			case <-ctx.Done():
			case <-time.After(2*bound + 30*time.Second): // What it is doing, and the last acquisitions.
				r.mu.Lock()
				defer r.mu.Unlock()
				bad("%s does not end", c.Name)
			}
		})
	}
	all.Wait()
	for deadline := time.Now().Add(2 * bound); time.Now().Before(deadline); {
		clean := true
		for _, v := range r.recorder.Newest() {
			clean = clean && v.Holder == nil && len(v.Waiters) == 0
		}
		if clean || !sleep(ctx, 200*time.Millisecond) {
			break
		}
	}
	return violations
}

// finish collects what the run has left.
func (r *run) finish(ctx context.Context, ended int64) (*checks.Run, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	versions, err := r.recorder.Finish(ctx)
	if err != nil {
		return nil, err
	}
	account, err := assemble(r.journals)
	if err != nil {
		return nil, err
	}
	finished := &checks.Run{Account: account, Versions: versions, Hands: r.hands, Calm: r.calms, Ended: ended}
	finished.Fenced, finished.Unfenced, finished.Accesses = r.stores.Counts()
	return finished, nil
}

// checkAll checks everything, and says what was found.
func (r *run) checkAll(finished *checks.Run) (violations []checks.Violation) {
	versions := 0
	for _, v := range finished.Versions {
		versions += len(v)
	}
	r.sayf("%d operations, %d holds, %d versions of %d locks, %d processes of clients",
		len(finished.Operations), len(finished.Holds), versions, len(finished.Versions), finished.Processes)
	outcomes := map[string]int{}
	for _, o := range finished.Operations {
		outcomes[o.Op+" "+string(o.Outcome)]++
	}
	for _, name := range slices.Sorted(maps.Keys(outcomes)) {
		r.sayf("  %6d %s", outcomes[name], name)
	}
	for _, c := range checks.All {
		broken, looked := c.Of(finished)
		r.sayf("%-75s %7d looked at, %d violations", c.Name, looked, len(broken))
		violations = append(violations, broken...)
	}
	broken, found, err := checks.Linearizable(finished, r.folder, 20*time.Second)
	if err != nil {
		violations = append(violations, checks.Violation{Check: "linearizability", Text: err.Error()})
	}
	violations = append(violations, broken...)
	r.sayf("%-75s %7d operations on %d locks, %d undecided, %d violations", "the history of each lock is linearizable", found.Operations, found.Locks, len(found.Undecided), len(broken))
	accepted, refused := 0, 0
	for _, c := range finished.Fenced {
		accepted, refused = accepted+c.Accepted, refused+c.Refused
	}
	r.sayf("fenced store: %d additions, %d accesses refused; the store without fencing lost %d", accepted, refused, finished.LostUpdates())
	if pauses := r.injected["pause-holder"]; pauses >= 4 && finished.LostUpdates() == 0 {
		violations = append(violations, checks.Violation{Check: "the store without fencing loses updates", Text: fmt.Sprintf("%d pauses did no harm: the run shows nothing", pauses)})
	}
	total := 0
	for _, f := range faults {
		total += r.injected[f.name]
		if n, m := r.injected[f.name], r.failed[f.name]; n+m > 0 {
			r.sayf("  %4d %s (%d in vain)", n, f.name, m)
		}
	}
	r.sayf("%d faults", total)
	return violations
}
