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

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// HolderLabel is the label of a held lock. Its value is the instance ID of the
// client that holds it, so that a client can watch just its own locks. A free
// lock does not have it.
const HolderLabel = "kubelock.dev/holder"

// LockLabel is the label of an object of another kind than DistributedLock that a lock
// is kept in: of a Lease or a ConfigMap. Its value is "true".
const LockLabel = "kubelock.dev/lock"

// MaxValueBytes is the largest state that a DistributedLock stores, in bytes of
// JSON text.
const MaxValueBytes = 1 << 20

// DistributedLock is a lock together with the state that it guards. It is free
// while spec.holder is absent.
//
// It has a spec and no status, like a coordination.k8s.io Lease and for the same
// reason: each transition of the lock is one atomic write, and there is no
// controller that would reconcile a spec into a status.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:path=distributedlocks,scope=Namespaced,singular=distributedlock,shortName=dlock,categories=kubelock
// +kubebuilder:printcolumn:name="Key",type=string,JSONPath=`.spec.key`,description="The lock's key, if the object's name is a hash of it"
// +kubebuilder:printcolumn:name="Holder",type=string,JSONPath=`.spec.holder['display','identity']`,description="The holder of the lock; <resting> when no client may have it for a while after a hold; empty when it is free"
// +kubebuilder:printcolumn:name="Acquired",type=date,JSONPath=`.spec.holder.acquireTime`,description="How long ago the holder acquired the lock"
// +kubebuilder:printcolumn:name="Renewed",type=date,JSONPath=`.spec.holder.renewTime`,description="How long ago the holder renewed its lease"
// +kubebuilder:printcolumn:name="Duration",type=string,JSONPath=`.spec.holder.duration`,description="How long the lease lasts after it was renewed"
// +kubebuilder:printcolumn:name="Transitions",type=integer,JSONPath=`.spec.transitions`,description="How often the lock has been acquired"
// +kubebuilder:printcolumn:name="Deleted",type=date,JSONPath=`.metadata.deletionTimestamp`,description="How long ago the object's deletion was asked for, where a finalizer still keeps it; no client can take the lock meanwhile"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`,description="How long ago the object was created"
// +kubebuilder:printcolumn:name="Lock ID",type=string,priority=1,JSONPath=`.spec.holder.lockID`,description="The ID of the current hold; it begins with rest- while the lock rests after a hold"
type DistributedLock struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard object metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the lock: its holder, its waiters, and its state. The kubelock
	// library writes it; only objectExpiry is meant to be set by people.
	// +optional
	// +kubebuilder:default={}
	Spec DistributedLockSpec `json:"spec,omitzero"`
}

// DistributedLockSpec is the lock and the state that it guards.
//
// +kubebuilder:validation:XValidation:rule="has(oldSelf.key) == has(self.key) && (!has(self.key) || self.key == oldSelf.key)",message="must not change",fieldPath=".key"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.holder) || !has(oldSelf.holder.token) || !has(self.holder) || (has(self.holder.token) && (self.holder.lockID == oldSelf.holder.lockID ? self.holder.token == oldSelf.holder.token : self.holder.token > oldSelf.holder.token))",message="must have a token that stays the same during a hold and is greater in the next one",fieldPath=".holder"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.lastRelease) || !has(oldSelf.lastRelease.token) || !has(self.holder) || (has(oldSelf.holder) && self.holder.lockID == oldSelf.holder.lockID) || (has(self.holder.token) && self.holder.token > oldSelf.lastRelease.token)",message="must have a token greater than that of the last hold",fieldPath=".holder"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.holder) || !has(oldSelf.holder.token) || !has(self.lastRelease) || self.lastRelease.lockID != oldSelf.holder.lockID || (has(oldSelf.lastRelease) && self.lastRelease == oldSelf.lastRelease) || (has(self.lastRelease.token) && self.lastRelease.token == oldSelf.holder.token)",message="must have the token of the hold that ended",fieldPath=".lastRelease"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.lastRelease) || !has(oldSelf.lastRelease.token) || !has(self.lastRelease) || !has(self.lastRelease.token) || self.lastRelease.token >= oldSelf.lastRelease.token",message="must have a token no smaller than before",fieldPath=".lastRelease"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.transitions) || oldSelf.transitions == 0 || (has(self.transitions) && self.transitions >= oldSelf.transitions)",message="must not decrease",fieldPath=".transitions"
// +kubebuilder:validation:XValidation:rule="!has(self.holder) || !has(self.holder.display) || self.holder.lockID.startsWith('rest-')",message="must have no display unless the lock rests",fieldPath=".holder"
type DistributedLockSpec struct {
	// key is what the lock's users lock, where the object's name cannot say it: a
	// key that is no valid object name is mapped to one and kept here as it is.
	// Absent, the object's name is the key. It is at most 253 bytes of UTF-8.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Key string `json:"key,omitempty"`

	// value is the state that the lock guards, as JSON text, kept byte for byte.
	// Absent, there is no state. Only the holder changes it.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1048576
	Value *string `json:"value,omitempty"`

	// objectExpiry is how long a free lock and its state are kept after its last
	// transition: at most 876000h. The reaper then deletes the object. Absent, they are
	// kept without end.
	// +optional
	ObjectExpiry *Duration `json:"objectExpiry,omitempty"`

	// holder is the client that holds the lock. Absent, the lock is free.
	// +optional
	// +structType=atomic
	Holder *Holder `json:"holder,omitempty"`

	// waiters is the queue for the lock, first come first served. Each entry is
	// text that the waiting client wrote: the ID of the hold that it asks for, the
	// duration of the lease, and its identity.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=512
	Waiters []string `json:"waiters,omitzero"`

	// lastRelease is how the last hold ended.
	// +optional
	// +structType=atomic
	LastRelease *LastRelease `json:"lastRelease,omitempty"`

	// transitions counts the holds of this object so far.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Transitions int64 `json:"transitions,omitempty"`
}

