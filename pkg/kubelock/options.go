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

package kubelock

import (
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubelock/kubelock/internal/protocol"
)

// Option changes one acquisition. A nil Option is an error of the call that gets it.
type Option func(*options)

type options struct {
	duration  time.Duration
	autoRenew bool
	minHold   time.Duration
	name      string
	wrong     []error
}

// WithDuration sets how long this hold lasts if it is neither released nor
// renewed, instead of Config.LockDuration. It may be shorter or longer than that, from
// 10 ms to 365 days.
func WithDuration(d time.Duration) Option {
	return func(o *options) {
		if err := checkDuration(d); err != nil {
			o.wrong = append(o.wrong, fmt.Errorf("kubelock: WithDuration: duration %w", err))
		}
		o.duration = d
	}
}

// WithAutoRenew renews the hold in the background until it is released, so that
// its duration only says how soon others get the lock if this program dies. If
// renewals keep failing until the lease ends, the hold is lost and Held.Context
// ends.
//
// It renews for as long as the program runs: a caller that forgets to release, or
// hangs, holds the lock until the process ends.
func WithAutoRenew() Option {
	return func(o *options) { o.autoRenew = true }
}

// WithMinHold keeps the lock taken until d after the hold began, also if it is released before: no client
// has it in that time, this one neither. So a short job that several replicas start at the same time runs
// once: give d the time by which they may be apart, and let them use TryAcquire.
//
// The release ends the hold as always, and writes the state. It lets the lock rest for what is left of d, in
// the same request, and nothing renews or ends that: this program may exit. What waits has the lock when d is
// over, the first in the queue first. A release after d is as any other. Lock.Delete and "kubectl dlock break" end a
// rest.
//
// d counts from when Acquire, TryAcquire, Do or Lead got the lock, by this program's clock. It needs a release: a hold that
// ends with its lease, because the program died or was cut off, leaves no rest. So without WithAutoRenew it is an
// error if d is longer than the duration, by which the hold may end earlier than d. With WithAutoRenew d may be
// longer: then the lock is taken for d after a release, and for the duration after a crash.
//
// d is 0, which is no such time, or up to 365 days. Where kubelock-limits of config/policy sets a
// maxDuration, d must not be longer. In a Lease that leader electors use, too, an elector
// that judges holders by a shorter time of its own may take the lock before.
func WithMinHold(d time.Duration) Option {
	return func(o *options) {
		if d < 0 || d > protocol.MaxDuration {
			o.wrong = append(o.wrong, fmt.Errorf("kubelock: WithMinHold: the time must be at least 0 and at most %v, is %v", protocol.MaxDuration, d))
		}
		o.minHold = d
	}
}

// WithName gives this acquisition a name in metrics and traces: the label "name" of kubelock_acquire_seconds,
// kubelock_apply_seconds, kubelock_hold_seconds, kubelock_renew_seconds, kubelock_lost_holds_total and
// kubelock_handoffs_total, and the attribute kubelock.name of spans. Without it the label is empty.
//
// The name is a word of the caller's for a kind of work, such as "report", and no key: it has 1 to 63
// characters, which are letters, digits, '-', '_' and '.', the first and the last a letter or a digit.
// The metrics of a client have at most 64 different names. Calls with more are counted under "_other", and
// Config.Logger gets one line about that.
func WithName(name string) Option {
	return func(o *options) {
		if bad := validation.IsValidLabelValue(name); name == "" || len(bad) > 0 {
			o.wrong = append(o.wrong, fmt.Errorf("kubelock: WithName: the name must have 1 to %d letters, digits, '-', '_' or '.', "+
				"and begin and end with a letter or a digit, is %q: name the kind of work, and not a key", validation.LabelValueMaxLength, name))
		}
		o.name = name
	}
}

func (c *Client) options(opts []Option) (options, error) {
	o := options{duration: c.duration}
	for i, opt := range opts {
		if opt == nil {
			o.wrong = append(o.wrong, fmt.Errorf("kubelock: option %d is nil: leave it out", i+1))
			continue
		}
		opt(&o)
	}
	if len(o.wrong) == 0 && o.minHold > o.duration && !o.autoRenew {
		return o, fmt.Errorf("kubelock: WithMinHold: %v is longer than the lease of %v, which may end first: use WithDuration for a longer one, or WithAutoRenew",
			o.minHold, o.duration)
	}
	return o, errors.Join(o.wrong...)
}
