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
	"fmt"
	"maps"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
)

// DistributedLocks are kubelock's own kind. Resources of a CustomResourceDefinition are
// kept as JSON, of which etcd takes 1.5 MiB for a request by default; a part is left
// for the rest of the object.
var DistributedLocks Kind = &kind[*v1alpha1.DistributedLock, *v1alpha1.DistributedLockList]{
	resource:    v1alpha1.GroupVersion.WithResource("distributedlocks"),
	role:        "kubelock-user",
	limit:       Limit{Bytes: v1alpha1.MaxValueBytes, Escaped: 3<<19 - 32<<10},
	apiPath:     "/apis",
	contentType: runtime.ContentTypeJSON,
	addToScheme: v1alpha1.AddToScheme,
	newObject:   func() *v1alpha1.DistributedLock { return &v1alpha1.DistributedLock{} },
	newList:     func() *v1alpha1.DistributedLockList { return &v1alpha1.DistributedLockList{} },
	codec:       distributedLockCodec{},
}

type distributedLockCodec struct{}

const (
	holderPath  = "/spec/holder"
	waitersPath = "/spec/waiters"
	headPath    = waitersPath + "/0"
	labelsPath  = "/metadata/labels"
)

func (distributedLockCodec) decode(obj *v1alpha1.DistributedLock) (protocol.Record, error) {
	r := protocol.Record{
		Name:            obj.Name,
		UID:             string(obj.UID),
		ResourceVersion: obj.ResourceVersion,
		Key:             obj.Spec.Key,
		CreateTime:      obj.CreationTimestamp.Time,
		Value:           obj.Spec.Value,
		Waiters:         obj.Spec.Waiters,
		Transitions:     obj.Spec.Transitions,
		Stored:          obj,
	}
	if r.Key == "" {
		r.Key = obj.Name
	}
	if d := obj.Spec.ObjectExpiry; d != nil {
		r.ObjectExpiry = d.Duration
	}
	r.Holder = fromHolder(obj.Spec.Holder)
	r.LastRelease = fromLastRelease(obj.Spec.LastRelease)
	return r, nil
}

func (distributedLockCodec) encode(stored *v1alpha1.DistributedLock, r protocol.Record) *v1alpha1.DistributedLock {
	obj := &v1alpha1.DistributedLock{ObjectMeta: stored.ObjectMeta}
	obj.Labels = withHolder(stored.Labels, r.Holder)

	spec := &obj.Spec
	if r.Key != r.Name {
		spec.Key = r.Key
	}
	spec.Value, spec.Transitions = r.Value, r.Transitions
	if spec.Waiters = r.Waiters; spec.Waiters == nil {
		spec.Waiters = []string{} // So that there is a list to append to.
	}
	if expiry := stored.Spec.ObjectExpiry; expiry != nil && expiry.Duration == r.ObjectExpiry {
		spec.ObjectExpiry = expiry // In the words of whoever wrote it.
	} else if r.ObjectExpiry > 0 {
		spec.ObjectExpiry = &v1alpha1.Duration{Duration: r.ObjectExpiry}
	}
	spec.Holder = displayed(r.Holder)
	spec.LastRelease = toLastRelease(r.LastRelease)
	return obj
}

func (distributedLockCodec) amend(p *patch, stored *v1alpha1.DistributedLock, from, to protocol.Record) {
	if stored.Spec.Holder != nil {
		p.test(holderPath+"/lockID", stored.Spec.Holder.LockID)
		p.test(holderPath+"/renewTime", stored.Spec.Holder.RenewTime)
	}

	gone, come := queueChange(from.Waiters, to.Waiters)
	for _, entry := range from.Waiters[:gone] {
		p.test(headPath, entry)
		p.remove(headPath)
	}
	for _, entry := range come {
		distributedLockCodec{}.enqueue(p, stored, entry)
	}

	switch is := displayed(to.Holder); {
	case is == nil && stored.Spec.Holder == nil:
	case is == nil:
		p.remove(holderPath)
	case from.SameHold(to):
		renewHolder(p, stored.Spec.Holder, is)
	default:
		p.add(holderPath, is)
	}
	p.change(labelsPath, stored.Labels, withHolder(stored.Labels, to.Holder))
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
}

// renewHolder makes is of the holder that was stored, of the same hold. It leaves alone what does
// not change, and so what a newer version has put there.
func renewHolder(p *patch, was, is *v1alpha1.Holder) {
	set := func(field string, same, had, has bool, value any) {
		if !same {
			p.set(holderPath+"/"+field, had, has, value)
		}
	}
	set("identity", was.Identity == is.Identity, true, true, is.Identity)
	set("pod", samePod(was.Pod, is.Pod), was.Pod != nil, is.Pod != nil, is.Pod)
	set("client", was.Client == is.Client, true, true, is.Client)
	set("token", was.Token == is.Token, was.Token != 0, is.Token != 0, is.Token)
	set("renewTime", was.RenewTime.Equal(&is.RenewTime), true, true, is.RenewTime)
	set("renewTimeSource", was.RenewTimeSource == is.RenewTimeSource, was.RenewTimeSource != "", is.RenewTimeSource != "", is.RenewTimeSource)
	set("duration", was.Duration == is.Duration, true, true, is.Duration)
}

