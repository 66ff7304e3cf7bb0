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

// mutant is a fault that a change of the code could make.
type mutant struct {
	name     string
	module   string // the file's, if it is not the project's
	file     string // from the module's root
	old, new string // what stands there, once, and what would stand there instead
	faults   string // that bring it to light
	// length is how long there are faults in one run, if not as usual: in calm times it shows
	// whether a watch tells clients what they are given, and two of them take longer.
	length time.Duration
}

// mutants are faults in the code that need a real server, or real processes, to do harm.
var mutants = []mutant{
	{
		// In a ConfigMap: of a DistributedLock, the CRD's rules about tokens refuse what a write
		// without its preconditions would do.
		name: "a holder's write without its preconditions", file: "internal/store/configmaps.go",
		old: `testAnnotation(p, stored.Annotations, holderAnnotation)
	testQueue(p, stored.Annotations, to.Waiters)
	obj`, new: `obj`,
		faults: "late-requests",
	},
	{
		name: "the deadline ignored after a stop", file: "pkg/kubelock/hold.go",
		old: `	h.phase = lost
	h.mu.Unlock()
	h.ended()
}

// lose ends`,
		new: `	h.mu.Unlock()
}

// lose ends`,
		faults: "pause-client-long,pause-holder",
	},
	{
		name: "the node's clock trusted", file: "internal/servertime/clock.go",
		old: `at = at.Round(0)`, new: `at = now.Round(0)`,
		faults: "pause-client,pause-client-long,slow-link",
	},
	{
		name: "an unknown outcome of a save taken for failure", file: "pkg/kubelock/renew.go",
		old: `case store.Unknown, store.Stale: // A read tells what became of it.`, new: `case store.Unknown:
			return errors.New("failed")
		case store.Stale:`,
		faults: "cut-answers,kill-apiserver,cut-watches,partition-apiserver-etcd",
	},
	{
		name: "an unknown outcome of a release taken for success", file: "pkg/kubelock/release.go",
		old: `c.log.V(1).Info("Could not release a lock, will retry", "key", h.key.name, "err", ans.err)`, new: `return nil, true`,
		faults: "cut-answers,kill-apiserver,cut-watches,partition-client",
	},
	{
		name: "a release after the deadline that writes the state", file: "pkg/kubelock/release.go",
		old: `h.change.Unless(late || without != nil)`, new: `h.change.Unless(without != nil)`,
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
	},
}
