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

package cli

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/cli/view"
	"github.com/kubelock/kubelock/internal/protocol"
)

const (
	// pastTimeout bounds how long a person waits for what is past.
	pastTimeout = 5 * time.Second
	// What is read of it at most: versions, and bytes of state in them.
	maxVersions, maxPastState = 2000, 4 << 20
)

// errTooMuch says that more is remembered than is read.
var errTooMuch = errors.New("the API server remembers more of the lock than is read")

// past reads the versions of a lock until r that the API server still remembers, the oldest first.
// It keeps those of some minutes for watches: how far back, only a watch finds out.
func (l *lock) past(ctx context.Context, r protocol.Record) ([]protocol.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, pastTimeout)
	defer cancel()
	for _, since := range beginnings(r.ResourceVersion) {
		versions, err := l.since(ctx, since, r)
		if !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) && !errors.Is(err, errTooMuch) {
			return versions, err
		}
	}
	return []protocol.Record{r}, nil
}

// beginnings are the resource versions to begin from, the farthest back first. All are before
// last, so that a watch shows last and by that where it can end.
func beginnings(last string) []string {
	n, err := strconv.ParseUint(last, 10, 64)
	if err != nil || n < 2 {
		return nil // It is not a number that can be counted back.
	}
	all := []string{"1"}
	for back := uint64(1 << 20); back > 0; back /= 2 {
		if back < n-1 {
			all = append(all, strconv.FormatUint(n-back, 10))
		}
	}
	return all
}

// since reads the versions from a resource version on until r.
func (l *lock) since(ctx context.Context, resourceVersion string, r protocol.Record) ([]protocol.Record, error) {
	watcher := cache.ToListerWatcherWithContext(l.store.Watcher(l.name, nil))
	events, err := watcher.WatchWithContext(ctx, metav1.ListOptions{ResourceVersion: resourceVersion})
	if err != nil {
		return nil, err
	}
	defer events.Stop()
	var versions []protocol.Record
	for state := 0; ; {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case event, open := <-events.ResultChan():
			switch {
			case !open:
				return nil, errors.New("the API server has ended the watch")
			case event.Type == watch.Error:
				return nil, apierrors.FromObject(event.Object)
			case event.Type == watch.Bookmark:
				continue
			}
			version, err := l.kind.Decode(event.Object)
			if err != nil {
				continue // It was no lock then.
			}
			if version.Value != nil {
				state += len(*version.Value)
			}
			version.Value, version.Stored = nil, nil
			versions = append(versions, version)
			if order, err := resourceversion.CompareResourceVersion(version.ResourceVersion, r.ResourceVersion); err != nil || order >= 0 {
				return versions, err
			}
			if len(versions) >= maxVersions || state > maxPastState {
				return nil, errTooMuch
			}
		}
	}
}

// holdsOf are the holds that the versions of a lock show, the oldest first.
func holdsOf(versions []protocol.Record) []view.PastHold {
	var holds []view.PastHold
	for _, r := range versions {
		if l := r.LastRelease; l != nil {
			i := holdIndex(holds, l.LockID)
			if i < 0 {
				holds = append(holds, view.PastHold{LockID: l.LockID, Identity: whoseEnd(l)})
				i = len(holds) - 1
			}
			if holds[i].Until.IsZero() {
				holds[i].Until, holds[i].How = l.Time, howEnded(l)
			}
		}
		if h := r.Holder; h != nil && holdIndex(holds, h.LockID) < 0 {
			identity := h.Identity
			if r.Resting() {
				identity = "<resting>"
			}
			holds = append(holds, view.PastHold{LockID: h.LockID, Identity: identity, From: h.AcquireTime})
		}
	}
	for i := range holds {
		h := &holds[i]
		switch last := versions[len(versions)-1]; {
		case !h.Until.IsZero():
		case last.Holder != nil && last.Holder.LockID == h.LockID:
			h.How = "holds it"
			if last.Resting() {
				h.How = "goes on"
			}
		case i+1 < len(holds) && !holds[i+1].From.IsZero(): // The object was deleted.
			h.Until, h.How = holds[i+1].From, "until then at most"
		default:
			h.Until, h.How = h.From, "its end was not seen"
		}
	}
	return holds
}

// whoseEnd returns the identity of the holder whose hold l tells the end of, and a word for a rest.
func whoseEnd(l *protocol.LastRelease) string {
	if l.Rested() != "" {
		return "<resting>"
	}
	return l.Identity
}

// howEnded returns the reason of that end.
func howEnded(l *protocol.LastRelease) string {
	if l.Rested() != "" && l.Reason == protocol.Expired {
		return "over"
	}
	return string(l.Reason)
}

func holdIndex(holds []view.PastHold, lockID string) int {
	return slices.IndexFunc(holds, func(h view.PastHold) bool { return h.LockID == lockID })
}
