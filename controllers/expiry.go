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
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// expire frees a lock whose holder's lease has ended. The state stays as the holder
// last wrote it.
func (r *DistributedLockReaper) expire(ctx context.Context, obj *v1alpha1.DistributedLock) error {
	lock := store.FromObject(obj)
	free, err := protocol.Expire(lock, r.ServerTime.Stamp(r.Now()))
	if err != nil {
		return err
	}
	if err := r.Client.Update(ctx, store.ToObject(free), client.FieldOwner(FieldManager)); err != nil {
		return fmt.Errorf("freeing an expired lock: %w", err)
	}
	holdersExpired.Inc()
	h := lock.Holder
	log.FromContext(ctx).Info("Freed a lock whose holder did not renew it",
		"holder", h.Identity, "lockID", h.LockID, "renewTime", h.RenewTime, "duration", h.Duration)
	r.Events.Eventf(obj, nil, corev1.EventTypeWarning, "HolderExpired", "FreeLock",
		"%s did not renew its lease of %s in time, the lock is free", h.Identity, h.Duration)
	return nil
}
