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

import "time"

// How a hold is kept in an object that leader electors use, too. Whatever duration its owner
// has asked for, its lease is short (protocol.ElectorLease) and is renewed in the
// background, for as long as the owner has asked for: an elector that judges by a duration of
// its own sees it alive.

// shared reports whether electors use the hold's object, and whether the hold lasts for as
// long as its owner has asked for already.
func (h *hold) shared() (shared, done bool) {
	h.writing <- struct{}{}
	shared = h.record.Shared
	<-h.writing
	h.mu.Lock()
	defer h.mu.Unlock()
	return shared, !h.end.After(h.deadline)
}

// wanted is for how long a renewal that is sent at sent shall let the hold last.
func (u *update) wanted(sent time.Time, shared bool) time.Duration {
	if u.asked || !shared {
		return u.claim.Duration
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	return min(u.claim.Duration, max(u.end.Sub(sent), minDuration))
}
