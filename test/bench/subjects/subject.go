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

// Package subjects has the locks that the benchmark compares, and the bare updates that are their lower
// bound. All have the same small interface.
package subjects

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Subject is one lock to measure, or one kind of bare updates.
type Subject struct {
	Name string
	// NeedsRedis is set if the subject cannot be run without an installed Redis.
	NeedsRedis bool
	// Open returns a client that has connections of its own and counts its requests.
	Open func(ctx context.Context, servers Servers, meter *Meter, options Options) (Client, error)
}

// Servers has the addresses of the servers, in a form that can be sent to a worker process.
type Servers struct {
	Kubernetes Kubernetes
	Etcd       string // URL
	Redis      string // host:port; empty if it is not installed
}

// Options of a client.
type Options struct {
	Lease time.Duration // 0 means long enough for the whole run
	Renew bool          // whether to renew in the background
	Size  int           // size of the state in bytes
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
	// Release changes the state and releases the lock.
	Release(ctx context.Context) error
	// End returns when the lease ends if the holder is killed now.
	End(ctx context.Context) (time.Time, error)
	// Lost reports whether the hold has ended without a release.
	Lost() bool
}

// errNoLease is the error of End for a subject without leases.
var errNoLease = errors.New("this subject has no lease")

// unleased implements End and Lost for a hold without a lease, which cannot be lost.
type unleased struct{}

func (unleased) End(context.Context) (time.Time, error) { return time.Time{}, errNoLease }
func (unleased) Lost() bool                             { return false }

// text returns a state of at least size bytes that contains n.
func text(n, size int) string { return fmt.Sprintf("%0*d", max(size, 8), n%100_000_000) }

// All returns the subjects.
func All() []Subject {
	return []Subject{
		kubelockOn(DistributedLocks), kubelockOn(Leases), kubelockOn(ConfigMaps), kubelockDo(),
		applyOn(DistributedLocks), applyOn(Leases), applyOn(ConfigMaps),
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
