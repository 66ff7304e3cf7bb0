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

package session

import (
	"github.com/kubelock/kubelock/internal/protocol"
)

// How the first caller deletes the lock.

// removed reports whether the lock is deleted that the caller wants to delete.
func (s *Session) removed() bool {
	r := s.view.record
	last := r.LastRelease
	return !r.Exists() && !s.acquisition.cached || s.acquisition.removing != "" && r.UID != s.acquisition.removing ||
		last != nil && last.LockID == s.tenure.lockID && s.tenure.endedAt(last.Time) != nil
}

// removeObject deletes the object as it was last seen, which no other client holds or
// queues for. The deletion is conditioned on that version, so it needs no hold.
func (s *Session) removeObject() (again bool) {
	if !s.ready() {
		return false
	}
	if !s.acquisition.cached {
		s.acquisition.removing = s.view.record.UID
	}
	return s.sendClaim(&Request{Kind: Delete}, s.stamp(s.tenure.attempts))
}

// removeState hands the lock that was granted to this claim over to the next waiter, without state.
func (s *Session) removeState() (again bool) {
	if !s.ready() {
		return false
	}
	r, stamp := s.view.record, s.stamp(s.tenure.attempts)
	next, err := protocol.Release(r, s.claim(&s.tenure), r.Holder.Token, protocol.Change{Write: true}, nil, stamp)
	if err != nil {
		s.fail(0, &Failure{Err: err})
		return true
	}
	again = s.sendClaim(&Request{Kind: Amend, To: next}, stamp)
	s.tenure.attempts[len(s.tenure.attempts)-1].ends = true
	return again
}