// Holder is one hold of the lock: one period of ownership by one caller.
type Holder struct {
	// identity names the holder for people. It need not be unique.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Identity string `json:"identity,omitempty"`

	// display is what kubectl get shows instead of the identity: "<resting>" while the lock
	// rests after the hold of that identity. No client holds it then.
	// +optional
	Display Display `json:"display,omitempty"`

	// pod is the Pod that the holder runs in. Absent, it runs in none.
	// +optional
	Pod *PodReference `json:"pod,omitempty"`

	// client is the instance ID of the client that holds the lock.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Client string `json:"client,omitempty"`

	// lockID is unique to this hold.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	LockID string `json:"lockID,omitempty"`

	// token is the fencing token of this hold: greater than that of every earlier
	// hold of the same key. Absent, the hold began by creating the object, and its
	// token is the resourceVersion which that gave.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Token int64 `json:"token,omitempty"`

	// acquireTime is when the hold began, by the API server's clock.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]{10}T[0-9:]{8}[.][0-9]{6}Z$`
	AcquireTime metav1.MicroTime `json:"acquireTime,omitzero"`

	// renewTime is when the hold was last renewed, by the clock that
	// renewTimeSource names. Every renewal changes it.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]{10}T[0-9:]{8}[.][0-9]{6}Z$`
	RenewTime metav1.MicroTime `json:"renewTime,omitzero"`

	// renewTimeSource says whose clock renewTime was read from. Only the API
	// server's may be compared by others with a time of their own.
	// +optional
	// +kubebuilder:default=Server
	RenewTimeSource TimeSource `json:"renewTimeSource,omitempty"`

	// duration is how long the hold lasts after it was last renewed: at most 8760h.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.matches('^([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+$') && duration(self) > duration('0s') && duration(self) <= duration('8760h')",message="must be a positive duration such as 30s, of at most 8760h"
	Duration metav1.Duration `json:"duration,omitzero"`
}

// Display is what kubectl get shows instead of a holder's identity.
// +kubebuilder:validation:Enum="<resting>"
type Display string

// DisplayResting means that the lock rests.
const DisplayResting Display = "<resting>"

// TimeSource says whose clock a time was read from.
// +kubebuilder:validation:Enum=Server;Node
type TimeSource string

const (
	// TimeSourceServer is the API server's clock, as its responses tell it.
	TimeSourceServer TimeSource = "Server"
	// TimeSourceNode is the clock of the machine that the holder runs on. It is used
	// where the API server's responses do not tell the time.
	TimeSourceNode TimeSource = "Node"
)

// PodReference names one Pod in the lock's namespace.
type PodReference struct {
	// name is the Pod's name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// uid tells the Pod from another of the same name.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=128
	UID types.UID `json:"uid,omitempty"`
}

// LastRelease is how a hold ended.
type LastRelease struct {
	// lockID is the hold that ended.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	LockID string `json:"lockID,omitempty"`

	// identity names the client that held the lock.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Identity string `json:"identity,omitempty"`

	// token is the fencing token of the hold that ended. Absent, the program that ended the
	// hold did not know it.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Token int64 `json:"token,omitempty"`

	// time is when the hold ended, by the clock that timeSource names.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:Pattern=`^[0-9-]{10}T[0-9:]{8}[.][0-9]{6}Z$`
	Time metav1.MicroTime `json:"time,omitzero"`

	// timeSource says whose clock time was read from.
	// +optional
	// +kubebuilder:default=Server
	TimeSource TimeSource `json:"timeSource,omitempty"`

	// reason is why the hold ended.
	// +required
	Reason ReleaseReason `json:"reason,omitempty"`
}

// ReleaseReason is why a hold ended.
// +kubebuilder:validation:Enum=Released;HandedOff;Expired;HolderTerminated;Forced
type ReleaseReason string

const (
	// ReasonReleased means that the holder released the lock.
	ReasonReleased ReleaseReason = "Released"
	// ReasonHandedOff means that the holder handed the lock to the first waiter.
	ReasonHandedOff ReleaseReason = "HandedOff"
	// ReasonExpired means that the lease ended without a renewal.
	ReasonExpired ReleaseReason = "Expired"
	// ReasonHolderTerminated means that the holder's Pod had terminated.
	ReasonHolderTerminated ReleaseReason = "HolderTerminated"
	// ReasonForced means that an administrator took the lock away from its holder.
	ReasonForced ReleaseReason = "Forced"
)

// DistributedLockList is a list of DistributedLocks.
//
// +kubebuilder:object:root=true
type DistributedLockList struct {
	metav1.TypeMeta `json:",inline"`

	// metadata is the standard list metadata.
	// +optional
	metav1.ListMeta `json:"metadata,omitempty"`

	// items are the locks.
	Items []DistributedLock `json:"items"`
}
