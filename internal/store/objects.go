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
	"net/http"
	"path"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
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
	"github.com/kubelock/kubelock/internal/servertime"
)

// kind is a Kind whose objects are of the type T.
type kind[T Object, L runtime.Object] struct {
	codec[T]
	resource    schema.GroupVersionResource
	role        string
	selector    string // the label of those objects that are locks; empty if all are
	limit       Limit
	apiPath     string
	contentType string // of requests; answers may be JSON always
	addToScheme func(*runtime.Scheme) error
	newObject   func() T
	newList     func() L
}

// codec knows how objects of the type T store a lock. stored is always an object that
// was read, and must not be changed.
type codec[T Object] interface {
	decode(obj T) (protocol.Record, error)
	// encode writes r over a copy of stored.
	encode(stored T, r protocol.Record) T
	// amend adds to a patch what makes to of from, which is held and was read as stored,
	// and tests what that relies on: the hold, and those of its waiters that have gone.
	amend(p *patch, stored T, from, to protocol.Record)
	// enqueue appends to the queue.
	enqueue(p *patch, stored T, text string)
	// dequeue removes the waiter at that place.
	dequeue(p *patch, stored T, place int)
	// remains is what is left of the object when the lock is deleted; ok is false if that
	// is nothing that others would miss. Unknown fields alone are nothing.
	remains(stored T) (left T, ok bool)
	// ends are the places in an object's JSON of what is another in r than in stored, as another
	// hold is: unknown fields there go with it.
	ends(stored T, r protocol.Record) ending
}

func (k *kind[T, L]) Resource() schema.GroupVersionResource { return k.resource }
func (k *kind[T, L]) Role() string                          { return k.role }
func (k *kind[T, L]) Limit() Limit                          { return k.limit }
func (k *kind[T, L]) New() Object                           { return k.newObject() }

func (k *kind[T, L]) Decode(obj any) (protocol.Record, error) {
	typed, ok := obj.(T)
	if !ok {
		return protocol.Record{}, fmt.Errorf("got a %T, want a %T", obj, k.newObject())
	}
	return k.record(typed)
}

// record is what obj stores.
func (k *kind[T, L]) record(obj T) (protocol.Record, error) {
	r, err := k.decode(obj)
	if err == nil && obj.GetDeletionTimestamp() != nil {
		r.Terminating, r.Finalizers = true, obj.GetFinalizers()
	}
	return r, err
}

func (k *kind[T, L]) Encode(r protocol.Record) Object { return k.object(r) }

func (k *kind[T, L]) object(r protocol.Record) T {
	stored, ok := r.Stored.(T)
	if !ok {
		stored = k.newObject()
		stored.SetName(r.Name)
	}
	obj := k.encode(stored, r)
	obj.SetUID(types.UID(r.UID))
	obj.SetResourceVersion(r.ResourceVersion)
	obj.SetManagedFields(nil) // They are the server's to keep.
	return obj
}

// left is what is left of the object of r when its lock is deleted; ok is false if that is nothing
// that others would miss.
func (k *kind[T, L]) left(r protocol.Record) (left T, ok bool) {
	stored, ok := r.Stored.(T)
	if !ok {
		return left, false
	}
	if left, ok = k.remains(stored); ok {
		left.SetManagedFields(nil)
	}
	return left, ok
}

func (k *kind[T, L]) Open(config *rest.Config, client *http.Client, namespace string) (Store, error) {
	scheme := runtime.NewScheme()
	version := k.resource.GroupVersion()
	if err := k.addToScheme(scheme); err != nil {
		return nil, fmt.Errorf("registering the types of %s: %w", version, err)
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	kinds, _, err := scheme.ObjectKinds(k.newObject())
	if err != nil {
		return nil, err
	}

	config = rest.CopyConfig(config)
	config.GroupVersion = &version
	config.APIPath = k.apiPath
	config.ContentType = k.contentType
	config.AcceptContentTypes = k.contentType
	if k.contentType != runtime.ContentTypeJSON {
		config.AcceptContentTypes += "," + runtime.ContentTypeJSON
	}
	config.NegotiatedSerializer = newKeeping[T, L](serializer.NewCodecFactory(scheme).WithoutConversion())
	restClient, err := rest.RESTClientForConfigAndClient(config, client)
	if err != nil {
		return nil, err
	}
	s := &objects[T, L]{
		kind:       k,
		gvk:        kinds[0],
		client:     once{restClient, config.UserAgent},
		parameters: runtime.NewParameterCodec(scheme),
		manager:    managerOf(config.UserAgent),
	}
	return s.In(namespace)
}

// managerOf is what the API server calls, in managed fields, who writes with that user
// agent.
func managerOf(userAgent string) string {
	if userAgent == "" {
		userAgent = rest.DefaultKubernetesUserAgent()
	}
	manager, _, _ := strings.Cut(userAgent, "/")
	return manager
}

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

func (s *objects[T, L]) All() cache.ListerWatcher {
	return s.selected(func(options *metav1.ListOptions) { options.LabelSelector = s.kind.selector }, nil)
}

func (s *objects[T, L]) Watcher(name string, gap func()) cache.ListerWatcher {
	selector := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	return s.selected(func(options *metav1.ListOptions) { options.FieldSelector = selector }, gap)
}

func (s *objects[T, L]) HeldBy(client string, gap func()) cache.ListerWatcher {
	selector := labels.Set{v1alpha1.HolderLabel: client}.String()
	return s.selected(func(options *metav1.ListOptions) { options.LabelSelector = selector }, gap)
}

func (s *objects[T, L]) selected(choose func(*metav1.ListOptions), gap func()) cache.ListerWatcher {
	w := &listWatch{
		list: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			choose(&options)
			return s.many.List(ctx, options)
		},
		watch: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			choose(&options)
			return s.watch(ctx, options)
		},
		version: func(ctx context.Context) (string, error) {
			list, err := s.many.List(ctx, s.nothing())
			if err != nil {
				return "", err
			}
			m, err := meta.ListAccessor(list)
			if err != nil {
				return "", err
			}
			return m.GetResourceVersion(), nil
		},
		gap: gap,
	}
	return &cache.ListWatch{ListWithContextFunc: w.List, WatchFuncWithContext: w.Watch}
}

// watch opens a watch that is not compressed. The reader of a compressed stream keeps 44 KB for as long as the
// watch is open, which is half of the memory of a waiter, and the API server would compress each event anew for each
// watch.
func (s *objects[T, L]) watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	options.Watch = true
	req := s.client.Get().SetHeader("Accept-Encoding", "identity").AbsPath(s.path).VersionedParams(&options, s.parameters)
	if options.TimeoutSeconds != nil {
		req.Timeout(time.Duration(*options.TimeoutSeconds) * time.Second)
	}
	return req.Watch(ctx)
}

// nothing asks for a list that costs little to make: of one name that no lock has, or, in all
// namespaces, of one object.
func (s *objects[T, L]) nothing() metav1.ListOptions {
	if s.namespace == "" {
		return metav1.ListOptions{Limit: 1}
	}
	return metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, "no-lock.kubelock.dev").String()}
}
