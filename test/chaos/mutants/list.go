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

import "time"

// mutant is a fault that is planted in the code. The chaos run must find it.
type mutant struct {
	name     string
	module   string // the module of the file; empty for this project
	file     string // path from the module's root
	old, new string // the original text, which occurs once, and the text that replaces it
	faults   string // the faults of the run that reveal it
	// length is how long a run injects faults, if the default is too short. The check of whether a
	// client notices a grant by its watch needs two calms.
	length time.Duration
}

// mutants are faults that do harm only with a real server or real processes.
var mutants = []mutant{
	{
		// In a ConfigMap: with a DistributedLock, the CRD's rules for tokens refuse a write without
		// its preconditions.
		name: "a holder's write without its preconditions", file: "internal/store/configmaps.go",
		old: `testAnnotation(p, stored.Annotations, holderAnnotation)
	testQueue(p, stored.Annotations, to.Waiters)
	obj`, new: `obj`,
		faults: "late-requests",
	},
	{
		name: "the deadline ignored after a stop", file: "internal/session/step.go",
		old: `if s.state == Holding && !s.now.Before(s.hold.Deadline) {`, new: `if false {`,
		faults: "pause-client-long,pause-holder",
	},
	{
		name: "the node's clock trusted", file: "internal/servertime/clock.go",
		old: `at = at.Round(0)`, new: `at = now.Round(0)`,
		faults: "pause-client,pause-client-long,slow-link",
	},
	{
		name: "an unknown outcome of a save taken for failure", file: "internal/session/renew.go",
		old: `case v == refused:
		s.endOp(&Result{Kind: Failed, Err: a.Err, OutcomeUnknown: s.maybeWritten(o), Last: o.last})`,
		new: `case v == refused, a.Reply.Outcome == protocol.Unknown:
		s.endOp(&Result{Kind: Failed, Err: a.Err})`,
		faults: "cut-answers,kill-apiserver,cut-watches,partition-apiserver-etcd",
	},
	{
		name: "an unknown outcome of a release taken for success", file: "internal/session/release.go",
		old: `case v == refused:
		s.refusedEnding(`, new: `case a.Reply.Outcome == protocol.Unknown:
		s.finish(e, &Result{Kind: OK})
	case v == refused:
		s.refusedEnding(`,
		faults: "cut-answers,kill-apiserver,cut-watches,partition-client",
	},
	{
		name: "a release after the deadline that writes the state", file: "internal/session/release.go",
		old: `e.change.Unless(late || e.leftOut != nil)`, new: `e.change.Unless(e.leftOut != nil)`,
		faults: "pause-client-long,pause-holder,kill-reaper",
	},
	{
		name: "a watch that was cut not opened again", module: "k8s.io/client-go", file: "tools/cache/reflector.go",
		old: `retry.After(err)
		if err != nil {`, new: `<-stopCh
		if err != nil {`,
		faults: "cut-watches", length: 130 * time.Second,
	},
	{
		name: "410 Gone not handled", module: "k8s.io/client-go", file: "tools/cache/reflector.go",
		old: `logger.V(4).Info("Watch closed", "reflector", r.name, "type", r.typeDescription, "err", err)`, new: `<-stopCh`,
		faults: "compact", length: 130 * time.Second,
	},
	{
		name: "a reaper in a hurry", file: "controllers/reaper.go",
		old: `expired, wait := judge.Expired(lock, seen)`, new: `expired, wait := judge.Expired(lock, seen)
		expired = expired || wait < lock.Holder.Duration/2`,
		faults: "pause-client,slow-link",
	},
	{
		name: "a token from a counter", file: "internal/protocol/token.go",
		old: `return last + 1, nil`, new: `return r.Transitions + 1, nil`,
		faults: "kubectl-delete,renew-crd,renew-namespace",
	}, {
		name: "a Retry-After obeyed beyond the lease", file: "internal/session/tries.go",
		old: `d = min(d, max(left/fitting, t.floor))`, new: `_ = left`,
		faults: "retry-after",
	},
	{
		name: "a refused write sent again without a pause", file: "internal/session/tries.go",
		old: `t.next = now.Add(d)`, new: `t.next = now`,
		faults: "deny-proxy",
	},
	{
		name: "a change that was stored applied again", file: "internal/session/apply.go",
		old: `own := last != nil && last.LockID == s.tenure.lockID && last.Identity == s.cfg.Identity && last.Reason == protocol.Released`, new: `own := false
	if last != nil && last.LockID == s.tenure.lockID {
		s.tenure.attempts = nil
	}`,
		faults: "cut-answers,kill-apiserver",
	},
	{
		name: "a change that was sent taken for stored", file: "internal/engine/apply.go",
		old: `return c.unknown(k, causeOf(ctx))
			case toldSoon`, new: `return nil
			case toldSoon`,
		faults: "cut-answers,kill-apiserver,partition-client,slow-link",
	},
	{
		name: "a refusal believed at once", file: "internal/session/tries.go",
		old: `if sent.Sub(t.refused) < Patience {`, new: `if false {`,
		faults: "deny-proxy,refuse-once",
	},
}
