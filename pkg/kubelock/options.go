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
)

// Option changes one acquisition. A nil Option is an error of the call that gets it.
type Option func(*options)

type options struct {
	duration  time.Duration
	autoRenew bool
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
// It renews for as long as the program runs: somebody who forgets to release, or
// hangs, holds the lock until the process ends.
func WithAutoRenew() Option {
	return func(o *options) { o.autoRenew = true }
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
	return o, errors.Join(o.wrong...)
}
