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

package subjects

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// FloorOf returns the name of the subject that makes bare updates of objects of that kind.
func FloorOf(kind string) string { return "bare updates/" + kind }

// floorOf returns the subject that makes bare updates, the lower bound of every lock in the same
// object. Its cycle is two updates by client-go, each conditioned on the version before. The object is
// that of a kubelock lock in use, so that it has the same size and the same validation.
func floorOf(kind string) Subject {
	return Subject{Name: FloorOf(kind), Open: func(_ context.Context, servers Servers, meter *Meter, o Options) (Client, error) {
		config := servers.Kubernetes.config(meter)
		config.APIPath, config.ContentType = "/apis", runtime.ContentTypeProtobuf
		schemes := scheme.Scheme
		switch kind {
		case Leases:
			config.GroupVersion = &coordinationv1.SchemeGroupVersion
		case ConfigMaps:
			config.GroupVersion, config.APIPath = &corev1.SchemeGroupVersion, "/api"
		default:
			schemes = runtime.NewScheme()
			if err := v1alpha1.AddToScheme(schemes); err != nil {
				return nil, err
			}
			config.GroupVersion, config.ContentType = &v1alpha1.GroupVersion, runtime.ContentTypeJSON
		}
		config.NegotiatedSerializer = serializer.NewCodecFactory(schemes).WithoutConversion()
		client, err := rest.RESTClientFor(config)
		if err != nil {
			return nil, err
		}
		return &floorClient{client: client, servers: servers, kind: kind, options: o}, nil
	}}
}

type floorClient struct {
	client  *rest.RESTClient
	servers Servers
	kind    string
	options Options

	once  sync.Once // sets the fields below
	first store.Object
	err   error // of creating the object
}

func (c *floorClient) Close() error { return nil }

// Lock makes kubelock create the first object, in the state of a lock that was released and is held
// again. The objects of other keys are copies of it.
func (c *floorClient) Lock(ctx context.Context, key string) (Lock, error) {
	f := &floor{client: c.client, resource: c.kind, name: key, size: c.options.Size, obj: objectOf(c.kind)}
	c.once.Do(func() {
		c.first = objectOf(c.kind)
		if c.err = c.make(ctx, key); c.err == nil {
			c.err = c.client.Get().Namespace(Namespace).Resource(c.kind).Name(key).Do(ctx).Into(c.first)
		}
	})
	if c.err != nil {
		return nil, c.err
	}
	another, ok := c.first.DeepCopyObject().(store.Object)
	if !ok {
		return nil, fmt.Errorf("a copy of a %T is none", c.first)
	}
	if key == c.first.GetName() {
		f.obj = another
		return f, nil
	}
	another.SetName(key)
	another.SetUID("")
	another.SetResourceVersion("")
	another.SetManagedFields(nil)
	return f, f.client.Post().Namespace(Namespace).Resource(f.resource).Body(another).Do(ctx).Into(f.obj)
}

func (c *floorClient) make(ctx context.Context, key string) error {
	maker, err := openKubelock(c.servers, &Meter{}, c.kind)
	if err != nil {
		return err
	}
	defer func() { _ = maker.Close() }() // Always nil.
	l := kubelock.NewLock[string](maker, key)
	held, err := l.Acquire(ctx, kubelock.WithDuration(time.Hour))
	if err != nil {
		return err
	}
	if err := held.Update(text(0, c.options.Size)).Release(ctx); err != nil {
		return err
	}
	_, err = l.Acquire(ctx, kubelock.WithDuration(time.Hour))
	return err
}

func objectOf(kind string) store.Object {
	switch kind {
	case Leases:
		return &coordinationv1.Lease{}
	case ConfigMaps:
		return &corev1.ConfigMap{}
	default:
		return &v1alpha1.DistributedLock{}
	}
}

// floor updates one object.
type floor struct {
	unleased

	client         *rest.RESTClient
	resource, name string
	size           int

	mu  sync.Mutex // held during each request, so that updates are serial; protects the fields below
	obj store.Object
	n   int
}

func (f *floor) Acquire(ctx context.Context) (Hold, error) {
	err := f.update(context.WithoutCancel(ctx), false) // Not cancelled: without its answer the next update would be refused.
	return f, err
}

func (f *floor) Release(ctx context.Context) error { return f.update(context.WithoutCancel(ctx), true) }

// update writes a new renewal time, and if state is set also a new state, as the two writes of a lock's
// cycle do.
func (f *floor) update(ctx context.Context, state bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	now := metav1.NowMicro()
	var value string
	if state {
		encoded, err := json.Marshal(text(f.n, f.size))
		if err != nil {
			return err
		}
		value = string(encoded)
	}
	switch obj := f.obj.(type) {
	case *v1alpha1.DistributedLock:
		obj.Spec.Holder.RenewTime = now
		if state {
			obj.Spec.Value = &value
		}
	case *coordinationv1.Lease:
		obj.Spec.RenewTime = &now
		if state {
			obj.Annotations["kubelock.dev/value"] = value
		}
	case *corev1.ConfigMap:
		obj.Annotations["bench.kubelock.dev/renewed"] = strconv.Itoa(f.n)
		if state {
			obj.Data["value"] = value
		}
	}
	next := objectOf(f.resource)
	if err := f.client.Put().Namespace(Namespace).Resource(f.resource).Name(f.name).Body(f.obj).Do(ctx).Into(next); err != nil {
		return err
	}
	f.obj = next
	return nil
}
