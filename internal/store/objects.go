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
	"errors"
	"fmt"
	"path"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/gentype"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/servertime"
)

// objects is a store in the objects of one kind and namespace.
type objects[T Object, L runtime.Object] struct {
	kind       *kind[T, L]
	gvk        schema.GroupVersionKind
	client     once                          // for one object
	many       *gentype.ClientWithList[T, L] // lists
	parameters runtime.ParameterCodec        // of requests
	path       string                        // of all objects
	// namespace is that of the objects; empty for all.
	namespace string
	// manager is what the API server calls this program in managed fields.
	manager string
}

// once is a REST client that sends each write one time only. client-go would send
// it again after some errors, and then the error of the last copy would hide what
// became of the first. It names the user agent itself, if it knows it: client-go's
// transport would copy each request and its header for that.
type once struct {
	rest.Interface

	userAgent string
}

func (c once) Get() *rest.Request    { return c.named(c.Interface.Get()) }
func (c once) Post() *rest.Request   { return c.named(c.Interface.Post().MaxRetries(0)) }
func (c once) Put() *rest.Request    { return c.named(c.Interface.Put().MaxRetries(0)) }
func (c once) Delete() *rest.Request { return c.named(c.Interface.Delete().MaxRetries(0)) }
func (c once) Patch(pt types.PatchType) *rest.Request {
	return c.named(c.Interface.Patch(pt).MaxRetries(0))
}

func (c once) named(r *rest.Request) *rest.Request {
	if c.userAgent == "" {
		return r
	}
	return r.SetHeader("User-Agent", c.userAgent)
}

func (s *objects[T, L]) In(namespace string) (Store, error) {
	if problems := rest.IsValidPathSegmentName(namespace); len(problems) > 0 {
		return nil, fmt.Errorf("%q is no name of a namespace: %s", namespace, strings.Join(problems, "; "))
	}
	k := s.kind
	in := *s
	in.namespace = namespace
	in.many = gentype.NewClientWithList(k.resource.Resource, s.client.Interface, s.parameters, namespace, k.newObject, k.newList)
	in.path = path.Join(k.apiPath, k.resource.GroupVersion().String(), k.resource.Resource)
	if namespace != "" {
		in.path = path.Join(k.apiPath, k.resource.GroupVersion().String(), "namespaces", namespace, k.resource.Resource)
	}
	return &in, nil
}

func (s *objects[T, L]) Kind() Kind { return s.kind }

// object addresses a request to the object of that name. Its path is whole, as in
// client-go's dynamic client: of its parts a request would make it anew each of the six
// times that it needs it, which is a sixth of what a write allocates.
func (s *objects[T, L]) object(req *rest.Request, name string) *rest.Request {
	if name == "" || len(rest.IsValidPathSegmentName(name)) > 0 {
		return req.Name(name) // Keeps the error: without it the path would be another's, or that of all.
	}
	return req.AbsPath(s.path, name)
}

// write sends a write that puts something new into the object, and returns that with the
// time that the server has stamped into it.
func (s *objects[T, L]) write(ctx context.Context, req *rest.Request) (protocol.Record, error) {
	r, err := s.send(ctx, req)
	if obj, ok := r.Stored.(T); ok && err == nil {
		if r.Stamped, ok = servertime.StampOf(obj.GetManagedFields(), s.manager); !ok {
			// A proxy has changed the user agent, and so the name. The last stamp is that of this
			// write, or of an API server whose clock is ahead by no more than MaxClockSkew.
			r.Stamped, _ = servertime.StampOf(obj.GetManagedFields(), "")
		}
	}
	return r, err
}

// send sends a request, and returns the object that its answer holds.
func (s *objects[T, L]) send(ctx context.Context, req *rest.Request) (protocol.Record, error) {
	obj := s.kind.newObject()
	if err := req.Do(ctx).Into(obj); err != nil {
		return protocol.Record{}, err
	}
	return s.kind.record(obj)
}

func (s *objects[T, L]) Get(ctx context.Context, name string) (protocol.Record, error) {
	r, err := s.send(ctx, s.object(s.client.Get(), name))
	if noSuchObject(err, name) {
		return protocol.Record{Name: name}, nil
	}
	return r, err
}

// checked is what a write returns: with an *AlteredError, too, what it has left.
func (s *objects[T, L]) checked(got protocol.Record, err error, compare func() error) (protocol.Record, error) {
	if err == nil {
		err = compare()
	}
	if altered, ok := errors.AsType[*AlteredError](err); ok && s.gvk.Group != v1alpha1.GroupVersion.Group {
		altered.Missing = "" // It is in no CustomResourceDefinition.
	}
	return got, err
}

