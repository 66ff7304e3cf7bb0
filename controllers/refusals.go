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

package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// The reaper pauses between two attempts at the same lock: for firstPause at first, and for
// maxPause at most. firstPause is longer than the watch event of a changed lock usually takes to
// arrive.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = time.Minute
)

// refusals records, per lock, the version at which the reaper's last write was answered by a
// conflict. If a second write at the same version gets the same answer, the object has not
// changed: a webhook or a proxy uses that answer for something else, and no watch event will
// come.
type refusals struct {
	mu       sync.Mutex // protects versions
	versions map[types.NamespacedName]string
}

// repeats records a refusal, and reports whether the refusal before it was at the same version.
func (r *refusals) repeats(name types.NamespacedName, version string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.versions == nil {
		r.versions = map[types.NamespacedName]string{}
	}
	last, ok := r.versions[name]
	r.versions[name] = version
	return ok && last == version
}

// forget removes the record of a lock. The caller has written the lock, or has nothing to write.
func (r *refusals) forget(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.versions, name)
}
