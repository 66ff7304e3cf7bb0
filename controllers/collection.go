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
	"strings"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// KeepAnnotation is the annotation that protects an object from collection. While its value
// is "true", the reaper does not delete the object, however long the lock is unused.
const KeepAnnotation = "kubelock.dev/keep"

// collectableSoon reports whether a lock may have to be deleted before the next resync.
func (r *Reaper) collectableSoon(lock protocol.Record) bool {
	judge := r.guess()
	_, wait, ok := judge.Collectable(lock, protocol.Observation{Since: judge.Now})
	return ok && (wait <= timerHorizon || !judge.Compares(lock.LastTransition().Source))
}

// decideCollection returns the deletion of a lock that has been free for its objectExpiry, or
// how long to wait for that.
func (r *Reaper) decideCollection(_ context.Context, _ types.NamespacedName, lock protocol.Record, seen protocol.Observation, judge protocol.Judge) (action, time.Duration) {
	if seen.Since.IsZero() { // The cache does not observe this lock: the API server's time decides alone.
		seen.Since = judge.Now
	}
	due, wait, ok := judge.Collectable(lock, seen)
	if ok && due {
		return r.collect, 0
	}
	return nil, wait
}

// rateLimited returns a decider that waits for the limiter before it returns an action of
// inner for the first time.
func (r *Reaper) rateLimited(limiter *rate.Limiter, inner decider) decider {
	waited := false
	return func(ctx context.Context, name types.NamespacedName, lock protocol.Record, seen protocol.Observation, judge protocol.Judge) (action, time.Duration) {
		action, wait := inner(ctx, name, lock, seen, judge)
		if action != nil && !waited {
			waited = true
			if limiter.Wait(ctx) != nil {
				return nil, 0 // The reaper ends.
			}
		}
		return action, wait
	}
}

// collect deletes the object of a lock that has been free for its objectExpiry. The deletion
// carries preconditions: it fails if another writer has changed the lock since the read.
func (r *Reaper) collect(ctx context.Context, in store.Store, lock protocol.Record) error {
	logger := log.FromContext(ctx).WithValues("objectExpiry", lock.ObjectExpiry)
	if r.DryRun {
		logger.Info("Would delete a lock that was not used for its objectExpiry")
		r.Events.Eventf(object(lock), nil, corev1.EventTypeNormal, "ObjectExpired", "DeleteLock",
			"not used for %s, would be deleted with its state", lock.ObjectExpiry)
		return nil
	}
	if _, err := in.Delete(ctx, lock); err != nil {
		return fmt.Errorf("deleting an unused lock: %w", err)
	}
	if keeps := object(lock).GetFinalizers(); len(keeps) > 0 { // The object may stay without end, so no metric counts it as deleted.
		logger.Info("Asked for the deletion of a lock that was not used for its objectExpiry, finalizers keep it", "finalizers", keeps)
		r.Events.Eventf(object(lock), nil, corev1.EventTypeNormal, "ObjectExpired", "DeleteLock",
			"not used for %s, will be deleted with its state when these finalizers are removed: %s", lock.ObjectExpiry, strings.Join(keeps, ", "))
		return nil
	}
	objectsDeleted.Inc()
	r.collected.deleted.Add(1)
	logger.V(1).Info("Deleted a lock that was not used for its objectExpiry")
	r.Events.Eventf(object(lock), nil, corev1.EventTypeNormal, "ObjectExpired", "DeleteLock",
		"not used for %s, deleted with its state", lock.ObjectExpiry)
	return nil
}

// logDeletions logs regularly how many locks were deleted, until ctx ends.
func (r *Reaper) logDeletions(ctx context.Context) error {
	r.collected.report(ctx, r.Kind.Resource().Resource)
	return nil
}
