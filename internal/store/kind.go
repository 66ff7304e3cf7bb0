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
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/protocol"
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
