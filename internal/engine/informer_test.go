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

package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// calls notes the calls of a handler.
type calls struct {
	mu    sync.Mutex
	notes []string
	came  chan struct{}
}

func (n *calls) note(what string, obj any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		what, obj = what+" unseen", unknown.Obj
	}
	n.notes = append(n.notes, what+" "+obj.(*corev1.ConfigMap).ResourceVersion)
	n.came <- struct{}{}
}

func (n *calls) OnAdd(obj any, _ bool) { n.note("add", obj) }
func (n *calls) OnUpdate(_, obj any)   { n.note("update", obj) }
func (n *calls) OnDelete(obj any)      { n.note("delete", obj) }
func (n *calls) wait(t *testing.T, count int) []string {
	t.Helper()
	for {
		n.mu.Lock()
		notes := slices.Clone(n.notes)
		n.mu.Unlock()
		if len(notes) >= count {
			return notes
		}
		select {
		case <-n.came:
		case <-time.After(time.Minute):
			t.Fatalf("the handler was only called with %v", notes)
		}
	}
}

func config(version string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "k", ResourceVersion: version}}
}

// TestInformer has a watch show an object, end, and not show that the object was deleted meanwhile. The informer calls
// each handler with every change since it was added, also with a deletion that the watch did not show, and with none
// after it was removed. What there was before stands in objects.
func TestInformer(t *testing.T) {
	t.Parallel()
	lists := make(chan *corev1.ConfigMapList, 4)
	watches := make(chan *watch.FakeWatcher, 4)
	failures := make(chan error, 4)
	source := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
			select {
			case list := <-lists:
				if list == nil {
					return nil, errors.New("no list")
				}
				return list, nil
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		},
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) {
			w := watch.NewFakeWithChanSize(4, false)
			watches <- w
			return w, nil
		},
	}, withoutWatchList{})
	i := newInformer(source, &corev1.ConfigMap{}, func(_ context.Context, _ *cache.Reflector, err error) { failures <- err })
	first, second := &calls{came: make(chan struct{}, 16)}, &calls{came: make(chan struct{}, 16)}
	i.add(first)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		i.RunWithContext(ctx)
	}()

	if i.absent() {
		t.Error("before the first list it says that there is no object")
	}
	lists <- nil
	if err := <-failures; err == nil || i.absent() {
		t.Errorf("a list that failed: %v, absent %v", err, i.absent())
	}
	lists <- &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}, Items: []corev1.ConfigMap{*config("1")}}
	first.wait(t, 1)
	<-i.synced
	w := <-watches
	w.Modify(config("2"))
	first.wait(t, 2)
	i.add(second)
	if objects := i.objects.List(); len(objects) != 1 || objects[0].(*corev1.ConfigMap).ResourceVersion != "2" {
		t.Errorf("it has %v", objects)
	}
	w.Modify(config("3"))
	second.wait(t, 1)
	i.remove(first)
	lists <- &corev1.ConfigMapList{ListMeta: metav1.ListMeta{ResourceVersion: "5"}}
	w.Error(&metav1.Status{Status: metav1.StatusFailure, Code: 410, Reason: metav1.StatusReasonExpired})
	if got, want := second.wait(t, 2), []string{"update 3", "delete unseen 3"}; !slices.Equal(got, want) {
		t.Errorf("the second handler was called with %v, want %v", got, want)
	}
	if got, want := first.wait(t, 3), []string{"add 1", "update 2", "update 3"}; !slices.Equal(got, want) {
		t.Errorf("the first handler was called with %v, want %v", got, want)
	}
	if !i.absent() {
		t.Error("it does not say that there is no object")
	}
	cancel()
	<-done
}

// withoutWatchList says that lists are to be had.
type withoutWatchList struct{}

func (withoutWatchList) IsWatchListSemanticsUnSupported() bool { return true }
