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
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/kubelock/kubelock/api/v1alpha1"
)

// The kinds of objects that store locks, as the library names them.
const (
	DistributedLocks = "DistributedLocks"
	Leases           = "Leases"
	ConfigMaps       = "ConfigMaps"
)

// Kinds has all kinds.
var Kinds = []string{DistributedLocks, Leases, ConfigMaps}

// Version is one version of a lock's object. This package decodes it itself, so that a bug in the
// library's decoder cannot hide a violation.
type Version struct {
	Lock
	Revision int64  `json:"revision"`
	Seen     int64  `json:"seen"`    // when the recorder got it: after it was committed
	Deleted  bool   `json:"deleted"` // whether the object was deleted; then the fields below are not set
	UID      string `json:"uid"`
	// Terminating is set while the object is being deleted and a finalizer delays that.
	Terminating bool `json:"terminating"`

	Holder      *Holder               `json:"holder"`
	Value       *string               `json:"value"`
	Waiters     []string              `json:"waiters"` // their lock IDs, the head first
	LastRelease *v1alpha1.LastRelease `json:"lastRelease"`
	Transitions int64                 `json:"transitions"`
}

// Holder is the holder of the lock in one version.
type Holder struct {
	v1alpha1.Holder
	// Token is the fencing token of the record, or, for a hold that created the object, the version of
	// the creation.
	Token int64 `json:"Token"`
}

// Free reports whether the lock is free.
func (v *Version) Free() bool { return v.Holder == nil }

// Write returns the state of this version. It is empty if the version has no state.
func (v *Version) Write() (State, error) {
	if v.Value == nil {
		return State{}, nil
	}
	var s State
	err := json.Unmarshal([]byte(*v.Value), &s)
	return s, err
}

const annotationPrefix = "kubelock.dev/"

// Decode decodes an object as it is stored in etcd.
func Decode(kind string, data []byte) (*Version, error) {
	switch kind {
	case DistributedLocks:
		lock := &v1alpha1.DistributedLock{}
		if err := json.Unmarshal(data, lock); err != nil {
			return nil, err
		}
		v := &Version{Value: lock.Spec.Value, LastRelease: lock.Spec.LastRelease, Transitions: lock.Spec.Transitions}
		v.meta(&lock.ObjectMeta)
		if lock.Spec.Holder != nil {
			v.Holder = &Holder{Holder: *lock.Spec.Holder, Token: lock.Spec.Holder.Token}
		}
		v.Waiters = lockIDs(lock.Spec.Waiters)
		return v, nil
	case Leases:
		lease := &coordinationv1.Lease{}
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, lease); err != nil {
			return nil, err
		}
		v, err := annotated(&lease.ObjectMeta)
		if err != nil {
			return nil, err
		}
		if value, ok := lease.Annotations[annotationPrefix+"value"]; ok {
			v.Value = &value
		}
		if n := lease.Spec.LeaseTransitions; n != nil {
			v.Transitions = int64(*n)
		}
		named := lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != ""
		if named != (v.Holder != nil) {
			return nil, fmt.Errorf("lease %s: holderIdentity and the annotation do not agree on whether it is held", lease.Name)
		}
		return v, nil
	case ConfigMaps:
		cm := &corev1.ConfigMap{}
		if _, _, err := scheme.Codecs.UniversalDeserializer().Decode(data, nil, cm); err != nil {
			return nil, err
		}
		v, err := annotated(&cm.ObjectMeta)
		if err != nil {
			return nil, err
		}
		if value, ok := cm.Data["value"]; ok {
			v.Value = &value
		}
		if text, ok := cm.Annotations[annotationPrefix+"transitions"]; ok {
			if v.Transitions, err = strconv.ParseInt(text, 10, 64); err != nil {
				return nil, err
			}
		}
		return v, nil
	}
	return nil, fmt.Errorf("unknown kind %q", kind)
}

func (v *Version) meta(meta *metav1.ObjectMeta) {
	v.UID, v.Terminating = string(meta.UID), meta.DeletionTimestamp != nil
}

func annotated(meta *metav1.ObjectMeta) (*Version, error) {
	v := &Version{}
	v.meta(meta)
	if text, ok := meta.Annotations[annotationPrefix+"holder"]; ok {
		v.Holder = &Holder{}
		if err := json.Unmarshal([]byte(text), &v.Holder.Holder); err != nil {
			return nil, err
		}
		v.Holder.Token = v.Holder.Holder.Token
	}
	if text, ok := meta.Annotations[annotationPrefix+"last-release"]; ok {
		v.LastRelease = &v1alpha1.LastRelease{}
		if err := json.Unmarshal([]byte(text), v.LastRelease); err != nil {
			return nil, err
		}
	}
	waiters, err := queueOf(meta.Annotations)
	v.Waiters = waiters
	return v, err
}

// queueOf returns the queue in annotations. Their names have a number and a lock ID.
func queueOf(annotations map[string]string) ([]string, error) {
	type waiter struct {
		number int
		lockID string
	}
	var waiters []waiter
	for name := range annotations {
		text, ok := strings.CutPrefix(name, annotationPrefix+"waiter-")
		if !ok {
			continue
		}
		number, lockID, _ := strings.Cut(text, "-")
		n, err := strconv.Atoi(number)
		if err != nil {
			return nil, err
		}
		waiters = append(waiters, waiter{n, lockID})
	}
	slices.SortFunc(waiters, func(a, b waiter) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.lockID, b.lockID))
	})
	ids := make([]string, 0, len(waiters))
	for _, w := range waiters {
		ids = append(ids, w.lockID)
	}
	return ids, nil
}

func lockIDs(entries []string) []string {
	ids := make([]string, 0, len(entries))
	for _, entry := range entries {
		id, _, _ := strings.Cut(entry, " ")
		ids = append(ids, id)
	}
	return ids
}

// ClientOf returns the instance of the library that a lock ID belongs to.
func ClientOf(lockID string) string {
	if i := strings.LastIndexByte(lockID, '-'); i >= 0 {
		return lockID[:i]
	}
	return lockID
}
