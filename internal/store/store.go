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

// Package store reads and writes the objects that locks are kept in, one object a
// lock, and each transition one write.
package store

import (
	"context"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/protocol"
)

// Object is what locks are kept in.
type Object interface {
	metav1.Object
	runtime.Object
}

// Kind is a kind of object that locks can be kept in.
type Kind interface {
	// Resource names the kind.
	Resource() schema.GroupVersionResource
	// Role is the ClusterRole that the project ships for those who lock in this kind.
	Role() string
	// Limit is how much state fits.
	Limit() Limit
	// New returns an empty object.
	New() Object
	// Decode reads an object, as clients and informers deliver it, as a lock. Its error
	// is an *UnusableError for an object that no lock can be kept in as it is.
	Decode(obj any) (protocol.Record, error)
	// Encode writes r over a copy of the object that it was read from, so that what
	// others put into that stays. What does not change the two share: neither may be
	// written to. It lacks the fields that this version does not know; what a Store writes
	// has them.
	Encode(r protocol.Record) Object
	// Open returns a store in the objects of a namespace; of all, to read only, if its name
	// is empty. config's requests are sent through client. Writes name no field manager: it
	// is the beginning of the client's user agent, up to the first slash.
	Open(config *rest.Config, client *http.Client, namespace string) (Store, error)
}

// Limit is how much state an object takes.
type Limit struct {
	Bytes int // of JSON text
	// Escaped is how long that text may be as a string in JSON; 0 where objects are not
	// kept as JSON.
	Escaped int
}

// UnusableError says that a lock cannot be kept in an object as it is. A person has to
// change that.
type UnusableError struct{ Reason string }

func (e *UnusableError) Error() string { return e.Reason }

// Store keeps the locks of one namespace. Each method with a context is
// one request to the API server, never repeated, that ends with ctx. It is safe
// for concurrent use.
//
// Errors are those of client-go; OutcomeOf tells what one means for a write.
type Store interface {
	// Kind is the kind of object that locks are kept in.
	Kind() Kind
	// In is the store in another namespace. It shares the connections.
	In(namespace string) (Store, error)
	// Get reads a lock. A lock that has no object gives a record that does not exist,
	// and no error.
	Get(ctx context.Context, name string) (protocol.Record, error)
	// Create makes the object of r, which does not exist yet.
	Create(ctx context.Context, r protocol.Record) (protocol.Record, error)
	// Update writes r, if the object still is at r's UID and ResourceVersion.
	Update(ctx context.Context, r protocol.Record) (protocol.Record, error)
	// Amend writes what makes to of from, which is held, if that hold has not been
	// renewed or ended since, and the waiters that to does without are still the first
	// of the queue. Where the hold ends and none of them gets the lock, the object
	// must still be at from's ResourceVersion. Otherwise waiters may have come and gone,
	// and others may have changed what to does not. Like Enqueue, it is refused as stale if
	// the object is being deleted and from does not show that. If from is free, so is to, and the object
	// must still be at from's ResourceVersion. Unlike Update that is not idempotent, so that no proxy repeats it.
	Amend(ctx context.Context, from, to protocol.Record) (protocol.Record, error)
	// Enqueue appends an entry to the queue of r's object, however that has changed
	// since r; with exact only if it has not.
	Enqueue(ctx context.Context, r protocol.Record, entry string, exact bool) (protocol.Record, error)
	// Dequeue removes the entry at that place of r's queue, if it still is there.
	Dequeue(ctx context.Context, r protocol.Record, place int) (protocol.Record, error)
	// Delete removes the object of r, if it still is at r's UID and ResourceVersion. What
	// others keep in it stays, and then the object does, too, without a trace of the lock.
	// It returns a record that does not exist, or, where finalizers keep the object, one
	// that is terminating.
	Delete(ctx context.Context, r protocol.Record) (protocol.Record, error)
	// All lists and watches all locks, for a reflector.
	All() cache.ListerWatcher
	// Watcher lists and watches the object of one name, for an informer. gap is called when
	// the informer may have missed something: see listWatch.
	Watcher(name string, gap func()) cache.ListerWatcher
	// HeldBy lists and watches the locks that a client holds, for an informer; gap as for
	// Watcher.
	HeldBy(client string, gap func()) cache.ListerWatcher
}

// WithMetadata returns r, which has no object, such that the object that Create makes of it has these
// labels and annotations, too. They are neither changed nor compared with what the server stores.
func WithMetadata(k Kind, r protocol.Record, labels, annotations map[string]string) protocol.Record {
	if len(labels) == 0 && len(annotations) == 0 {
		return r
	}
	obj := k.New()
	obj.SetName(r.Name)
	obj.SetLabels(labels)
	obj.SetAnnotations(annotations)
	r.Stored = obj
	return r
}

// Write creates or updates the object of r, whichever r asks for.
func Write(ctx context.Context, s Store, r protocol.Record) (protocol.Record, error) {
	if r.Exists() {
		return s.Update(ctx, r)
	}
	return s.Create(ctx, r)
}
