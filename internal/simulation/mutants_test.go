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

package simulation

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// mutant is a fault that somebody could make in the code.
type mutant struct {
	name     string
	file     string // from the module's root
	old, new string // what stands there, once, and what would stand there instead
}

// mutants are faults that the simulation must find.
var mutants = []mutant{
	{"a holder's write without its preconditions", "internal/store/distributedlocks.go",
		`p.test(holderPath+"/lockID", stored.Spec.Holder.LockID)
	p.test(holderPath+"/renewTime", stored.Spec.Holder.RenewTime)`, ``},
	{"a holder's write that does not test the renewal time", "internal/store/distributedlocks.go",
		`p.test(holderPath+"/renewTime", stored.Spec.Holder.RenewTime)`, ``},
	{"a holder's write to a Lease without its preconditions", "internal/store/leases.go",
		`p.test(leaseHolderPath, was.HolderIdentity)
	p.test(leaseRenewPath, was.RenewTime)`, ``},
	{"a holder's write to a ConfigMap without its preconditions", "internal/store/configmaps.go",
		`testAnnotation(p, stored.Annotations, holderAnnotation)`, ``},
	{"a waiter that joins a queue of annotations in the place of another", "internal/store/annotations.go",
		`return waiterAnnotation + strconv.FormatUint(number, 10) + "-" + lockID`, `_ = lockID
	return waiterAnnotation + strconv.FormatUint(number, 10)`},
	{"a deadline that counts from the answer", "pkg/kubelock/claim.go",
		`return t.sent, true`, `return a.client.now(), true`},
	{"a deadline from the last attempt, whichever was committed", "pkg/kubelock/claim.go",
		`for _, t := range a.attempts {`, `for _, t := range a.attempts[max(0, len(a.attempts)-1):] {
		return t.sent, true`},
	{"a grant that counts from when it is seen", "pkg/kubelock/claim.go",
		`return a.givenFrom(r.Holder), false`, `return a.client.now(), false`},
	{"a grant that counts from a read which has shown it", "pkg/kubelock/contest.go",
		`if !a.mine(r) {
		a.without`, `{
		a.without`},
	{"stamps by the node's clock", "internal/servertime/clock.go",
		`_, at = c.told.at(now)`, `at = now`},
	{"stamps by the lower bound of the server's time", "internal/servertime/clock.go",
		`_, at = c.told.at(now)`, `at, _ = c.told.at(now)`},
	{"judging by the upper bound of the server's time", "internal/servertime/clock.go",
		`j.ServerTime, _ = c.told.at(now)`, `_, j.ServerTime = c.told.at(now)`},
	{"no allowance for clocks that are apart", "internal/protocol/expiry.go",
		`t = t.Add(j.MaxClockSkew)`, ``},
	{"a hold that was renewed taken for unchanged", "internal/protocol/expiry.go",
		`seen.lockID, seen.renewTime, seen.duration = h.LockID, h.RenewTime, h.Duration`, `seen.lockID, seen.duration = h.LockID, h.Duration`},
	{"a reaper in a hurry", "controllers/reaper.go",
		`expired, wait := judge.Expired(lock, seen)`, `expired, wait := judge.Expired(lock, seen)
		expired = expired || wait < lock.Holder.Duration/2`},
	{"ending what was handed on, used or not", "pkg/kubelock/handoff.go",
		`if !expired || seen.Observe(r, c.now()) != seen {`, `if !expired && r.Holder == nil {`},
	{"a token from a counter", "internal/protocol/token.go",
		`return last + 1, nil`, `return r.Transitions + 1, nil`},
	{"an unknown outcome of a release taken for success", "pkg/kubelock/release.go",
		`c.log.V(1).Info("Could not release a lock, will retry", "key", h.key.name, "err", ans.err)`, `return nil, true`},
	{"an unknown outcome of a save taken for failure", "pkg/kubelock/renew.go",
		`case store.Unknown, store.Stale: // A read tells what became of it.`, `case store.Unknown:
			return errors.New("failed")
		case store.Stale:`},
	{"a late release that writes the state", "pkg/kubelock/release.go",
		`h.change.Unless(late || without != nil)`, `h.change.Unless(without != nil)`},
	{"a release before the hold's context has ended", "pkg/kubelock/release.go",
		`h.cancel(context.Canceled)`, ``},
	{"a hand-off that loses a waiter", "internal/protocol/transitions.go",
		`r = hold(r, head.grant(next, grace, at))
		if successor`, `r = hold(r, head.grant(next, grace, at))
		r.Waiters = r.Waiters[min(1, len(r.Waiters)):]
		if successor`},
	{"a release read from another object", "pkg/kubelock/release.go",
		`sameObject := r.UID == h.record.UID`, `sameObject := true`},
	{"no safety re-read", "pkg/kubelock/queued.go",
		`most := min(remaining, a.patience(), a.refresh(place))`, `most := time.Hour`},

	{"a grant in an object that is being deleted", "internal/protocol/transitions.go",
		`if r.Terminating { // A hold that began now would vanish with the object.`, `if false {`},
	{"a holder's write that does not test whether the object is being deleted", "internal/store/objects.go",
		`p.stays(from)`, ``},
	{"a waiter that does not test whether the object is being deleted", "internal/store/objects.go",
		`p.stays(r)`, ``},
	{"a deletion that is over before the object has gone", "internal/store/objects.go",
		`left.GetDeletionTimestamp() != nil && len(left.GetFinalizers()) > 0`, `left.GetDeletionTimestamp() == nil`},
	{"judging by the Date of any answer", "internal/servertime/clock.go",
		`j.ServerTime, _ = c.told.at(now)`, `j.ServerTime, _ = c.bestLocked(now).at(now)
	}
	if !c.hints.unknown() {
		j.ServerTime, _ = c.hints.at(now)`},
	{"a stamp by a Date that nothing confirms", "internal/servertime/clock.go",
		`return !upper.After(stamp.Time.Add(time.Microsecond))`, `_ = upper
	return true`},
	{"a client that stamps by what it knew a day ago", "internal/servertime/clock.go",
		`fresh = 500 * time.Second`, `fresh = 500 * time.Hour`},
	{"a reaper that goes by a hint", "controllers/reaper.go",
		`func (r *Reaper) judge() protocol.Judge { return r.ServerTime.Judge(`, `func (r *Reaper) judge() protocol.Judge { return r.ServerTime.Guess(`},
	{"an acquisition without a pause after a refusal", "pkg/kubelock/claim.go",
		`if a.tries.Pause(ctx) != nil {
		return a.failed(ctx, nil)
	}
	return errAgain
}

// abandon`, `return errAgain
}

// abandon`},
	{"a denial that is believed at once", "internal/retry/retry.go",
		`if a.access == nil || !a.access.Doubts(err) {`, `if a.access == nil || a.access.Doubts(err) {`},
	{"a lock that stays held because its state is refused", "pkg/kubelock/release.go",
		`without = refusal`, `return h.unresolved(refusal), false`},
}

