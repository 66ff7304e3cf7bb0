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

package gocron

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-co-op/gocron/v2"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// releaseTimeout is the timeout of the release after a run. The release must not end with the job's context. An
// API server lets no request take longer.
const releaseTimeout = time.Minute

// LockerConfig configures a Locker.
type LockerConfig struct {
	// Window is how long the lock of a job stays taken, at least, from the beginning of a run, as
	// kubelock.WithMinHold has it. It is required. It must be longer than the schedulers are apart, by their clocks
	// and by how late they come, or the next of them runs the job again. It must be shorter, by some seconds, than the
	// time between two runs of a job, or every second run is left out: a lock that rests without a reaper may
	// be found to be free some three seconds later.
	Window time.Duration
	// Prefix and the job's name make the lock's key. Empty means "gocron/".
	Prefix string
	// LockDuration is how long the other schedulers do not run a job if the replica that ran it has died. Runs
	// in that time are left out. 0 means the client's Config.LockDuration.
	LockDuration time.Duration
}

// Locker is a gocron.Locker. Of all schedulers that have a Locker, the first one to start a run of a job does
// that run. Use it with gocron.WithDistributedLocker, or gocron.WithDistributedJobLocker. It is safe for
// concurrent use.
//
// Each job needs a unique name that is the same on all replicas: gocron.WithName. All schedulers must start a run
// at the same time, so use a CronJob, or gocron.WithStartAt for a DurationJob.
type Locker struct {
	client  *kubelock.Client
	cfg     LockerConfig
	options []kubelock.Option

	mu   sync.Mutex // protects the field below
	runs map[string]*kubelock.Held[struct{}]
}

// NewLocker returns a Locker that uses client. It does no I/O. An error lists everything that is wrong with cfg.
func NewLocker(client *kubelock.Client, cfg LockerConfig) (*Locker, error) {
	var wrong []error
	if client == nil {
		wrong = append(wrong, errors.New("the client is nil: pass what kubelock.NewClient returned"))
	}
	if cfg.Window <= 0 {
		wrong = append(wrong, fmt.Errorf("the Window must be positive, is %v: longer than the schedulers are apart, "+
			"and shorter than the time between two runs", cfg.Window))
	}
	if cfg.LockDuration < 0 {
		wrong = append(wrong, fmt.Errorf("LockDuration must not be negative, is %v", cfg.LockDuration))
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("kubelock: wrong configuration of a gocron Locker:\n%w", errors.Join(wrong...))
	}
	if cfg.Prefix == "" {
		cfg.Prefix = "gocron/"
	}
	l := &Locker{
		client: client, cfg: cfg, options: []kubelock.Option{kubelock.WithAutoRenew(), kubelock.WithMinHold(cfg.Window)},
		runs: map[string]*kubelock.Held[struct{}]{},
	}
	if cfg.LockDuration > 0 {
		l.options = append(l.options, kubelock.WithDuration(cfg.LockDuration))
	}
	return l, nil
}

// Lock implements gocron.Locker. It acquires the lock of a job for one run, and does not wait for the lock. If it
// fails, it returns the error of kubelock.Lock.TryAcquire, and the scheduler leaves out the run;
// gocron.AfterLockError gets the error. The error Is kubelock.ErrNotAcquired if another scheduler runs the job, or
// has started it within the window.
func (l *Locker) Lock(ctx context.Context, job string) (gocron.Lock, error) {
	held, err := kubelock.NewLock[struct{}](l.client, l.cfg.Prefix+job).TryAcquire(ctx, l.options...)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[job] = held
	return &run{locker: l, job: job, held: held}, nil
}

// Held returns the hold for the current run of a job on this scheduler. It has the fencing token of the run, and a
// context that ends if the lock is lost. Without such a run Held returns nil, which is valid and stands for a hold
// that has ended. A job must not release the hold.
func (l *Locker) Held(job string) *kubelock.Held[struct{}] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[job]
}

// run is the lock of one run of a job.
type run struct {
	locker *Locker
	job    string
	held   *kubelock.Held[struct{}]
}

// Unlock implements gocron.Lock. It releases the lock, which rests until the window is over: nothing of this
// program is needed for that. The error is that of kubelock.Held.Release: kubelock.ErrLost says
// that the lease had ended in the run. gocron ignores it.
func (r *run) Unlock(ctx context.Context) error {
	l := r.locker
	l.mu.Lock()
	if l.runs[r.job] == r.held {
		delete(l.runs, r.job)
	}
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout) // gocron ends it at Shutdown.
	defer cancel()
	return r.held.Release(ctx)
}