func (s *objects[T, L]) Create(ctx context.Context, r protocol.Record) (protocol.Record, error) {
	got, err := s.write(ctx, s.client.Post().AbsPath(s.path).Body(s.kind.object(r)))
	return s.checked(got, err, func() error { return altered(r, got) })
}

func (s *objects[T, L]) Update(ctx context.Context, r protocol.Record) (protocol.Record, error) {
	req, err := s.put(r, s.kind.object(r))
	if err != nil {
		return protocol.Record{}, err
	}
	got, err := s.write(ctx, req)
	return s.checked(got, err, func() error { return altered(r, got) })
}

// put is a request that writes the whole object of r, as obj and with the fields that are not
// known.
func (s *objects[T, L]) put(r protocol.Record, obj T) (*rest.Request, error) {
	req := s.object(s.client.Put(), r.Name)
	stored, ok := r.Stored.(T)
	if !ok {
		return req.Body(obj), nil
	}
	u := unknownOf(stored)
	if u == nil {
		return req.Body(obj), nil
	}
	obj.GetObjectKind().SetGroupVersionKind(s.gvk)
	data, err := u.encode(obj, s.kind.ends(stored, r))
	if err != nil {
		return nil, fmt.Errorf("encoding %s with the fields that are not known: %w", r.Name, err)
	}
	return req.SetHeader("Content-Type", u.format).Body(data), nil
}

func (s *objects[T, L]) Amend(ctx context.Context, from, to protocol.Record) (protocol.Record, error) {
	stored, ok := from.Stored.(T)
	free := from.Holder == nil
	if !ok || free && to.Holder != nil {
		return protocol.Record{}, fmt.Errorf("amending %s: it was not read as held", from.Name)
	}
	gone, _ := queueChange(from.Waiters, to.Waiters)
	exact := free || overtakes(from, to, gone) // Then no client may have joined the queue since.
	if exact && !free && worthSending(from, to) {
		return s.Update(ctx, to)
	}
	var p patch
	p.test("/metadata/uid", from.UID)
	p.stays(from)
	if exact {
		p.test("/metadata/resourceVersion", from.ResourceVersion)
	}
	s.kind.amend(&p, stored, from, to)
	got, err := s.patch(ctx, stored.GetName(), p, s.write)
	return s.checked(got, err, func() error { return alteredFrom(from, to, got) })
}

func (s *objects[T, L]) Enqueue(ctx context.Context, r protocol.Record, text string, exact bool) (protocol.Record, error) {
	stored, ok := r.Stored.(T)
	if !ok {
		return protocol.Record{}, fmt.Errorf("queueing for %s: its object was not read", r.Name)
	}
	var p patch
	p.stays(r)
	if exact {
		p.test("/metadata/resourceVersion", r.ResourceVersion)
	}
	s.kind.enqueue(&p, stored, text)
	got, err := s.patch(ctx, stored.GetName(), p, s.write)
	return s.checked(got, err, func() error { return enqueued(text, got) })
}

func (s *objects[T, L]) Dequeue(ctx context.Context, r protocol.Record, place int) (protocol.Record, error) {
	stored, ok := r.Stored.(T)
	if !ok {
		return protocol.Record{}, fmt.Errorf("leaving the queue for %s: its object was not read", r.Name)
	}
	var p patch
	s.kind.dequeue(&p, stored, place)
	return s.patch(ctx, stored.GetName(), p, s.send) // What only takes away leaves the server's stamp as it was.
}

func (s *objects[T, L]) Delete(ctx context.Context, r protocol.Record) (protocol.Record, error) {
	gone := protocol.Record{Name: r.Name}
	if left, ok := s.kind.left(r); ok {
		req, err := s.put(r, left)
		if err != nil {
			return protocol.Record{}, err
		}
		return gone, req.Do(ctx).Error()
	}
	answer, err := s.object(s.client.Delete(), r.Name).Body(&metav1.DeleteOptions{Preconditions: &metav1.Preconditions{
		UID:             new(types.UID(r.UID)),
		ResourceVersion: new(r.ResourceVersion),
	}}).Do(ctx).Get()
	if err != nil {
		return protocol.Record{}, err
	}
	if left, ok := answer.(T); ok && left.GetDeletionTimestamp() != nil && len(left.GetFinalizers()) > 0 {
		return s.kind.record(left)
	}
	return gone, nil
}

func (s *objects[T, L]) patch(ctx context.Context, name string, p patch,
	send func(context.Context, *rest.Request) (protocol.Record, error),
) (protocol.Record, error) {
	data, err := p.encode()
	if err != nil {
		return protocol.Record{}, fmt.Errorf("encoding a patch of %s: %w", name, err)
	}
	return send(ctx, s.object(s.client.Patch(types.JSONPatchType), name).Body(data))
}
