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

package store

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
)

// Amend, Enqueue and Dequeue are JSON patches (RFC 6902): the API server applies
// them to the newest version of the object, and so resolves conflicts between
// clients that change different parts of it. What they rely on they test.

// patch is a JSON patch in the making.
type patch []operation

type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value any    `json:"value,omitempty"`
}

// null is a value that is present as null. An absent field passes a test for it.
var null = json.RawMessage("null")

func (p *patch) test(path string, value any) { *p = append(*p, operation{"test", path, value}) }
func (p *patch) add(path string, value any)  { *p = append(*p, operation{"add", path, value}) }
func (p *patch) remove(path string)          { *p = append(*p, operation{Op: "remove", Path: path}) }

// set adds or replaces a field, or removes it if it was there and shall not be.
func (p *patch) set(path string, was, is bool, value any) {
	switch {
	case is:
		p.add(path, value)
	case was:
		p.remove(path)
	}
}

const (
	holderPath  = "/spec/holder"
	waitersPath = "/spec/waiters"
	headPath    = waitersPath + "/0"
	labelsPath  = "/metadata/labels"
)

// holderLabelPath is the label's path, escaped as RFC 6901 has it.
var holderLabelPath = labelsPath + "/" + strings.ReplaceAll(v1alpha1.HolderLabel, "/", "~1")

func (s *distributedLocks) Amend(ctx context.Context, from, to protocol.Record) (protocol.Record, error) {
	stored, ok := from.Stored.(*v1alpha1.DistributedLock)
	if !ok || from.Holder == nil {
		return protocol.Record{}, fmt.Errorf("amending %s: it was not read as held", from.Name)
	}
	if gone, _ := queueChange(from.Waiters, to.Waiters); overtakes(from, to, gone) && worthSending(from, to) {
		return s.Update(ctx, to)
	}
	return s.patch(ctx, stored, amendment(stored, from, to))
}

// worthSending reports whether the whole object may be sent. Where nothing of the
// queue may have changed, an update is as sure to fit as a patch, and costs the API
// server a third less; but a large state that stays as it is need not be sent.
func worthSending(from, to protocol.Record) bool {
	const large = 16 << 10
	return to.Value == nil || len(*to.Value) < large || !reflect.DeepEqual(from.Value, to.Value)
}

// amendment is the patch that makes to of from, which was read as stored.
func amendment(stored *v1alpha1.DistributedLock, from, to protocol.Record) patch {
	var p patch
	p.test("/metadata/uid", from.UID)
	p.test(holderPath+"/lockID", stored.Spec.Holder.LockID)
	p.test(holderPath+"/renewTime", stored.Spec.Holder.RenewTime)

	gone, come := queueChange(from.Waiters, to.Waiters)
	if overtakes(from, to, gone) {
		p.test("/metadata/resourceVersion", from.ResourceVersion)
	}
	for _, entry := range from.Waiters[:gone] {
		p.test(headPath, entry)
		p.remove(headPath)
	}
	for _, entry := range come {
		p.enqueue(stored, entry)
	}

	if to.Holder != nil {
		p.add(holderPath, toHolder(to.Holder))
	} else {
		p.remove(holderPath)
	}
	p.label(stored, to.Holder)
	if !reflect.DeepEqual(from.Value, to.Value) {
		p.set("/spec/value", from.Value != nil, to.Value != nil, to.Value)
	}
	if from.ObjectExpiry != to.ObjectExpiry {
		p.set("/spec/objectExpiry", from.ObjectExpiry != 0, to.ObjectExpiry != 0, v1alpha1.Duration{Duration: to.ObjectExpiry})
	}
	if from.LastRelease != to.LastRelease {
		p.add("/spec/lastRelease", toLastRelease(to.LastRelease))
	}
	if from.Transitions != to.Transitions {
		p.add("/spec/transitions", to.Transitions)
	}
	return p
}

// overtakes reports whether the hold ends and no waiter gets the lock.
func overtakes(from, to protocol.Record, gone int) bool {
	if to.Holder != nil && to.Holder.LockID == from.Holder.LockID {
		return false
	}
	if to.Holder == nil || gone == 0 {
		return true
	}
	granted, ok := protocol.ParseWaiter(from.Waiters[gone-1])
	return !ok || granted.LockID != to.Holder.LockID
}

// label sets the holder's label, or removes it.
func (p *patch) label(stored *v1alpha1.DistributedLock, h *protocol.Holder) {
	was, labelled := stored.Labels[v1alpha1.HolderLabel]
	switch {
	case h == nil:
		p.set(holderLabelPath, labelled, false, nil)
	case len(stored.Labels) == 0:
		p.add(labelsPath, map[string]string{v1alpha1.HolderLabel: h.Client})
	case was != h.Client:
		p.add(holderLabelPath, h.Client)
	}
}

// enqueue appends to the queue; where there is none, it begins one.
func (p *patch) enqueue(stored *v1alpha1.DistributedLock, entry string) {
	if stored.Spec.Waiters == nil {
		p.test(waitersPath, null)
		p.add(waitersPath, []string{entry})
		return
	}
	p.add(waitersPath+"/-", entry)
}

// queueChange tells how many entries have left the head of the queue, and which
// have come to its end.
func queueChange(from, to []string) (gone int, come []string) {
	for gone = range from {
		if rest := from[gone:]; len(rest) <= len(to) && slices.Equal(rest, to[:len(rest)]) {
			return gone, to[len(rest):]
		}
	}
	return len(from), to
}

func (s *distributedLocks) Enqueue(ctx context.Context, r protocol.Record, entry string) (protocol.Record, error) {
	stored, ok := r.Stored.(*v1alpha1.DistributedLock)
	if !ok {
		return protocol.Record{}, fmt.Errorf("queueing for %s: its object was not read", r.Name)
	}
	var p patch
	p.enqueue(stored, entry)
	return s.patch(ctx, stored, p)
}

func (s *distributedLocks) Dequeue(ctx context.Context, r protocol.Record, place int) (protocol.Record, error) {
	stored, ok := r.Stored.(*v1alpha1.DistributedLock)
	if !ok {
		return protocol.Record{}, fmt.Errorf("leaving the queue for %s: its object was not read", r.Name)
	}
	path := fmt.Sprintf("%s/%d", waitersPath, place)
	var p patch
	p.test(path, r.Waiters[place])
	p.remove(path)
	return s.patch(ctx, stored, p)
}

func (s *distributedLocks) patch(ctx context.Context, stored *v1alpha1.DistributedLock, p patch) (protocol.Record, error) {
	data, err := json.Marshal(p)
	if err != nil {
		return protocol.Record{}, fmt.Errorf("encoding a patch of %s: %w", stored.Name, err)
	}
	obj, err := s.client.Patch(ctx, stored.Name, types.JSONPatchType, data, metav1.PatchOptions{FieldManager: s.manager})
	if err != nil {
		return protocol.Record{}, err
	}
	return FromObject(obj), nil
}
