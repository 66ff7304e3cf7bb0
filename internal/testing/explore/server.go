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

package explore

import (
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/session"
)

// server is a model of the API server with one lock's object. It implements each write as internal/store
// documents it. Values behind the record's pointers never change.
type server struct {
	obj       protocol.Record
	rv        int64
	uids      int
	finalizer bool // whether the object has a finalizer, so that a deletion only marks it
}

const object, lockKey = "lock", "lock"

func (s *server) version() string { return strconv.FormatInt(s.rv, 10) }

// put stores r as the newest version.
func (s *server) put(r protocol.Record) {
	s.rv++
	r.ResourceVersion = s.version()
	s.obj = r
}

// gone returns the answer to a read if there is no object.
func gone() protocol.Record { return protocol.Record{Name: object} }

// do executes a request, and returns the answer.
func (s *server) do(req *session.Request, now time.Time) (protocol.Outcome, protocol.Record) {
	switch req.Kind {
	case session.Read, session.Ask:
	case session.Write:
		return s.write(req.To, now)
	case session.Amend:
		return s.amend(req.From, req.To, now)
	case session.Enqueue:
		if !s.obj.Exists() || !s.stays(req.From) || req.Exact && req.From.ResourceVersion != s.obj.ResourceVersion {
			return protocol.Stale, protocol.Record{}
		}
		r := s.obj
		r.Waiters = append(slices.Clone(r.Waiters), req.Entry)
		s.put(r)
	case session.Dequeue:
		r := s.obj
		if !r.Exists() || req.Place >= len(r.Waiters) || r.Waiters[req.Place] != req.From.Waiters[req.Place] {
			return protocol.Stale, protocol.Record{}
		}
		r.Waiters = slices.Delete(slices.Clone(r.Waiters), req.Place, req.Place+1)
		s.put(r)
	case session.Delete:
		if !s.obj.Exists() || !s.obj.SameVersion(req.From) {
			return protocol.Stale, protocol.Record{}
		}
		s.remove()
	}
	return protocol.Committed, s.obj
}

func (s *server) write(to protocol.Record, now time.Time) (protocol.Outcome, protocol.Record) {
	if !to.Exists() {
		if s.obj.Exists() {
			return protocol.Stale, protocol.Record{}
		}
		s.uids++
		to.UID, to.CreateTime = "u"+strconv.Itoa(s.uids), now
		s.put(to)
		return protocol.Committed, s.obj
	}
	if !s.obj.SameVersion(to) {
		return protocol.Stale, protocol.Record{}
	}
	to.Terminating, to.Finalizers = s.obj.Terminating, s.obj.Finalizers
	s.put(to)
	return protocol.Committed, s.obj
}

// stays reports whether the object is not being deleted, unless from shows that it is.
func (s *server) stays(from protocol.Record) bool { return !s.obj.Terminating || from.Terminating }

// amend executes an Amend as internal/store documents it. The hold must be unchanged, and the removed
// waiters must still be the first of the queue. If no waiter gets the lock, the object must be unchanged.
func (s *server) amend(from, to protocol.Record, now time.Time) (protocol.Outcome, protocol.Record) {
	left, come := queueChange(from.Waiters, to.Waiters)
	if from.Holder == nil || overtakes(from, to, left) {
		return s.write(to, now)
	}
	r := s.obj
	h := r.Holder
	sameHold := h != nil && h.LockID == from.Holder.LockID && h.RenewTime.Equal(from.Holder.RenewTime)
	if r.UID != from.UID || !s.stays(from) || !sameHold || left > len(r.Waiters) || !slices.Equal(r.Waiters[:left], from.Waiters[:left]) {
		return protocol.Stale, protocol.Record{}
	}
	r.Waiters = slices.Concat(r.Waiters[left:], come)
	r.Holder = to.Holder
	if !reflect.DeepEqual(from.Value, to.Value) {
		r.Value = to.Value
	}
	if from.LastRelease != to.LastRelease {
		r.LastRelease = to.LastRelease
	}
	if from.Transitions != to.Transitions {
		r.Transitions = to.Transitions
	}
	s.put(r)
	return protocol.Committed, s.obj
}

// remove deletes the object, or marks it as deleted if it has a finalizer.
func (s *server) remove() {
	if s.finalizer && !s.obj.Terminating {
		r := s.obj
		r.Terminating, r.Finalizers = true, []string{"example.com/keep"}
		s.put(r)
		return
	}
	if !s.finalizer {
		s.rv++
		s.obj = gone()
	}
}

// finalize removes the finalizer of an object that is being deleted.
func (s *server) finalize() {
	s.finalizer = false
	s.rv++
	s.obj = gone()
}

// overtakes reports whether the write ends the hold without granting the lock to a waiter.
func overtakes(from, to protocol.Record, left int) bool {
	switch {
	case to.Holder != nil && to.Holder.LockID == from.Holder.LockID, to.Resting():
		return false
	case to.Holder == nil, left == 0:
		return true
	}
	granted, ok := protocol.ParseWaiter(from.Waiters[left-1])
	return !ok || granted.LockID != to.Holder.LockID
}

// queueChange returns how many entries were removed from the head of the queue, and which were added to its
// end.
func queueChange(from, to []string) (left int, come []string) {
	for left = range from {
		if rest := from[left:]; len(rest) <= len(to) && slices.Equal(rest, to[:len(rest)]) {
			return left, to[len(rest):]
		}
	}
	return len(from), to
}
