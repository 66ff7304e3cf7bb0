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

// Package protocol is the lock's protocol as pure functions: what a lock is, when
// a hold has expired, and what a transition writes. It has no client, no
// goroutine and no clock of its own; the library and the reaper share it, so that
// there is one place that knows each rule.
package protocol

import (
	"reflect"
	"time"
)

// Record is a lock as one version of its object stores it, whatever the kind of
// that object is. A Record is a value: transitions return a changed copy, and
// never change what the fields of the original point to.
type Record struct {
	// Name is the name of the object.
	Name string
	// UID and ResourceVersion identify the object and its version. Both are empty
	// when there is no object.
	UID, ResourceVersion string
	// Key is what the users lock, verbatim.
	Key string
	// CreateTime is when the object was created, by the API server's clock.
	CreateTime time.Time
	// Value is the state as JSON text; nil when there is none.
	Value *string
	// ObjectExpiry is how long a free lock is kept; 0 for ever.
	ObjectExpiry time.Duration
	// Holder is nil when the lock is free.
	Holder *Holder
	// Waiters is the queue, its head first: see Waiter.
	Waiters []string
	// LastRelease is how the last hold ended; nil before the first end.
	LastRelease *LastRelease
	// Transitions counts the holds so far.
	Transitions int64
	// Terminating is set when the object is being deleted: it goes as soon as its last
	// finalizer does, with all that was written into it. Its hold can only end then. No
	// client takes the lock, queues for it or writes state before the object has gone.
	Terminating bool
	// Finalizers are what keeps a terminating object.
	Finalizers []string
	// Shared is set where leader electors use the object, too: see ElectorLease.
	Shared bool
	// Stamped is the API server's own time of the write whose answer this is, cut to whole
	// seconds; zero for what was read, and where the server does not tell.
	Stamped time.Time
	// Stored is the object as the store read it. Only the store looks into it: it
	// keeps there what it must write back unchanged.
	Stored any
}

// Exists reports whether there is an object.
func (r Record) Exists() bool { return r.UID != "" }

// SameVersion reports whether r and other are the same version of the same object, or both none.
func (r Record) SameVersion(other Record) bool {
	return r.UID == other.UID && r.ResourceVersion == other.ResourceVersion
}

// HeldBy reports whether the hold with that lock ID and token is the current one.
// A token of 0 stands for one that is not known. The lock ID alone would not tell: a
// queue entry that the network delivered twice begins two holds.
func (r Record) HeldBy(lockID string, token int64) bool {
	h := r.Holder
	return h != nil && h.LockID == lockID && (h.Token == token || h.Token == 0 || token == 0)
}

// SameHold reports whether r is held, and by the hold that other shows. A hold that began
// with its object shows no token before its first renewal; when it began tells then.
func (r Record) SameHold(other Record) bool {
	h := other.Holder
	return h != nil && r.UID == other.UID && r.HeldBy(h.LockID, h.Token) && r.Holder.AcquireTime.Equal(h.AcquireTime)
}

// RulesOut reports whether r shows that a hold was never begun, although a write was sent that begins and ends it: a hold with that lock
// ID and token, in the object as it was before. Either no hold has ended since and the state is the same, or another hold has its
// token: each hold has a greater token than those before it. The state counts because a schema without the last release, or a
// webhook, would leave that as it was.
func (r Record) RulesOut(lockID string, token int64, before Record) bool {
	if reflect.DeepEqual(r.LastRelease, before.LastRelease) && reflect.DeepEqual(r.Value, before.Value) {
		return true
	}
	h, last := r.Holder, r.LastRelease
	return h != nil && h.Token == token && h.LockID != lockID || last != nil && last.Token == token && last.LockID != lockID
}

// LastTransition is when a free lock became free, as far as its record tells: at the
// end of the last hold, else at its creation.
func (r Record) LastTransition() Stamp {
	if r.LastRelease != nil {
		return Stamp{Time: r.LastRelease.Time, Source: r.LastRelease.Source}
	}
	return Stamp{Time: r.CreateTime, Source: Server}
}

// Holder is one hold.
type Holder struct {
	Identity    string
	Pod         Pod
	Client      string
	LockID      string
	Token       int64 // 0 when the record does not have it: see CreatedToken
	AcquireTime time.Time
	RenewTime   time.Time
	Source      Source
	Duration    time.Duration
}

// Foreign reports whether somebody holds the lock who is no kubelock client, and so
// gives it to nobody.
func (h *Holder) Foreign() bool { return h.Client == "" }

// Pod is the Pod that a holder runs in; the zero Pod when it runs in none.
type Pod struct{ Name, UID string }

// LastRelease is how a hold ended.
type LastRelease struct {
	LockID   string
	Identity string
	Token    int64 // 0 when whoever ended the hold did not know it
	Time     time.Time
	Source   Source
	Reason   Reason
}

// Foreign reports whether l is the end of a hold that was no kubelock client's: its lock ID is its identity, or both are unknown.
func (l *LastRelease) Foreign() bool { return l.LockID == l.Identity }

// Reason is why a hold ended.
type Reason string

// ByHolder reports whether the holder itself ended the hold.
func (r Reason) ByHolder() bool { return r == Released || r == HandedOff }

// The reasons.
const (
	Released         Reason = "Released"
	HandedOff        Reason = "HandedOff"
	Expired          Reason = "Expired"
	HolderTerminated Reason = "HolderTerminated"
	Forced           Reason = "Forced"
)

// Source says whose clock a stamp was read from.
type Source string

const (
	// Server is the API server's clock.
	Server Source = "Server"
	// Node is the clock of the machine that wrote the stamp, used where the API
	// server does not tell its time. Nobody else compares it with a time of theirs.
	Node Source = "Node"
)

// Stamp is the time that a write carries: an upper bound of the API server's
// time when the write was made.
type Stamp struct {
	Time   time.Time
	Source Source
}
