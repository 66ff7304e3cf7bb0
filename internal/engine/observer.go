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

package engine

import (
	"context"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// minute is for how long at most a caller that waits relies on what it knows. Whatever it
// does not see, and however long the lease is, it knows it then.
const minute = time.Minute

// observer follows one lock for one caller: what its newest known version is, and
// since when it has been so.
type observer struct {
	client *Client
	key    Key
	known  bool                 // whether anything was seen yet
	record protocol.Record      // the newest version seen
	seen   protocol.Observation // of record
	// taken is when record was taken in, from wherever it came.
	taken time.Time
	// missed is since when something may have happened that no watch shows; zero: nothing.
	missed time.Time

	watch     *subscription // nil before the first wait
	stopWatch func()
}

// see takes in a version of the lock that a watch shows, or that is remembered, unless a
// newer one is known: it may be old.
func (o *observer) see(r protocol.Record) {
	if !o.outdated(r) {
		o.take(r)
	}
}

// answered takes in the answer to a request that was sent at sent. If all that is known was
// known by then, the answer counts whatever its version is: the API server's versions go
// back if etcd is restored from a backup. What may have been missed before is known then.
func (o *observer) answered(r protocol.Record, sent time.Time) {
	if !sent.Before(o.taken) || !o.outdated(r) {
		o.take(r)
	}
	if !sent.Before(o.missed) {
		o.missed = time.Time{}
	}
}

func (o *observer) take(r protocol.Record) {
	now := o.client.now()
	o.known, o.taken = true, now
	o.record = r
	o.seen = o.client.observe(o.key, o.seen, r)
}

// outdated reports whether a newer version than r is known.
func (o *observer) outdated(r protocol.Record) bool {
	return o.record.Exists() && r.Exists() && protocol.Newer(o.record, r)
}

// follow opens a watch, if there is none yet.
func (o *observer) follow(subscribe func(Key) (*subscription, func(), error)) (err error) {
	if o.watch == nil {
		o.watch, o.stopWatch, err = subscribe(o.key)
	}
	return err
}

// next returns the versions that the watch shows, oldest first, some of which may be
// older than what is known; or none after d. If reread is set, only a read can tell
// how the lock stands.
func (o *observer) next(ctx context.Context, d time.Duration) (versions []protocol.Record, reread bool, err error) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	case <-timer.C:
		return nil, !o.missed.IsZero(), nil
	case <-o.watch.synced:
		o.watch.synced = nil
		if o.watch.absent() {
			o.missed = o.client.now()
		}
		return nil, !o.missed.IsZero(), nil
	case <-o.watch.signal:
	}
	versions, hint, err := o.watch.take()
	if hint {
		o.missed = o.client.now()
	}
	for _, r := range versions {
		if err == nil {
			err = o.key.check(r)
		}
	}
	return versions, !o.missed.IsZero(), err
}

// stop closes what follow opened.
func (o *observer) stop() {
	if o.watch != nil {
		o.stopWatch()
		o.watch = nil
	}
}
