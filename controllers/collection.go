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

package controllers

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubelock/kubelock/internal/store"
)

// collect deletes the object of a lock that has been free for its objectExpiry. The
// preconditions let anybody win who has touched the lock meanwhile.
func (r *Reaper) collect(ctx context.Context, obj store.Object) error {
	lock, err := r.Kind.Decode(obj)
	if err != nil {
		return err
	}
	if left, ok := r.Kind.Remains(lock); ok { // Others keep something in it.
		err = r.Client.Update(ctx, left, client.FieldOwner(FieldManager))
	} else {
		err = r.Client.Delete(ctx, obj, client.Preconditions{UID: new(obj.GetUID()), ResourceVersion: new(obj.GetResourceVersion())})
	}
	if err != nil {
		return fmt.Errorf("deleting an unused lock: %w", err)
	}
	objectsDeleted.Inc()
	expiry := lock.ObjectExpiry
	log.FromContext(ctx).Info("Deleted a lock that was not used for its objectExpiry", "objectExpiry", expiry)
	r.Events.Eventf(obj, nil, corev1.EventTypeNormal, "ObjectExpired", "DeleteLock",
		"not used for %s, deleted with its state", expiry)
	return nil
}
