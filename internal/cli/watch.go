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

package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/cli/view"
	"github.com/kubelock/kubelock/internal/store"
)

// change is what a watch tells of the locks of one kind.
type change struct {
	kind store.Kind
	// listed is set for the first listing: rows are all locks that there are. Later each
	// row is a lock that has changed.
	listed bool
	rows   []view.Lock
	err    error // of a request, which is tried again
}

// watch lists locks and tells of each of their changes, for each kind by a reflector, until
// ctx ends or stop is called. Its caller has to read the changes until then.
func (r *reader) watch(ctx context.Context, kinds []store.Kind) (_ <-chan change, stop func(), _ error) {
	ctx, cancel := context.WithCancel(ctx)
	changes := make(chan change)
	send := func(c change) {
		select {
		case changes <- c:
		case <-ctx.Done():
		}
	}
	var running sync.WaitGroup
	stop = func() {
		cancel()
		running.Wait()
	}
	for _, kind := range kinds {
		s, err := r.open(kind)
		if err != nil {
			stop()
			return nil, nil, err
		}
		failed := func(verb string, err error) {
			// A server that does not stream lists says Invalid; a version that is too old
			// is listed anew. Reflectors know both.
			if err != nil && !apierrors.IsInvalid(err) && !apierrors.IsResourceExpired(err) && !apierrors.IsGone(err) {
				send(change{kind: kind, err: explain(verb, kind, r.namespace, err)})
			}
		}
		all := cache.ToListerWatcherWithContext(s.All())
		requests := &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				list, err := all.ListWithContext(ctx, options)
				failed("list", err)
				return list, err
			},
			WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
				w, err := all.WatchWithContext(ctx, options)
				failed("watch", err)
				return w, err
			},
		}
		reflector := cache.NewReflectorWithOptions(requests, kind.New(), &told{kind: kind, decode: r.decode, send: send}, cache.ReflectorOptions{})
		running.Go(func() { reflector.RunWithContext(ctx) })
	}
	return changes, stop, nil
}

// told is what a watch has told of one kind. A reflector fills it, from one goroutine.
type told struct {
	kind   store.Kind
	decode func(store.Kind, any) (view.Lock, bool)
	send   func(change)
	rows   map[rowID]view.Lock // nil before the first listing
}

// rowID is which lock a row is of.
type rowID struct{ kind, namespace, name string }

func idOf(l view.Lock) rowID { return rowID{l.Kind, l.Namespace, l.Name} }

// Add implements cache.ReflectorStore.
func (t *told) Add(obj any) error { return t.Update(obj) }

// Update implements cache.ReflectorStore.
func (t *told) Update(obj any) error {
	r, ok := t.decode(t.kind, obj)
	if !ok {
		return t.Delete(obj) // It may have been one.
	}
	t.rows[idOf(r)] = r
	t.send(change{kind: t.kind, rows: []view.Lock{r}})
	return nil
}

// Delete implements cache.ReflectorStore.
func (t *told) Delete(obj any) error {
	object, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	id := rowID{kindName(t.kind), object.GetNamespace(), object.GetName()}
	if r, ok := t.rows[id]; ok {
		t.forget(r)
	}
	return nil
}

func (t *told) forget(r view.Lock) {
	delete(t.rows, idOf(r))
	r.Deleted = true
	t.send(change{kind: t.kind, rows: []view.Lock{r}})
}

// Replace implements cache.ReflectorStore: what is listed anew is told where it has changed.
func (t *told) Replace(objs []any, _ string) error {
	rows := make(map[rowID]view.Lock, len(objs))
	for _, obj := range objs {
		if r, ok := t.decode(t.kind, obj); ok {
			rows[idOf(r)] = r
		}
	}
	before := t.rows
	t.rows = rows
	if before == nil {
		t.send(change{kind: t.kind, listed: true, rows: slices.Collect(maps.Values(rows))})
		return nil
	}
	for id, r := range before {
		if _, ok := rows[id]; !ok {
			t.forget(r)
		}
	}
	for id, r := range rows {
		if before[id].Version != r.Version {
			t.send(change{kind: t.kind, rows: []view.Lock{r}})
		}
	}
	return nil
}

// Resync implements cache.ReflectorStore.
func (t *told) Resync() error { return nil }

// board has all locks of a watch as they were last seen.
type board struct {
	rows     map[rowID]view.Lock
	unlisted map[store.Kind]bool
	left     int  // so many kinds can be read, or may be
	optional bool // kinds that cannot be read are left out
	warn     func(error)
	troubled bool
}

func (o *options) newBoard(kinds []store.Kind) *board {
	b := &board{rows: map[rowID]view.Lock{}, unlisted: map[store.Kind]bool{}, left: len(kinds), optional: o.backend == ""}
	b.warn = func(err error) { fmt.Fprintln(o.ErrOut, "warning:", err) }
	for _, kind := range kinds {
		b.unlisted[kind] = true
	}
	return b
}

// listed reports whether each kind that can be read was.
func (b *board) listed() bool { return len(b.unlisted) == 0 }

// take notes a change. Its error ends the watch.
func (b *board) take(c change) error {
	switch {
	case c.err == nil:
	case b.unlisted[c.kind] && b.optional && b.left > 1 && (store.NoSuchResource(c.err) || forbidden(c.err)):
		delete(b.unlisted, c.kind)
		b.left--
		b.warn(c.err)
		return nil
	case b.unlisted[c.kind], forbidden(c.err):
		return c.err
	case store.NoSuchResource(c.err) && b.optional, b.troubled:
		return nil
	default:
		b.troubled = true // Once, until something is heard again.
		b.warn(fmt.Errorf("%w; trying again", c.err))
		return nil
	}
	b.troubled = false
	if c.listed {
		delete(b.unlisted, c.kind)
	}
	for _, r := range c.rows {
		if r.Deleted {
			delete(b.rows, idOf(r))
		} else {
			b.rows[idOf(r)] = r
		}
	}
	return nil
}

// sorted are the locks by namespace, key and kind.
func (b *board) sorted() []view.Lock { return sorted(slices.Collect(maps.Values(b.rows))) }
