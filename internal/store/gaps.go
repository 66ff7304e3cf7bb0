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
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/watch"
)

// slowStart is how long the first listing of a listWatch takes at least for something to
// have come and gone meanwhile that its caller waits for.
const slowStart = 5 * time.Second

// listWatch lists and watches for one reflector. It knows when what that shows may have a
// gap: after it has listed anew, what came and went between is not shown. And it notices
// that the API server's versions have gone back, as they do when etcd is restored from a
// backup: a reflector would then go on to watch from a version that is still to come, and
// see nothing until it has come.
type listWatch struct {
	list    func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error)
	watch   func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
	version func(ctx context.Context) (string, error) // the current one
	// gap is called when something may have been missed, once all that comes later is
	// shown; nil: the caller does not want to know.
	gap func()

	mu     sync.Mutex // protects the fields below
	began  time.Time  // when the first request was sent
	listed bool       // whether all objects have been listed
	until  time.Time  // when the watch that was opened last ends by itself; zero: there was none
	failed bool       // whether that was tried since, in vain
}

// List implements cache.ListWatch.
func (w *listWatch) List(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	w.begin()
	list, err := w.list(ctx, options)
	if err == nil {
		w.relisted()
	}
	return list, err
}

// Watch implements cache.ListWatch.
func (w *listWatch) Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
	w.begin()
	sent := time.Now()
	lists := options.SendInitialEvents != nil && *options.SendInitialEvents
	broken := !lists && w.broken(sent)
	var events watch.Interface
	var err error
	if broken {
		err = w.checkVersion(ctx, options.ResourceVersion)
	}
	if err == nil {
		events, err = w.watch(ctx, options)
	}
	if err != nil {
		w.mu.Lock()
		w.failed = !w.until.IsZero()
		w.mu.Unlock()
		return nil, err
	}
	switch {
	case lists:
		w.relisted()
	case broken:
		w.missed()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until, w.failed = sent, false
	if options.TimeoutSeconds != nil {
		w.until = sent.Add(time.Duration(*options.TimeoutSeconds) * time.Second)
	}
	return events, nil
}

func (w *listWatch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.began.IsZero() {
		w.began = time.Now()
	}
}

// broken reports whether the watch that was opened last has ended before its time.
func (w *listWatch) broken(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.failed || now.Before(w.until.Add(-time.Second))
}

// checkVersion returns an error that makes the reflector list anew if the API server is not
// at that version yet.
func (w *listWatch) checkVersion(ctx context.Context, known string) error {
	current, err := w.version(ctx)
	if err != nil {
		return err
	}
	if order, err := resourceversion.CompareResourceVersion(known, current); err == nil && order > 0 {
		return apierrors.NewResourceExpired("the API server has gone back from version " + known + " to " + current)
	}
	return nil
}

// relisted notes that all objects have been listed.
func (w *listWatch) relisted() {
	w.mu.Lock()
	first := !w.listed && time.Since(w.began) < slowStart
	w.listed, w.until, w.failed = true, time.Time{}, false
	w.mu.Unlock()
	if !first {
		w.missed()
	}
}

func (w *listWatch) missed() {
	if w.gap != nil {
		w.gap()
	}
}
