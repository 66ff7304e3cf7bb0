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

	"github.com/kubelock/kubelock/api/v1alpha1"
)

// collect deletes the object of a lock that has been free for its objectExpiry. The
// preconditions let anybody win who has touched the lock meanwhile.
func (r *DistributedLockReaper) collect(ctx context.Context, obj *v1alpha1.DistributedLock) error {
	err := r.Client.Delete(ctx, obj, client.Preconditions{UID: &obj.UID, ResourceVersion: &obj.ResourceVersion})
	if err != nil {
		return fmt.Errorf("deleting an unused lock: %w", err)
	}
	objectsDeleted.Inc()
	expiry := obj.Spec.ObjectExpiry.Duration
	log.FromContext(ctx).Info("Deleted a lock that was not used for its objectExpiry", "objectExpiry", expiry)
	r.Events.Eventf(obj, nil, corev1.EventTypeNormal, "ObjectExpired", "DeleteLock",
		"not used for %s, deleted with its state", expiry)
	return nil
}
