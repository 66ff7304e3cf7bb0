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
	"cmp"
	"flag"
	"fmt"
	"time"

	"k8s.io/client-go/tools/leaderelection"
)

// electionID is the name of the Lease that the leading replica holds.
const electionID = "reaper.kubelock.dev"

// election has the durations of the leader election. They decide how soon another replica leads
// after the leader has ended. They are shorter than those of other controllers, because a leader
// that notices the end of its lease late does no harm: two reapers may work at once.
type election struct {
	lease         time.Duration
	renewDeadline time.Duration
	retryPeriod   time.Duration
}

// defaultElection makes another replica lead 5 to 11 seconds after the leader was killed, and within
// 2.2 seconds after it ended by SIGTERM: docs/operations/reaper.md. The leader writes once per
// second, and each other replica reads once per 1 to 2.2 seconds.
var defaultElection = election{lease: 6 * time.Second, renewDeadline: 5 * time.Second, retryPeriod: time.Second}

func (e *election) bind(flags *flag.FlagSet) {
	flags.DurationVar(&e.lease, "leader-elect-lease-duration", defaultElection.lease,
		"After how long without a renewal another replica leads.")
	flags.DurationVar(&e.renewDeadline, "leader-elect-renew-deadline", defaultElection.renewDeadline,
		"For how long the leading replica tries to renew before it ends; less than --leader-elect-lease-duration.")
	flags.DurationVar(&e.retryPeriod, "leader-elect-retry-period", defaultElection.retryPeriod,
		"How often the leading replica renews, and the others look whether they may lead.")
}

// orDefaults returns e with the default for each field that is 0.
func (e *election) orDefaults() election {
	return election{
		lease:         cmp.Or(e.lease, defaultElection.lease),
		renewDeadline: cmp.Or(e.renewDeadline, defaultElection.renewDeadline),
		retryPeriod:   cmp.Or(e.retryPeriod, defaultElection.retryPeriod),
	}
}

// check returns everything that is wrong with e.
func (e *election) check() []error {
	var wrong []error
	d := e.orDefaults()
	if d.lease < time.Second { // The Lease has whole seconds.
		wrong = append(wrong, fmt.Errorf("--leader-elect-lease-duration must be at least 1s, not %v", d.lease))
	}
	if d.renewDeadline >= d.lease {
		wrong = append(wrong, fmt.Errorf("--leader-elect-renew-deadline must be less than --leader-elect-lease-duration, and %v is not less than %v", d.renewDeadline, d.lease))
	}
	if d.retryPeriod <= 0 || float64(d.retryPeriod)*leaderelection.JitterFactor >= float64(d.renewDeadline) {
		wrong = append(wrong, fmt.Errorf("--leader-elect-retry-period must be positive, and %v times it less than --leader-elect-renew-deadline: it is %v, and the deadline %v",
			leaderelection.JitterFactor, d.retryPeriod, d.renewDeadline))
	}
	return wrong
}