func samePod(a, b *v1alpha1.PodReference) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// ends is what a hold, and the note of the last one, end with.
func (distributedLockCodec) ends(stored *v1alpha1.DistributedLock, r protocol.Record) (ends ending) {
	var pod *v1alpha1.PodReference
	if h := toHolder(r.Holder); h != nil {
		pod = h.Pod
	}
	switch was := (protocol.Record{UID: r.UID, Holder: fromHolder(stored.Spec.Holder)}); {
	case was.Holder == nil:
	case !was.SameHold(r):
		ends = append(ends, []string{"spec", "holder"})
	case !samePod(stored.Spec.Holder.Pod, pod):
		ends = append(ends, []string{"spec", "holder", "pod"})
	}
	if !sameRelease(fromLastRelease(stored.Spec.LastRelease), r.LastRelease) {
		ends = append(ends, []string{"spec", "lastRelease"})
	}
	return ends
}

// sameRelease reports whether a and b are the end of the same hold.
func sameRelease(a, b *protocol.LastRelease) bool {
	return a != nil && b != nil && a.LockID == b.LockID && a.Token == b.Token && a.Time.Equal(b.Time)
}

// enqueue appends to the list; where there is none, it begins one.
func (distributedLockCodec) enqueue(p *patch, stored *v1alpha1.DistributedLock, entry string) {
	if stored.Spec.Waiters == nil {
		p.test(waitersPath, null)
		p.add(waitersPath, []string{entry})
		return
	}
	p.add(waitersPath+"/-", entry)
}

func (distributedLockCodec) dequeue(p *patch, stored *v1alpha1.DistributedLock, place int) {
	path := fmt.Sprintf("%s/%d", waitersPath, place)
	p.test(path, stored.Spec.Waiters[place])
	p.remove(path)
}

func (distributedLockCodec) remains(*v1alpha1.DistributedLock) (*v1alpha1.DistributedLock, bool) {
	return nil, false
}

// withHolder are an object's labels when h holds the lock; nil: nobody does.
func withHolder(stored map[string]string, h *protocol.Holder) map[string]string {
	labels := maps.Clone(stored)
	delete(labels, v1alpha1.HolderLabel)
	if h != nil && h.Client != "" {
		if labels == nil {
			labels = map[string]string{}
		}
		labels[v1alpha1.HolderLabel] = h.Client
	}
	return labels
}

func fromHolder(h *v1alpha1.Holder) *protocol.Holder {
	if h == nil {
		return nil
	}
	holder := &protocol.Holder{
		Identity:    h.Identity,
		Client:      h.Client,
		LockID:      h.LockID,
		Token:       h.Token,
		AcquireTime: h.AcquireTime.Time,
		RenewTime:   h.RenewTime.Time,
		Source:      protocol.Source(h.RenewTimeSource),
		Duration:    h.Duration.Duration,
	}
	if h.Pod != nil {
		holder.Pod = protocol.Pod{Name: h.Pod.Name, UID: string(h.Pod.UID)}
	}
	return holder
}

func fromLastRelease(l *v1alpha1.LastRelease) *protocol.LastRelease {
	if l == nil {
		return nil
	}
	return &protocol.LastRelease{
		LockID:   l.LockID,
		Identity: l.Identity,
		Token:    l.Token,
		Time:     l.Time.Time,
		Source:   protocol.Source(l.TimeSource),
		Reason:   protocol.Reason(l.Reason),
	}
}

func toHolder(h *protocol.Holder) *v1alpha1.Holder {
	if h == nil {
		return nil
	}
	holder := &v1alpha1.Holder{
		Identity:        h.Identity,
		Client:          h.Client,
		LockID:          h.LockID,
		Token:           h.Token,
		AcquireTime:     metav1.NewMicroTime(h.AcquireTime),
		RenewTime:       metav1.NewMicroTime(h.RenewTime),
		RenewTimeSource: v1alpha1.TimeSource(h.Source),
		Duration:        metav1.Duration{Duration: h.Duration},
	}
	if h.Pod.Name != "" {
		holder.Pod = &v1alpha1.PodReference{Name: h.Pod.Name, UID: types.UID(h.Pod.UID)}
	}
	return holder
}

// displayed is h as the column HOLDER of kubectl get shows it. The record says by the lock ID that the
// lock rests, so nothing reads this again.
func displayed(h *protocol.Holder) *v1alpha1.Holder {
	holder := toHolder(h)
	if h.Rests() {
		holder.Display = v1alpha1.DisplayResting
	}
	return holder
}

func toLastRelease(l *protocol.LastRelease) *v1alpha1.LastRelease {
	if l == nil {
		return nil
	}
	return &v1alpha1.LastRelease{
		LockID:     l.LockID,
		Identity:   l.Identity,
		Token:      l.Token,
		Time:       metav1.NewMicroTime(l.Time),
		TimeSource: v1alpha1.TimeSource(l.Source),
		Reason:     v1alpha1.ReleaseReason(l.Reason),
	}
}
