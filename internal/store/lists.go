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
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/kubelock/kubelock/api/v1alpha1"
)

// What is listed and watched.

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
