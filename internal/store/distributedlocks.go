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
	"fmt"
	"maps"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
)

const resource = "distributedlocks"

type distributedLocks struct {
	client  *gentype.ClientWithList[*v1alpha1.DistributedLock, *v1alpha1.DistributedLockList]
	manager string
}

// NewDistributedLocks returns a store in the DistributedLocks of a namespace.
// manager is the field manager of its writes. config's requests are sent through
// client.
func NewDistributedLocks(config *rest.Config, client *http.Client, namespace, manager string) (Store, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering the types of %s: %w", v1alpha1.GroupVersion, err)
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})

	config = rest.CopyConfig(config)
	config.GroupVersion = &v1alpha1.GroupVersion
	config.APIPath = "/apis"
	config.ContentType = runtime.ContentTypeJSON
	config.AcceptContentTypes = runtime.ContentTypeJSON
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	restClient, err := rest.RESTClientForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	return &distributedLocks{
		client: gentype.NewClientWithList(resource, rest.Interface(once{restClient}), runtime.NewParameterCodec(scheme), namespace,
			func() *v1alpha1.DistributedLock { return &v1alpha1.DistributedLock{} },
			func() *v1alpha1.DistributedLockList { return &v1alpha1.DistributedLockList{} }),
		manager: manager,
	}, nil
}

// once is a REST client that sends each write one time only. client-go would send
// it again after some errors, and then the error of the last copy would hide what
// became of the first.
type once struct{ rest.Interface }

func (c once) Post() *rest.Request   { return c.Interface.Post().MaxRetries(0) }
func (c once) Put() *rest.Request    { return c.Interface.Put().MaxRetries(0) }
func (c once) Delete() *rest.Request { return c.Interface.Delete().MaxRetries(0) }
func (c once) Patch(pt types.PatchType) *rest.Request {
	return c.Interface.Patch(pt).MaxRetries(0)
}

func (s *distributedLocks) Resource() schema.GroupResource { return v1alpha1.Resource(resource) }

func (s *distributedLocks) Get(ctx context.Context, name string) (protocol.Record, error) {
	obj, err := s.client.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) && !NoSuchResource(err) {
		return protocol.Record{Name: name}, nil
	}
	if err != nil {
		return protocol.Record{}, err
	}
	return FromObject(obj), nil
}

func (s *distributedLocks) Create(ctx context.Context, r protocol.Record) (protocol.Record, error) {
	obj, err := s.client.Create(ctx, ToObject(r), metav1.CreateOptions{FieldManager: s.manager})
	if err != nil {
		return protocol.Record{}, err
	}
	return FromObject(obj), nil
}

func (s *distributedLocks) Update(ctx context.Context, r protocol.Record) (protocol.Record, error) {
	obj, err := s.client.Update(ctx, ToObject(r), metav1.UpdateOptions{FieldManager: s.manager})
	if err != nil {
		return protocol.Record{}, err
	}
	return FromObject(obj), nil
}

func (s *distributedLocks) Delete(ctx context.Context, r protocol.Record) error {
	return s.client.Delete(ctx, r.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{
		UID:             new(types.UID(r.UID)),
		ResourceVersion: new(r.ResourceVersion),
	}})
}

func (s *distributedLocks) Watcher(name string) cache.ListerWatcher {
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	return s.selected(func(options *metav1.ListOptions) { options.FieldSelector = selector })
}

func (s *distributedLocks) HeldBy(client string) cache.ListerWatcher {
	selector := labels.Set{v1alpha1.HolderLabel: client}.String()
	return s.selected(func(options *metav1.ListOptions) { options.LabelSelector = selector })
}

func (s *distributedLocks) selected(choose func(*metav1.ListOptions)) cache.ListerWatcher {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			choose(&options)
			return s.client.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			choose(&options)
			return s.client.Watch(ctx, options)
		},
	}
}

func (s *distributedLocks) Example() runtime.Object { return &v1alpha1.DistributedLock{} }

func (s *distributedLocks) Decode(obj any) (protocol.Record, error) {
	lock, ok := obj.(*v1alpha1.DistributedLock)
	if !ok {
		return protocol.Record{}, fmt.Errorf("got a %T, want a DistributedLock", obj)
	}
	return FromObject(lock), nil
}

// FromObject reads a DistributedLock as a lock.
func FromObject(obj *v1alpha1.DistributedLock) protocol.Record {
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
	if h := obj.Spec.Holder; h != nil {
		r.Holder = &protocol.Holder{
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
			r.Holder.Pod = protocol.Pod{Name: h.Pod.Name, UID: string(h.Pod.UID)}
		}
	}
	if l := obj.Spec.LastRelease; l != nil {
		r.LastRelease = &protocol.LastRelease{
			LockID:   l.LockID,
			Identity: l.Identity,
			Token:    l.Token,
			Time:     l.Time.Time,
			Source:   protocol.Source(l.TimeSource),
			Reason:   protocol.Reason(l.Reason),
		}
	}
	return r
}

// ToObject writes r over the object that it was read from, so that what others put
// into the object's metadata stays. Managed fields are the server's to keep.
func ToObject(r protocol.Record) *v1alpha1.DistributedLock {
	stored, ok := r.Stored.(*v1alpha1.DistributedLock)
	if !ok {
		stored = &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Name: r.Name}}
	}
	obj := &v1alpha1.DistributedLock{ObjectMeta: stored.ObjectMeta}
	obj.UID, obj.ResourceVersion = types.UID(r.UID), r.ResourceVersion
	obj.ManagedFields = nil
	obj.Labels = maps.Clone(obj.Labels)
	delete(obj.Labels, v1alpha1.HolderLabel)

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
	if h := r.Holder; h != nil {
		if obj.Labels == nil {
			obj.Labels = map[string]string{}
		}
		obj.Labels[v1alpha1.HolderLabel] = h.Client
		spec.Holder = toHolder(h)
	}
	spec.LastRelease = toLastRelease(r.LastRelease)
	return obj
}

func toHolder(h *protocol.Holder) *v1alpha1.Holder {
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
