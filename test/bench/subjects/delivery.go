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
	"errors"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/kubelock/kubelock/internal/store"
)

// Delivery measures how soon a client's watch of an object shows another client's update, from the
// moment before the update is sent. No hand-over can be faster.
func Delivery(ctx context.Context, servers Servers, key string, n int) ([]time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	lock, err := mustFloor(ctx, servers, key)
	if err != nil {
		return nil, err
	}
	s, err := servers.Kubernetes.store(&Meter{}, store.DistributedLocks)
	if err != nil {
		return nil, err
	}
	w, err := s.Watcher(key, nil).Watch(metav1.ListOptions{FieldSelector: "metadata.name=" + key}) //nolint:staticcheck // The context ends with the watch.
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	if err := next(ctx, w); err != nil { // The first event has the object before the updates.
		return nil, err
	}
	var times []time.Duration
	for range n {
		sent := time.Now()
		failed := make(chan error, 1)
		go func() { failed <- lock.update(ctx, true) }()
		if err := next(ctx, w); err != nil {
			return nil, err
		}
		times = append(times, time.Since(sent))
		if err := <-failed; err != nil {
			return nil, err
		}
	}
	return times, nil
}

func mustFloor(ctx context.Context, servers Servers, key string) (*floor, error) {
	c, err := floorOf(DistributedLocks).Open(ctx, servers, &Meter{}, Options{})
	if err != nil {
		return nil, err
	}
	l, err := c.Lock(ctx, key)
	if err != nil {
		return nil, err
	}
	f, ok := l.(*floor)
	if !ok {
		return nil, errors.New("bare updates are of another type")
	}
	return f, nil
}

func next(ctx context.Context, w watch.Interface) error {
	select {
	case e, ok := <-w.ResultChan():
		if !ok || e.Type == watch.Error {
			return errors.New("the watch has ended")
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
