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

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// KubelockDo is the name of the subject that uses only kubelock's Do.
const KubelockDo = "kubelock/Do"

// kubelockDo returns a subject that increments a number by Do. Its whole cycle is one call, which
// Release makes: the caller cannot see the moment of the acquisition.
func kubelockDo() Subject {
	return Subject{Name: KubelockDo, Open: func(_ context.Context, servers Servers, meter *Meter, _ Options) (Client, error) {
		c, err := openKubelock(servers, meter, DistributedLocks)
		if err != nil {
			return nil, err
		}
		return doClient{c}, nil
	}}
}

type doClient struct{ *kubelock.Client }

func (c doClient) Lock(_ context.Context, key string) (Lock, error) {
	return doLock{lock: kubelock.NewLock[int](c.Client, key)}, nil
}

type doLock struct {
	unleased

	lock *kubelock.Lock[int]
}

func (l doLock) Acquire(context.Context) (Hold, error) { return l, nil }

func (l doLock) Release(ctx context.Context) error {
	_, err := l.lock.Do(ctx, func(_ context.Context, n int) (int, error) { return n + 1, nil })
	return err
}
