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
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/util/retry"
)

// RetryOnConflict is the name of the subject that works without a lock.
const RetryOnConflict = "RetryOnConflict"

// retryOnConflict returns a subject that increments a number in a ConfigMap as client-go's
// documentation shows: read, change, update, and repeat at a conflict. It uses DefaultBackoff, which
// the documentation recommends for objects with several writers. When RetryOnConflict gives up, the
// writer calls it again.
func retryOnConflict() Subject {
	return Subject{Name: RetryOnConflict, Open: func(_ context.Context, servers Servers, meter *Meter, _ Options) (Client, error) {
		c, err := kubernetes.NewForConfig(servers.Kubernetes.config(meter))
		if err != nil {
			return nil, err
		}
		return writers{c.CoreV1().ConfigMaps(Namespace)}, nil
	}}
}

type writers struct{ maps typed.ConfigMapInterface }

func (writers) Close() error { return nil }

func (c writers) Lock(ctx context.Context, key string) (Lock, error) {
	return writer{maps: c.maps, name: key}, createState(ctx, c.maps, key, "0")
}

// createState creates the ConfigMap of a state, if there is none.
func createState(ctx context.Context, maps typed.ConfigMapInterface, name, state string) error {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"state": state}}
	if _, err := maps.Create(ctx, m, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

type writer struct {
	unleased

	maps typed.ConfigMapInterface
	name string
}

func (w writer) Acquire(context.Context) (Hold, error) { return w, nil }

func (w writer) Release(ctx context.Context) error {
	for {
		err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			m, err := w.maps.Get(ctx, w.name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			n, err := strconv.Atoi(m.Data["state"])
			if err != nil {
				return err
			}
			m.Data["state"] = strconv.Itoa(n + 1)
			_, err = w.maps.Update(ctx, m, metav1.UpdateOptions{})
			return err
		})
		if !apierrors.IsConflict(err) {
			return err
		}
	}
}
