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

// mutant is a fault that is planted in the code.
type mutant struct {
	name     string
	file     string // path from the module's root
	old, new string // the original text, which occurs once, and the text that replaces it
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
	{"an unknown outcome of an applied change taken for success", "internal/session/contend.go",
		`case v == done && req.applies:`, `case (v == done || a.Outcome == protocol.Unknown) && req.applies:`},
	{"an applied change that is not found again", "internal/session/apply.go",
		`own := last != nil && last.LockID == s.tenure.lockID && last.Identity == s.cfg.Identity && last.Reason == protocol.Released`, `own := false
	if last != nil && last.LockID == s.tenure.lockID {
		s.tenure.attempts = nil
	}`},
	{"a change that others may hide taken for undone", "internal/session/apply.go",
		`open && same && !r.RulesOut(`, `last == nil && !r.RulesOut(`},
	{"a change that fails and is stored", "pkg/kubelock/apply.go",
		`if state, err = fn(state); err != nil {
			return nil, err
		}`, `state, _ = fn(state)`},
	{"a call that returns before the write that carries its change", "internal/engine/applier.go",
		`answered { // At once: a call that goes from now on retracts what the session has.
			p.driver.post(`, `answered {
			for _, a := range batch {
				if a.err == nil {
					a.ended <- outcome{result: &session.Result{}}
				}
			}
			p.driver.post(`},
	{"a change that is applied to a lock that others queue for", "internal/session/claim.go",
		`r.Holder == nil && len(r.Waiters) == 0 {
		return s.applyFree(c)`, `r.Holder == nil {
		s.view.record.Waiters = nil
		return s.applyFree(c)`},
	{"a deadline that counts from the answer", "internal/session/tenure.go",
		`return a.sent, true`, `return s.now, true`},
	{"a deadline from the last attempt, whichever was committed", "internal/session/tenure.go",
		`for _, a := range s.tenure.attempts {
		if a.takes &&`, `for _, a := range s.tenure.attempts[max(0, len(s.tenure.attempts)-1):] {
		if a.takes ||`},
	{"a grant that counts from when it is seen", "internal/session/tenure.go",
		`return s.grantedFrom(h), false`, `return s.now, false`},
	{"a grant that counts from a read which has shown it", "internal/session/contend.go",
		`if !s.heldByClaim() {
			s.seenWithout`, `{
			s.seenWithout`},
	{"stamps by the node's clock", "internal/servertime/clock.go",
		`_, at = r.told.at(now)`, `at = now`},
	{"stamps by the lower bound of the server's time", "internal/servertime/clock.go",
		`_, at = r.told.at(now)`, `at, _ = r.told.at(now)`},
	{"judging by the upper bound of the server's time", "internal/servertime/clock.go",
		`j.ServerTime, _ = r.told.at(now)`, `_, j.ServerTime = r.told.at(now)`},
	{"no allowance for clocks that are apart", "internal/protocol/expiry.go",
		`t = t.Add(j.MaxClockSkew)`, ``},
	{"a hold that was renewed taken for unchanged", "internal/protocol/expiry.go",
		`seen.lockID, seen.renewTime, seen.duration = h.LockID, h.RenewTime, h.Duration`, `seen.lockID, seen.duration = h.LockID, h.Duration`},
	{"a reaper in a hurry", "controllers/reaper.go",
		`expired, wait := judge.Expired(lock, seen)`, `expired, wait := judge.Expired(lock, seen)
		expired = expired || wait < lock.Holder.Duration/2`},
	{"a token from a counter", "internal/protocol/token.go",
		`return last + 1, nil`, `return r.Transitions + 1, nil`},
	{"an unknown outcome of a release taken for success", "internal/session/release.go",
		`	v := s.answered(&e.effort, req, a)
	if e.lost`, `	v := s.answered(&e.effort, req, a)
	if a.Outcome == protocol.Unknown && req.Kind != Read {
		s.finish(e, &Result{Kind: OK})
		return
	}
	if e.lost`},
	{"an unknown outcome of a save taken for failure", "internal/session/renew.go",
		`switch v := s.answered(&o.effort, req, a); {`, `switch v := s.answered(&o.effort, req, a); {
	case a.Outcome == protocol.Unknown && req.Kind == Amend:
		s.endOp(&Result{Kind: Failed, Err: a.Err})`},
	{"a late release that writes the state", "internal/session/release.go",
		`e.change.Unless(late || e.leftOut != nil)`, `e.change.Unless(e.leftOut != nil)`},
	{"a release before the hold's context has ended", "internal/engine/hold.go",
		`h.cancel(context.Canceled)`, ``},
	{"a hand-over that loses a waiter", "internal/protocol/transitions.go",
		`r = hold(r, head.grant(next, grace, at))
		if successor`, `r = hold(r, head.grant(next, grace, at))
		r.Waiters = r.Waiters[min(1, len(r.Waiters)):]
		if successor`},
	{"a release read from another object", "internal/session/outcome.go",
		`same := r.UID == e.uid`, `same := true`},
	{"a rest that is over too early", "internal/session/release.go",
		`protocol.Rest(r, claim, e.token, change, rest, stamp)`, `protocol.Rest(r, claim, e.token, change, rest/2, stamp)`},
	{"no safety re-read", "internal/session/queue.go",
		`return s.readAt(earlier(earlier(at, s.rereadAfterLease()), s.rereadBeforeTurn(ahead)))`, `return s.readAt(s.view.at.Add(time.Hour))`},

	{"a grant in an object that is being deleted", "internal/protocol/transitions.go",
		`if r.Terminating { // A hold that began now would vanish with the object.`, `if false {`},
	{"a holder's write that does not test whether the object is being deleted", "internal/store/objects.go",
		`p.stays(from)`, ``},
	{"a waiter that does not test whether the object is being deleted", "internal/store/objects.go",
		`p.stays(r)`, ``},
	{"a deletion that is over before the object has gone", "internal/store/objects.go",
		`left.GetDeletionTimestamp() != nil && len(left.GetFinalizers()) > 0`, `left.GetDeletionTimestamp() == nil`},
	{"judging by the Date of any answer", "internal/servertime/clock.go",
		`j.ServerTime, _ = r.told.at(now)`, `j.ServerTime, _ = r.best(now).at(now)
	}
	if !r.hints.unknown() {
		j.ServerTime, _ = r.hints.at(now)`},
	{"a stamp by a Date that nothing confirms", "internal/servertime/clock.go",
		`return !upper.After(stamp.Time.Add(time.Microsecond))`, `_ = upper
	return true`},
	{"a client that stamps by what it knew a day ago", "internal/servertime/clock.go",
		`fresh = 500 * time.Second`, `fresh = 500 * time.Hour`},
	{"a reaper that goes by a hint", "controllers/reaper.go",
		`func (r *Reaper) judge() protocol.Judge { return r.ServerTime.Reading().Judge(`, `func (r *Reaper) judge() protocol.Judge { return r.ServerTime.Reading().Guess(`},
	{"requests that are refused, without a pause between them", "internal/session/tries.go",
		`d := min(firstPause<<t.steps, longPause)`, `d := time.Duration(0)`},
	{"a denial that is believed at once", "internal/session/tries.go",
		`if !r.Doubted {`, `if r.Doubted {`},
	{"a Retry-After that is waited for in full", "internal/session/tries.go",
		`d = min(d, max(left/fitting, t.floor))`, `d = max(d, min(left/fitting, t.floor))`},
	{"a lock that stays held because its state is refused", "internal/session/release.go",
		`	e.leftOut = refusal
}`, `	s.unresolved(e, refusal)
}`},

	{"a reaper that grants no lock which was freed by hand", "controllers/reaper.go",
		`return r.grant, 0`, `return nil, 0`},
	{"a watch that goes on after etcd was restored", "internal/store/gaps.go",
		`err == nil && order > 0`, `err == nil && order > 1`},
	{"a token below those that a copied lock records", "internal/protocol/token.go",
		`if last = max(last, r.recordedToken()); last == math.MaxInt64 {`, `if last == math.MaxInt64 {`},
	{"a grace for each of many that are dead", "internal/protocol/queue.go",
		`haste = Grace / 50`, `haste = Grace`},
	{"a lock that is granted to one dead client after the other", "internal/protocol/queue.go",
		`		return hasty
	}
	return 0`, `		return hasty
	}
	return h.Duration`},
	{"a reaper that grants a lock before those behind the dead have noticed that it is free", "internal/protocol/expiry.go",
		`r.Ahead(len(r.Waiters))), 2*Grace)`, `r.Ahead(len(r.Waiters))))`},
	{"a copied lock that is collected, with its tokens", "internal/protocol/expiry.go",
		` || r.Terminating || r.tokensAhead() {`, ` || r.Terminating {`},
	{"a waiter whose client is no label", "internal/protocol/queue.go",
		` && ValidLabel(lockID[:end])`, ``},
	{"a waiter whose lock ID is no label", "internal/protocol/queue.go",
		`end > 0 && ValidLabel(lockID) && `, `end > 0 && `},
	{"a waiter of any identity", "internal/protocol/queue.go",
		`!validLockID(lockID) || !ValidIdentity(identity)`, `!validLockID(lockID)`},
	{"a waiter that wants the lock for any time", "internal/protocol/queue.go",
		` || d <= 0 || d > MaxDuration {`, ` || d <= 0 {`},
	{"a waiter that wants the lock for no time", "internal/protocol/queue.go",
		` || d <= 0 || d > MaxDuration {`, ` || d > MaxDuration {`},
	{"a head start for what cannot be read", "internal/protocol/queue.go",
		`if _, ok := ParseWaiter(text); ok {
			count++
		}`, `_ = text
		count++`},
	{"numbers of waiters that do not begin anew", "internal/store/annotations.go",
		`return last%maxWaiterNumber + 1`, `return last + 1`},
	{"an elector's clock that is believed", "internal/store/leases.go",
		`Source: protocol.Node, Duration: unknownLease}`, `Source: protocol.Server, Duration: unknownLease}`},
	{"an observation that ends with its call", "internal/engine/drivers.go",
		`e.idle.Add(d.key.name, d)`, `if bytes >= 0 {
		delete(e.byKey, d.key.name)
		return
	}
	e.idle.Add(d.key.name, d)`},
	{"an elector's lease taken for the usual one", "internal/store/leases.go",
		`if s := spec.LeaseDurationSeconds; s != nil && *s > 0 {`, `if s := spec.LeaseDurationSeconds; s != nil && *s < 0 {`},
	{"a sum of durations that overflows", "internal/protocol/bounds.go",
		`case d > 0 && sum > math.MaxInt64-d:`, `case sum < 0 && sum > math.MaxInt64-d:`},
	{"a lease in seconds that overflows", "internal/store/leases.go",
		`(d-1)/time.Second+1`, `(d+time.Second-1)/time.Second`},
	{"an expiry of no length that is believed", "internal/store/annotations.go",
		`if err == nil && d <= 0 {`, `if err == nil && d < -time.Hour {`},
}

