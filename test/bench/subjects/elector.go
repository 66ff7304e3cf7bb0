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
	"fmt"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Elector is the name of client-go's leader election.
const Elector = "leaderelection"

// The shortest durations with which leader election works well:
//
//   - Its validation requires LeaseDuration > RenewDeadline > 1.2 RetryPeriod > 0.
//   - A LeaseDuration below one second is stored as 0 seconds, and the API server refuses that.
//   - With a RetryPeriod far below the time of a request, each candidate sends without a pause, and
//     all of them together are slower.
const (
	electorLease = time.Second
	electorRetry = 10 * time.Millisecond
)

// elector uses leader election as a lock: lead, change the state, release. A Lease has no room for a
// state, so the leader reads and updates it in a ConfigMap.
func elector() Subject {
	return Subject{Name: Elector, Open: func(_ context.Context, servers Servers, meter *Meter, o Options) (Client, error) {
		c, err := kubernetes.NewForConfig(servers.Kubernetes.config(meter))
		if err != nil {
			return nil, err
		}
		return &electorClient{c, o}, nil
	}}
}

type electorClient struct {
	*kubernetes.Clientset

	options Options
}

func (c *electorClient) Close() error { return nil }

func (c *electorClient) Lock(ctx context.Context, key string) (Lock, error) {
	id := uuid.NewString()
	l := &electorLock{client: c, key: key, lease: &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: Namespace, Name: key}, Client: c.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: id},
	}}
	return l, createState(ctx, c.CoreV1().ConfigMaps(Namespace), key, text(0, c.options.Size))
}

type electorLock struct {
	client *electorClient
	key    string
	lease  *resourcelock.LeaseLock
	n      int
}

func (l *electorLock) Acquire(ctx context.Context) (Hold, error) {
	duration := max(l.client.options.Lease, electorLease)
	// A hold outlives the context of its acquisition.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h := &electorHold{lock: l, cancel: cancel, ended: make(chan struct{})}
	leading := make(chan struct{})
	e, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: l.lease, LeaseDuration: duration, RenewDeadline: duration * 9 / 10, RetryPeriod: electorRetry, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { close(leading) },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(h.ended)
		e.Run(running)
	}()
	select {
	case <-leading:
		return h, nil
	case <-ctx.Done():
		cancel()
		<-h.ended
		return nil, ctx.Err()
	}
}

type electorHold struct {
	lock   *electorLock
	cancel context.CancelFunc
	ended  chan struct{} // closed when the elector has released the lease
}

func (h *electorHold) Release(ctx context.Context) error {
	l := h.lock
	maps := l.client.CoreV1().ConfigMaps(Namespace)
	m, err := maps.Get(ctx, l.key, metav1.GetOptions{})
	if err == nil {
		l.n++
		m.Data["state"] = text(l.n, l.client.options.Size)
		_, err = maps.Update(ctx, m, metav1.UpdateOptions{})
	}
	h.cancel()
	<-h.ended
	return err
}

func (h *electorHold) End(ctx context.Context) (time.Time, error) {
	l, err := h.lock.client.CoordinationV1().Leases(Namespace).Get(ctx, h.lock.key, metav1.GetOptions{})
	if err != nil {
		return time.Time{}, err
	}
	if l.Spec.RenewTime == nil || l.Spec.LeaseDurationSeconds == nil {
		return time.Time{}, errors.New("the lease is not held")
	}
	if *l.Spec.HolderIdentity != h.lock.lease.Identity() {
		return time.Time{}, fmt.Errorf("the lease is held by %s", *l.Spec.HolderIdentity)
	}
	return l.Spec.RenewTime.Add(time.Duration(*l.Spec.LeaseDurationSeconds) * time.Second), nil
}

func (h *electorHold) Lost() bool {
	select {
	case <-h.ended:
		return true
	default:
		return false
	}
}
