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

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
)

// create creates that many locks, as the library writes them.
func (b *bench) create(ctx context.Context, locks int) error {
	now := metav1.NowMicro()
	return b.parallel(ctx, locks, func(ctx context.Context, n int) error {
		obj := &v1alpha1.DistributedLock{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("lock-%06d", n)},
			Spec: v1alpha1.DistributedLockSpec{
				Value: new(`{"state":"of some length, as a program may keep it"}`), Waiters: []string{}, Transitions: 3,
				ObjectExpiry: &v1alpha1.Duration{Duration: metav1.Duration{Duration: 24 * time.Hour}.Duration},
				LastRelease: &v1alpha1.LastRelease{
					LockID: fmt.Sprintf("nabaue2b3fxt6rwh6qmz2rjbh7-%d", n), Identity: "worker-7d4f9c6b5-x2x7q", Token: 4711,
					Time: now, TimeSource: v1alpha1.TimeSourceServer, Reason: v1alpha1.ReasonReleased,
				},
			},
		}
		if n%100 < heldPerCent {
			hold(obj, now, 24*time.Hour)
		}
		return b.client.Create(ctx, obj)
	})
}

// hold adds a holder to obj.
func hold(obj *v1alpha1.DistributedLock, since metav1.MicroTime, lasts time.Duration) {
	obj.Labels = map[string]string{v1alpha1.HolderLabel: "nabaue2b3fxt6rwh6qmz2rjbh7"}
	obj.Spec.Holder = &v1alpha1.Holder{
		Identity: "worker-7d4f9c6b5-x2x7q", Client: "nabaue2b3fxt6rwh6qmz2rjbh7", LockID: "nabaue2b3fxt6rwh6qmz2rjbh7-" + obj.Name[5:], Token: 4712,
		AcquireTime: since, RenewTime: since, RenewTimeSource: v1alpha1.TimeSourceServer, Duration: metav1.Duration{Duration: lasts},
	}
}

// expire creates that many locks whose leases end at the same instant, and returns how long after that
// the reaper has freed the last of them.
func (b *bench) expire(ctx context.Context, locks int) (time.Duration, error) {
	const lasts = 15 * time.Second
	now := &v1alpha1.DistributedLockList{}
	if err := b.client.List(ctx, now, client.InNamespace(namespace), client.Limit(1)); err != nil {
		return 0, err
	}
	w, err := b.client.Watch(ctx, now, client.InNamespace(namespace), &client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: now.ResourceVersion}})
	if err != nil {
		return 0, err
	}
	defer w.Stop()
	cleared := make(chan error, 1)
	go func() { cleared <- awaitCleared(ctx, w, locks) }() // Start now: the API server ends a watch whose client does not read it.
	begun := metav1.NowMicro()
	end := begun.Add(lasts)
	err = b.parallel(ctx, locks, func(ctx context.Context, n int) error {
		obj := &v1alpha1.DistributedLock{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("dead-%06d", n)}}
		hold(obj, begun, lasts)
		return b.client.Create(ctx, obj)
	})
	if err != nil {
		return 0, err
	}
	if time.Now().After(end) {
		return 0, fmt.Errorf("making %d locks took longer than their lease of %v: choose fewer", locks, lasts)
	}
	err = <-cleared
	return time.Since(end), err
}

// awaitCleared returns when that many locks have been freed.
func awaitCleared(ctx context.Context, w watch.Interface, locks int) error {
	timeout := time.After(2 * time.Minute)
	for cleared := 0; cleared < locks; {
		select {
		case event, ok := <-w.ResultChan():
			if !ok {
				return errors.New("the watch of the locks has ended")
			}
			obj, ok := event.Object.(*v1alpha1.DistributedLock)
			if ok && event.Type == watch.Modified && strings.HasPrefix(obj.Name, "dead-") && obj.Spec.Holder == nil {
				cleared++
			}
		case <-timeout:
			return fmt.Errorf("only %d of %d holders are cleared", cleared, locks)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// parallel calls do for each number below n, several at once.
func (b *bench) parallel(ctx context.Context, n int, do func(ctx context.Context, n int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for n := range numbers {
				if err := do(ctx, n); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		numbers <- i
	}
	close(numbers)
	all.Wait()
	return context.Cause(ctx)
}
