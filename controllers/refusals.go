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

// Between two attempts at the same lock the reaper pauses for so long, at first and at most. The
// first pause is longer than an event of a lock that has changed takes to come.
const (
	firstPause = 200 * time.Millisecond
	maxPause   = time.Minute
)

// refusals knows the locks whose last write was refused in the words for an object that has changed,
// and the version that it was to change. If it is refused at the same version again, those words
// mean something else: no event will come.
type refusals struct {
	mu       sync.Mutex // protects versions
	versions map[types.NamespacedName]string
}

// again notes a refusal, and reports whether the one before was at the same version.
func (r *refusals) again(name types.NamespacedName, version string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.versions == nil {
		r.versions = map[types.NamespacedName]string{}
	}
	last, ok := r.versions[name]
	r.versions[name] = version
	return ok && last == version
}

// forget takes in that there is nothing to write, or that it was written.
func (r *refusals) forget(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.versions, name)
}
