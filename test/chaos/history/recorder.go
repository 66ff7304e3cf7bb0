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

package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Namespace is the namespace of a run's locks.
const Namespace = "chaos"

// prefixes are the prefixes of the objects' keys in etcd, by kind.
var prefixes = map[string]string{
	DistributedLocks: "/registry/kubelock.dev/distributedlocks/" + Namespace + "/",
	Leases:           "/registry/leases/" + Namespace + "/",
	ConfigMaps:       "/registry/configmaps/" + Namespace + "/",
}

const registry = "/registry/"

// Recorder records every version of every lock. It watches etcd directly, from before the first
// version on.
type Recorder struct {
	etcd *clientv3.Client
	done chan struct{}
	stop context.CancelFunc

	mu       sync.Mutex // protects the fields below
	versions map[Lock][]*Version
	seen     int64 // the newest recorded revision
	count    int
	err      error
}

// Record starts a recorder. etcd must not be compacted beyond the revision that the recorder has seen.
func Record(ctx context.Context, etcd *clientv3.Client) (*Recorder, error) {
	now, err := etcd.Get(ctx, registry, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &Recorder{etcd: etcd, done: make(chan struct{}), stop: cancel, versions: map[Lock][]*Version{}}
	go r.run(ctx, now.Header.Revision)
	return r, nil
}

func (r *Recorder) run(ctx context.Context, seen int64) {
	defer close(r.done)
	for ctx.Err() == nil {
		// A member that has lost its leader ends the watch, and another goes on.
		one, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
		for response := range r.etcd.Watch(one, registry, clientv3.WithPrefix(), clientv3.WithRev(seen+1), clientv3.WithProgressNotify()) {
			if response.CompactRevision > seen {
				r.fail(fmt.Errorf("the history was compacted up to %d, recorded up to %d", response.CompactRevision, seen))
				cancel()
				return
			}
			if response.Err() != nil {
				break
			}
			seen = max(seen, r.record(response))
		}
		cancel()
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond): // All members may be unreachable at the moment.
		}
	}
}

func (r *Recorder) record(response clientv3.WatchResponse) int64 {
	at := Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, event := range response.Events {
		if err := r.event(event, at); err != nil {
			r.err = errors.Join(r.err, fmt.Errorf("%s at revision %d: %w", event.Kv.Key, event.Kv.ModRevision, err))
		}
		r.seen = max(r.seen, event.Kv.ModRevision)
	}
	if response.IsProgressNotify() {
		r.seen = max(r.seen, response.Header.Revision)
	}
	return r.seen
}

func (r *Recorder) event(event *clientv3.Event, at int64) error {
	for kind, prefix := range prefixes {
		name, ok := strings.CutPrefix(string(event.Kv.Key), prefix)
		if !ok || name == "kube-root-ca.crt" {
			continue
		}
		lock := Lock{kind, name}
		v := &Version{Deleted: true}
		if event.Type == clientv3.EventTypePut {
			var err error
			if v, err = Decode(kind, event.Kv.Value); err != nil {
				return err
			}
		}
		v.Lock, v.Revision, v.Seen = lock, event.Kv.ModRevision, at
		if v.Holder != nil && v.Holder.Token == 0 {
			v.Holder.Token = r.createdToken(v)
		}
		r.versions[lock] = append(r.versions[lock], v)
		r.count++
	}
	return nil
}

// createdToken returns the token of a hold whose record has none: the version with which the hold
// created the object.
func (r *Recorder) createdToken(v *Version) int64 {
	before := r.versions[v.Lock]
	if n := len(before); n > 0 && before[n-1].Holder != nil && before[n-1].Holder.LockID == v.Holder.LockID {
		return before[n-1].Holder.Token
	}
	return v.Revision
}

func (r *Recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = errors.Join(r.err, err)
}

// Seen returns the newest recorded revision.
func (r *Recorder) Seen() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen
}

// Newest returns the newest recorded version of each lock.
func (r *Recorder) Newest() map[Lock]*Version {
	r.mu.Lock()
	defer r.mu.Unlock()
	newest := map[Lock]*Version{}
	for lock, versions := range r.versions {
		newest[lock] = versions[len(versions)-1]
	}
	return newest
}

// Finish waits until everything in etcd is recorded, and stops the recorder. It returns an error if the
// last recorded versions differ from those in etcd. It returns the versions of each lock in order.
func (r *Recorder) Finish(ctx context.Context) (map[Lock][]*Version, error) {
	defer func() { r.stop(); <-r.done }()
	marker, err := r.etcd.Put(ctx, registry+"chaos-marker", "end") // A linearizable write: all other versions come before it.
	if err != nil {
		return nil, err
	}
	for r.Seen() < marker.Header.Revision {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for the recorder: recorded up to %d of %d: %w", r.Seen(), marker.Header.Revision, ctx.Err())
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return nil, r.err
	}
	live := map[Lock]int64{}
	for kind, prefix := range prefixes {
		objects, err := r.etcd.Get(ctx, prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithRev(marker.Header.Revision))
		if err != nil {
			return nil, err
		}
		for _, kv := range objects.Kvs {
			if name := strings.TrimPrefix(string(kv.Key), prefix); name != "kube-root-ca.crt" {
				live[Lock{kind, name}] = kv.ModRevision
			}
		}
	}
	for lock, versions := range r.versions {
		last := int64(0)
		for _, v := range versions {
			if v.Revision > marker.Header.Revision {
				break
			}
			if last = v.Revision; v.Deleted {
				last = 0
			}
		}
		if live[lock] != last {
			return nil, fmt.Errorf("%v: recorded up to version %d, etcd has %d", lock, last, live[lock])
		}
		delete(live, lock)
	}
	if len(live) > 0 {
		return nil, fmt.Errorf("not recorded at all: %v", live)
	}
	for _, versions := range r.versions {
		resolveTokens(versions)
	}
	return r.versions, nil
}

// resolveTokens sets the token of versions of a hold that created its object and has no token in its
// record yet. The token is in a later version of the hold: a holder that got no answer to its creation
// takes the version at which it has read its lock ID back.
func resolveTokens(versions []*Version) {
	for i := len(versions) - 2; i >= 0; i-- {
		v, next := versions[i], versions[i+1]
		if v.Holder != nil && v.Holder.Holder.Token == 0 && next.Holder != nil && next.UID == v.UID && next.Holder.LockID == v.Holder.LockID {
			v.Holder.Token = next.Holder.Token
		}
	}
}

// Versions returns the number of recorded versions.
func (r *Recorder) Versions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// WriteVersions writes the versions of all locks to a file.
func WriteVersions(path string, locks map[Lock][]*Version) (err error) {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	encoder := json.NewEncoder(file)
	for _, versions := range locks {
		for _, v := range versions {
			if err := encoder.Encode(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadVersions reads a file of WriteVersions.
func ReadVersions(path string) (map[Lock][]*Version, error) {
	file, err := os.Open(filepath.Clean(path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	locks := map[Lock][]*Version{}
	for decoder := json.NewDecoder(file); ; {
		v := &Version{}
		if err := decoder.Decode(v); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
		locks[v.Lock] = append(locks[v.Lock], v)
	}
	for _, versions := range locks {
		resolveTokens(versions)
	}
	return locks, nil
}
