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
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// expire ends a hold whose lease has ended, and grants the lock to the first waiter, if there
// is one. In an object that is being deleted it only ends the hold. The state stays as the
// holder last wrote it.
func (r *Reaper) expire(ctx context.Context, in store.Store, lock protocol.Record) error {
	at := r.ServerTime.Reading().Stamp(r.Now())
	next, err := protocol.Expire(lock, nil, at)
	if err != nil {
		return err
	}
	if _, err := in.Update(ctx, next); err != nil {
		return fmt.Errorf("ending an expired hold: %w", err)
	}
	h := lock.Holder
	if lock.Resting() {
		r.rested(ctx, lock, next)
		return nil
	}
	observeExpiry(h, at)
	logger := log.FromContext(ctx).WithValues("holder", h.Identity, "lockID", h.LockID, "renewTime", h.RenewTime, "duration", h.Duration)
	if next.Holder == nil {
		logger.Info("Freed a lock whose holder did not renew it")
		r.Events.Eventf(object(lock), nil, corev1.EventTypeWarning, "HolderExpired", "FreeLock",
			"%s did not renew its lease of %s in time, the lock is free", h.Identity, h.Duration)
		return nil
	}
	locksGranted.Inc()
	logger.Info("Granted a lock whose holder did not renew it to its first waiter", "waiter", next.Holder.Identity, "waiterLockID", next.Holder.LockID)
	r.Events.Eventf(object(lock), nil, corev1.EventTypeWarning, "HolderExpired", "GrantLock",
		"%s did not renew its lease of %s in time, %s has the lock now", h.Identity, h.Duration, next.Holder.Identity)
	return nil
}

// rested tells that a lock has rested for as long as its last holder wanted. No holder has failed.
func (r *Reaper) rested(ctx context.Context, lock, next protocol.Record) {
	logger := log.FromContext(ctx).WithValues("lastHolder", lock.Holder.Identity, "duration", lock.Holder.Duration)
	if next.Holder == nil {
		logger.Info("Freed a lock that had rested")
		return
	}
	locksGranted.Inc()
	logger.Info("Granted a lock that had rested to its first waiter", "holder", next.Holder.Identity, "lockID", next.Holder.LockID)
	r.Events.Eventf(object(lock), nil, corev1.EventTypeNormal, "LockGranted", "GrantLock",
		"the lock had rested, and %s was first in its queue", next.Holder.Identity)
}

// grant makes the first waiter of a free lock its holder.
func (r *Reaper) grant(ctx context.Context, in store.Store, lock protocol.Record) error {
	next, err := protocol.Grant(lock, r.ServerTime.Reading().Stamp(r.Now()))
	if err != nil {
		return err
	}
	if _, err := in.Update(ctx, next); err != nil {
		return fmt.Errorf("granting a free lock: %w", err)
	}
	if next.Holder == nil {
		log.FromContext(ctx).Info("Emptied a queue that no client wrote")
		return nil
	}
	locksGranted.Inc()
	log.FromContext(ctx).Info("Granted a free lock to its first waiter", "holder", next.Holder.Identity, "lockID", next.Holder.LockID)
	r.Events.Eventf(object(lock), nil, corev1.EventTypeNormal, "LockGranted", "GrantLock",
		"the lock was free and %s was first in its queue", next.Holder.Identity)
	return nil
}
