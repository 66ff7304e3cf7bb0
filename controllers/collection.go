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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// KeepAnnotation is the annotation that keeps an object for ever, if its value is "true":
// it is not deleted, how long ever it is not used.
const KeepAnnotation = "kubelock.dev/keep"

// concernCollection reports whether a lock may have to be deleted before all are looked
// at again.
func (r *Reaper) concernCollection(lock protocol.Record) bool {
	judge := r.guess()
	_, wait, ok := judge.Collectable(lock, protocol.Observation{Since: judge.Now})
	return ok && (wait <= horizon || !judge.Compares(lock.LastTransition().Source))
}

// collectionDue says whether a lock has been free for its objectExpiry.
func (r *Reaper) collectionDue(_ context.Context, _ types.NamespacedName, lock protocol.Record, seen protocol.Observation, judge protocol.Judge) (action, time.Duration) {
	if seen.Since.IsZero() { // The API server's time is all that there is to judge by.
		seen.Since = judge.Now
	}
	due, wait, ok := judge.Collectable(lock, seen)
	if ok && due {
		return r.collect, 0
	}
	return nil, wait
}

// limited lets what is due wait for its share of the rate.
func (r *Reaper) limited(limiter *rate.Limiter, inner due) due {
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

// collect deletes the object of a lock that has been free for its objectExpiry. The
// preconditions let anybody win who has touched the lock meanwhile.
func (r *Reaper) collect(ctx context.Context, obj store.Object) error {
	lock, err := r.Kind.Decode(obj)
	if err != nil {
		return err
	}
	logger := log.FromContext(ctx).WithValues("objectExpiry", lock.ObjectExpiry)
	if r.DryRun {
		logger.Info("Would delete a lock that was not used for its objectExpiry")
		r.Events.Eventf(obj, nil, corev1.EventTypeNormal, "ObjectExpired", "DeleteLock",
			"not used for %s, would be deleted with its state", lock.ObjectExpiry)
		return nil
	}
	if left, ok := r.Kind.Remains(lock); ok { // Others keep something in it.
		err = r.Client.Update(ctx, left, client.FieldOwner(FieldManager))
	} else {
		err = r.Client.Delete(ctx, obj, client.Preconditions{UID: new(obj.GetUID()), ResourceVersion: new(obj.GetResourceVersion())})
	}
	if err != nil {
		return fmt.Errorf("deleting an unused lock: %w", err)
	}
	if keeps := obj.GetFinalizers(); len(keeps) > 0 { // It is counted by nothing until it has gone, and may never go.
		logger.Info("Asked for the deletion of a lock that was not used for its objectExpiry, finalizers keep it", "finalizers", keeps)
		r.Events.Eventf(obj, nil, corev1.EventTypeNormal, "ObjectExpired", "DeleteLock",
			"not used for %s, will be deleted with its state when these finalizers are removed: %s", lock.ObjectExpiry, strings.Join(keeps, ", "))
		return nil
	}
	objectsDeleted.Inc()
	logger.Info("Deleted a lock that was not used for its objectExpiry")
	r.Events.Eventf(obj, nil, corev1.EventTypeNormal, "ObjectExpired", "DeleteLock",
		"not used for %s, deleted with its state", lock.ObjectExpiry)
	return nil
}