// TestMutants checks that the simulation finds each mutant within the seeds that make
// test runs. The code is changed only for the compiler.
func TestMutants(t *testing.T) { //nolint:tparallel // It runs alone.
	if *within == 0 {
		t.Skip("takes long: run it by make test")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel() // Each runs a process of its own.
			m.mustBeFound(t, root)
		})
	}
}

// overlay is what go build's -overlay reads.
type overlay struct {
	Replace map[string]string `json:"Replace"`
}

var found = regexp.MustCompile(`seed (\d+): (.*)`)

func (m mutant) mustBeFound(t *testing.T, root string) {
	t.Helper()
	dir, start := t.TempDir(), time.Now()
	path := filepath.Join(root, m.file)
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s has this %d times, want once: %s", m.file, n, m.old)
	}
	changed := filepath.Join(dir, "changed.go")
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil { //nolint:gosec // In the test's own folder.
			t.Fatal(err)
		}
	}
	write(changed, []byte(strings.Replace(string(source), m.old, m.new, 1)))
	overlay := overlay{Replace: map[string]string{}}
	if *seeded != "" {
		data, err := os.ReadFile(*seeded)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(data, &overlay); err != nil {
			t.Fatal(err)
		}
	}
	overlay.Replace[path] = changed
	data, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(dir, "overlay.json"), data)

	binary := filepath.Join(dir, "simulation.test")
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	built := time.Since(start)
	run := exec.CommandContext(ctx, binary, "-test.run", "TestSimulation", "-first", "1", "-seeds", strconv.FormatUint(*within, 10))
	out, err := run.CombinedOutput()
	if err == nil {
		t.Fatalf("not found within %d seeds", *within)
	}
	match := found.FindSubmatch(out)
	if match == nil {
		t.Fatalf("the simulation failed otherwise: %v\n%s", err, bytes.TrimSpace(out[:min(len(out), 4000)]))
	}
	t.Logf("found with seed %s, %v after a build of %v: %s", match[1], (time.Since(start) - built).Round(time.Millisecond), built.Round(time.Millisecond), match[2])
}
