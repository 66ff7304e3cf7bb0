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

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/protocol"
)

// Store keeps the locks of one namespace. Each method with a context is
// one request to the API server, never repeated, that ends with ctx. It is safe
// for concurrent use.
//
// Errors are those of client-go; OutcomeOf tells what one means for a write.
type Store interface {
	// Resource is the kind of object that locks are kept in.
	Resource() schema.GroupResource
	// Get reads a lock. A lock that has no object gives a record that does not exist,
	// and no error.
	Get(ctx context.Context, name string) (protocol.Record, error)
	// Create makes the object of r, which does not exist yet.
	Create(ctx context.Context, r protocol.Record) (protocol.Record, error)
	// Update writes r, if the object still is at r's UID and ResourceVersion.
	Update(ctx context.Context, r protocol.Record) (protocol.Record, error)
	// Amend writes what makes to of from, which is held, if that hold has not been
	// renewed or ended since, and the waiters that to does without are still the first
	// of the queue. Where the hold ends and none of them gets the lock, the queue must
	// be the same. Otherwise waiters may have come and gone, and others may have
	// changed what to does not.
	Amend(ctx context.Context, from, to protocol.Record) (protocol.Record, error)
	// Enqueue appends an entry to the queue of r's object, however that has changed
	// since r.
	Enqueue(ctx context.Context, r protocol.Record, entry string) (protocol.Record, error)
	// Dequeue removes the entry at that place of r's queue, if it still is there.
	Dequeue(ctx context.Context, r protocol.Record, place int) (protocol.Record, error)
	// Delete removes the object of r, if it still is at r's UID and ResourceVersion.
	Delete(ctx context.Context, r protocol.Record) error
	// Watcher lists and watches the object of one name, for an informer.
	Watcher(name string) cache.ListerWatcher
	// HeldBy lists and watches the locks that a client holds, for an informer.
	HeldBy(client string) cache.ListerWatcher
	// Example is an empty object of the kind that Watcher delivers.
	Example() runtime.Object
	// Decode reads an object that Watcher delivered.
	Decode(obj any) (protocol.Record, error)
}

// Write creates or updates the object of r, whichever r asks for.
func Write(ctx context.Context, s Store, r protocol.Record) (protocol.Record, error) {
	if r.Exists() {
		return s.Update(ctx, r)
	}
	return s.Create(ctx, r)
}
