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

// ApplyOn returns the name of the subject that uses only kubelock's Apply, with objects of that kind.
func ApplyOn(kind string) string { return "kubelock/Apply/" + kind }

// applyOn returns a subject that increments a number by Apply. Its whole cycle is one call, which
// Release makes, as with kubelockDo.
func applyOn(kind string) Subject {
	return Subject{Name: ApplyOn(kind), Open: func(_ context.Context, servers Servers, meter *Meter, _ Options) (Client, error) {
		c, err := openKubelock(servers, meter, kind)
		if err != nil {
			return nil, err
		}
		return applyClient{c}, nil
	}}
}

type applyClient struct{ *kubelock.Client }

func (c applyClient) Lock(_ context.Context, key string) (Lock, error) {
	return applyLock{lock: kubelock.NewLock[int](c.Client, key)}, nil
}

type applyLock struct {
	unleased

	lock *kubelock.Lock[int]
}

func (l applyLock) Acquire(context.Context) (Hold, error) { return l, nil }

func (l applyLock) Release(ctx context.Context) error {
	_, err := l.lock.Apply(ctx, func(n int) (int, error) { return n + 1, nil })
	return err
}
