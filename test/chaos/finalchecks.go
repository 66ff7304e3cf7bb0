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

	"github.com/kubelock/kubelock/test/chaos/checks"
)

// finalChecks makes every client acquire each lock once more and end, and waits until the reaper has
// freed the locks of dead clients.
func (r *run) finalChecks(ctx context.Context) (violations []checks.Violation) {
	bad := func(format string, args ...any) {
		violations = append(violations, checks.Violation{Check: "final checks", Text: fmt.Sprintf(format, args...)})
	}
	for _, m := range r.cluster.Etcd {
		_ = m.Start()
	}
	for _, m := range slices.Concat(r.clients, r.reapers) {
		m.Signal(syscall.SIGCONT)
	}
	for _, s := range r.cluster.Servers {
		one, cancel := context.WithTimeout(ctx, 3*time.Minute) // The server may just have been started.
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
			c.Say("finish")
			select {
			case <-c.Ended():
				if err := c.Err(); err != nil {
					r.mu.Lock()
					defer r.mu.Unlock()
					bad("%s: %v", c.Name, err)
				}
			case <-ctx.Done():
			case <-time.After(2*bound + 30*time.Second): // For the calls that still run, and the last acquisitions.
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

// collect returns the complete history of the run.
func (r *run) collect(ctx context.Context, ended int64) (*checks.Run, error) {
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
	finished := &checks.Run{Account: account, Versions: versions, ManualEdits: r.manualEdits, Calm: r.calms, Faults: r.faultSpans, Refusals: r.refusals(), Ended: ended}
	finished.Fenced, finished.Unfenced, finished.Accesses = r.stores.Counts()
	return finished, nil
}

// checkAll makes all checks, prints what they have found, and returns the violations.
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
		if looked == 0 {
			r.sayf("%-75s was not checked: the run has no case of it", c.Name)
			continue
		}
		r.sayf("%-75s %7d cases, %d violations", c.Name, looked, len(broken))
		violations = append(violations, broken...)
	}
	broken, found, err := checks.Linearizable(finished, r.folder, 20*time.Second)
	if err != nil {
		violations = append(violations, checks.Violation{Check: "linearizability", Text: err.Error()})
	}
	violations = append(violations, broken...)
	r.sayf("%-75s %7d operations on %d locks, %d undecided, %d violations", "the history of each lock is linearizable", found.Operations, found.Locks, len(found.Undecided), len(broken))
	r.sayf("%d requests were refused, at most %d of one client for one lock within a second", len(finished.Refusals), finished.Busiest())
	accepted, refused := 0, 0
	for _, c := range finished.Fenced {
		accepted, refused = accepted+c.Accepted, refused+c.Refused
	}
	r.sayf("fenced store: %d additions, %d accesses refused; the store without fencing lost %d", accepted, refused, finished.LostUpdates())
	if pauses := r.injected["pause-holder"]; pauses >= 4 && finished.LostUpdates() == 0 {
		violations = append(violations, checks.Violation{Check: "the store without fencing loses updates", Text: fmt.Sprintf("%d pauses did no harm, so the run does not show that fencing is needed", pauses)})
	}
	total := 0
	for _, f := range faults {
		total += r.injected[f.name]
		if n, m := r.injected[f.name], r.failed[f.name]; n+m > 0 {
			r.sayf("  %4d times %s (%d more failed)", n, f.name, m)
		}
	}
	r.sayf("%d faults", total)
	return violations
}
