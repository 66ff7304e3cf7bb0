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
	"encoding/json"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/internal/cli/view"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/store"
)

// reader reads the records of locks.
type reader struct {
	config    *rest.Config
	http      *http.Client
	clock     *servertime.Clock
	namespace string // empty: all
	// selector is what the objects' labels have to match; nil if nothing.
	selector labels.Selector
}

// decode reads an object that was listed. ok is false if it is no lock, or not one of those that
// are wanted.
func (r *reader) decode(kind store.Kind, obj any) (_ view.Lock, ok bool) {
	record, err := kind.Decode(obj)
	if err != nil {
		return view.Lock{}, false
	}
	if o, isObject := obj.(metav1.Object); isObject && r.selector != nil && !r.selector.Matches(labels.Set(o.GetLabels())) {
		return view.Lock{}, false
	}
	return viewOf(kind, record), true
}

// reader returns what reads the locks of the namespace, or of all.
func (o *options) reader(all bool) (*reader, error) {
	config, err := o.config()
	if err != nil {
		return nil, err
	}
	r := &reader{config: config, clock: &servertime.Clock{}}
	if !all {
		if r.namespace, err = o.namespace(); err != nil {
			return nil, err
		}
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return r.clock.Transport(next, time.Now) })
	r.http, err = rest.HTTPClientFor(config)
	return r, err
}

func (r *reader) open(kind store.Kind) (store.Store, error) {
	return kind.Open(r.config, r.http, r.namespace)
}

// now is the server's time, as far as it is known: what times of records are shown by.
func (r *reader) now() time.Time {
	now := time.Now()
	if lower, upper, ok := r.clock.Reading().Bounds(now); ok {
		return lower.Add(upper.Sub(lower) / 2)
	}
	return now
}

// list reads all locks of a kind.
func (r *reader) list(ctx context.Context, kind store.Kind) (rows []view.Lock, err error) {
	s, err := r.open(kind)
	if err != nil {
		return nil, err
	}
	list, err := cache.ToListerWatcherWithContext(s.All()).ListWithContext(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, explain("list", kind, r.namespace, err)
	}
	err = meta.EachListItem(list, func(obj runtime.Object) error {
		if row, ok := r.decode(kind, obj); ok {
			rows = append(rows, row)
		}
		return nil
	})
	return rows, err
}

// viewOf returns what is shown of a record.
func viewOf(kind store.Kind, r protocol.Record) view.Lock {
	out := view.Lock{
		Kind: kindName(kind), Name: r.Name, Key: r.Key, Waiters: []view.Waiter{}, Transitions: r.Transitions, Resting: r.Resting(),
		Terminating: r.Terminating, Finalizers: r.Finalizers,
		Resource: kind.Resource().GroupResource().String(), Version: r.ResourceVersion,
	}
	if obj, ok := r.Stored.(metav1.Object); ok {
		out.Namespace = obj.GetNamespace()
	}
	if h := r.Holder; h != nil {
		out.Holder = &view.Holder{
			Identity: h.Identity, Pod: h.Pod.Name, LockID: h.LockID, Token: h.Token, AcquireTime: h.AcquireTime,
			RenewTime: h.RenewTime, Duration: h.Duration.String(), ExpireTime: h.RenewTime.Add(h.Duration),
		}
		if h.Foreign() { // It only stands for one.
			out.Holder.Token = 0
		}
	}
	for _, text := range r.Waiters {
		if w, ok := protocol.ParseWaiter(text); ok {
			out.Waiters = append(out.Waiters, view.Waiter{Position: len(out.Waiters) + 1, Identity: w.Identity, LockID: w.LockID, Duration: w.Duration.String()})
		}
	}
	if l := r.LastRelease; l != nil {
		out.LastRelease = &view.Release{Identity: l.Identity, LockID: l.LockID, Token: l.Token, Time: l.Time, Reason: string(l.Reason), Rest: l.Rested() != ""}
		if l.Foreign() {
			out.LastRelease.Token = 0
		}
	}
	if r.Value != nil {
		if out.Value = json.RawMessage(*r.Value); !json.Valid(out.Value) { // It was edited by hand.
			out.Value, _ = json.Marshal(*r.Value) //nolint:errchkjson // It is text.
		}
	}
	return out
}

// kindName is the kind's name as the library's Backend has it.
func kindName(kind store.Kind) string {
	for _, b := range backends {
		if b.kind == kind {
			return string(b.name)
		}
	}
	return kind.Resource().Resource
}
