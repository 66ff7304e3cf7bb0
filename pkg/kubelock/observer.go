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
	"context"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// observer follows one lock for one caller: what its newest known version is, and
// since when it has been so.
type observer struct {
	client *Client
	key    key
	known  bool                 // whether anything was seen yet
	record protocol.Record      // the newest version seen
	seen   protocol.Observation // of record

	watch     *subscription // nil before the first wait
	stopWatch func()
}

// see takes a version of the lock in, unless a newer one is known.
func (o *observer) see(r protocol.Record) {
	if o.outdated(r) {
		return
	}
	o.known = true
	o.client.handOffs.moved(o.key, r, o.client.now())
	o.record = r
	o.seen = o.client.sights.see(o.key.name, o.seen, r, o.client.now())
}

func (o *observer) outdated(r protocol.Record) bool {
	return o.record.Exists() && r.Exists() && protocol.Newer(o.record, r)
}

// follow opens a watch, if there is none yet.
func (o *observer) follow(subscribe func(key) (*subscription, func(), error)) (err error) {
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
		return nil, false, nil
	case <-o.watch.synced:
		o.watch.synced = nil
		return nil, o.watch.absent(), nil
	case <-o.watch.signal:
	}
	versions, reread, err = o.watch.take()
	for _, r := range versions {
		if err == nil {
			err = o.key.check(r)
		}
	}
	return versions, reread, err
}

// stop closes what follow opened.
func (o *observer) stop() {
	if o.watch != nil {
		o.stopWatch()
		o.watch = nil
	}
}
