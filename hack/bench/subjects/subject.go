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

// Package subjects has what the benchmark compares: locks, and what bounds them from
// below, each behind the same small interface.
package subjects

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Subject is one thing to measure.
type Subject struct {
	Name string
	// NeedsRedis is set for what is not run where no Redis is installed.
	NeedsRedis bool
	// Open returns a client that has connections of its own and counts what it sends.
	Open func(ctx context.Context, servers Servers, meter *Meter, options Options) (Client, error)
}

// Servers has the addresses of the servers, in a form that can be sent to a worker process.
type Servers struct {
	Kubernetes Kubernetes
	Etcd       string // URL
	Redis      string // host:port; empty where it is not installed
}

// Options of a client.
type Options struct {
	Lease time.Duration // 0: long enough for the whole run
	Renew bool          // in the background
	Size  int           // of the state, in bytes
}

func (o Options) lease() time.Duration {
	if o.Lease == 0 {
		return time.Minute
	}
	return o.Lease
}

// Client is one client of a subject. It is safe for concurrent use.
type Client interface {
	Lock(ctx context.Context, key string) (Lock, error)
	Close() error
}

// Lock is one key.
type Lock interface {
	// Acquire waits for the lock until ctx ends, and reads its state.
	Acquire(ctx context.Context) (Hold, error)
}

// Hold is one period of ownership.
type Hold interface {
	// Release changes the state and gives the lock up.
	Release(ctx context.Context) error
	// End is when the lease is over if its holder is killed now.
	End(ctx context.Context) (time.Time, error)
	// Lost reports whether the hold has ended without a release.
	Lost() bool
}

// errNoLease is what a subject without leases says of their end.
var errNoLease = errors.New("this subject has no lease")

// unleased is the part of a hold that has no lease and cannot be lost.
type unleased struct{}

func (unleased) End(context.Context) (time.Time, error) { return time.Time{}, errNoLease }
func (unleased) Lost() bool                             { return false }

// text is a state of so many bytes that differs from the one before.
func text(n, size int) string { return fmt.Sprintf("%0*d", max(size, 8), n%100_000_000) }

// All lists the subjects by name.
func All() []Subject {
	return []Subject{
		kubelockOn(DistributedLocks), kubelockOn(Leases), kubelockOn(ConfigMaps), kubelockDo(),
		floorOf(DistributedLocks), floorOf(Leases), floorOf(ConfigMaps),
		naive(), elector(), etcdMutex(), redsyncMutex(), redislockLock(), retryOnConflict(),
	}
}

// Named returns the subject of that name.
func Named(name string) (Subject, error) {
	for _, s := range All() {
		if s.Name == name {
			return s, nil
		}
	}
	return Subject{}, fmt.Errorf("there is no subject %q", name)
}