// TestMutants checks that the simulation finds each mutant within the seeds that make test runs. make test
// plants a third of the mutants, another third for each commit. No source file changes: the compiler gets
// the changed file as an overlay.
func TestMutants(t *testing.T) { //nolint:tparallel // It runs alone.
	if *within == 0 {
		t.Skip("takes long: run it by make test")
	}
	root, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range mutants {
		if *third >= 0 && i%3 != *third%3 {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel() // Each runs a process of its own.
			m.mustBeFound(t, root)
		})
	}
}

// TestMutantsCanBePlanted checks that the text which each mutant replaces occurs once.
func TestMutantsCanBePlanted(t *testing.T) {
	t.Parallel()
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			m.source(t, filepath.Join("..", "..", "..", m.file))
		})
	}
}

// source returns the content of the file in which the mutant is planted.
func (m mutant) source(t *testing.T, path string) string {
	t.Helper()
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		t.Fatalf("%s has this %d times, want once: %s", m.file, n, m.old)
	}
	return string(source)
}

// overlay is the content of a file for go build's -overlay.
type overlay struct {
	Replace map[string]string `json:"Replace"`
}

var found = regexp.MustCompile(`seed (\d+): (.*)`)

func (m mutant) mustBeFound(t *testing.T, root string) {
	t.Helper()
	dir, start := t.TempDir(), time.Now()
	path := filepath.Join(root, m.file)
	source := m.source(t, path)
	changed := filepath.Join(dir, "changed.go")
	write := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(changed, []byte(strings.Replace(source, m.old, m.new, 1)))
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
