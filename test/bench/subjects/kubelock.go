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
	"sync/atomic"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// The kinds of objects in which kubelock stores locks.
const (
	DistributedLocks = "distributedlocks"
	Leases           = "leases"
	ConfigMaps       = "configmaps"
)

var backends = map[string]kubelock.Backend{
	DistributedLocks: kubelock.DistributedLocks, Leases: kubelock.Leases, ConfigMaps: kubelock.ConfigMaps,
}

// KubelockOn returns the name of the subject that uses kubelock with objects of that kind.
func KubelockOn(kind string) string { return "kubelock/" + kind }

func kubelockOn(kind string) Subject {
	return Subject{Name: KubelockOn(kind), Open: func(_ context.Context, servers Servers, meter *Meter, o Options) (Client, error) {
		c, err := openKubelock(servers, meter, kind)
		if err != nil {
			return nil, err
		}
		return &kubelockClient{c, o}, nil
	}}
}

func openKubelock(servers Servers, meter *Meter, kind string) (*kubelock.Client, error) {
	return kubelock.NewClient(servers.Kubernetes.config(meter), kubelock.Config{Namespace: Namespace, Backend: backends[kind]})
}

type kubelockClient struct {
	*kubelock.Client

	options Options
}

func (c *kubelockClient) Lock(_ context.Context, key string) (Lock, error) {
	l := &kubelockLock{lock: kubelock.NewLock[string](c.Client, key), size: c.options.Size}
	l.with = append(l.with, kubelock.WithDuration(c.options.lease()))
	if c.options.Renew {
		l.with = append(l.with, kubelock.WithAutoRenew())
	}
	return l, nil
}

type kubelockLock struct {
	lock *kubelock.Lock[string]
	with []kubelock.Option
	size int
	n    atomic.Int64
}

func (l *kubelockLock) Acquire(ctx context.Context) (Hold, error) {
	held, err := l.lock.Acquire(ctx, l.with...)
	if err != nil {
		return nil, err
	}
	return &kubelockHold{held, l}, nil
}

type kubelockHold struct {
	*kubelock.Held[string]

	lock *kubelockLock
}

func (h *kubelockHold) Release(ctx context.Context) error {
	return h.Update(text(int(h.lock.n.Add(1)), h.lock.size)).Release(ctx)
}

func (h *kubelockHold) End(context.Context) (time.Time, error) { return h.Deadline(), nil }

func (h *kubelockHold) Lost() bool { return errors.Is(context.Cause(h.Context()), kubelock.ErrLost) }
