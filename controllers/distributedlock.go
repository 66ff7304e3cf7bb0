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
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/store"
)

// FieldManager is the name under which managed fields list the reaper's writes.
const FieldManager = "kubelock-reaper"

// DistributedLockReaper reaps DistributedLocks. Set it up with SetupWithManager.
type DistributedLockReaper struct {
	// Client writes, and reads from a cache that may leave values and managed fields
	// out: see StripForCache.
	Client client.Client
	// Live reads what is about to be written, from the API server.
	Live client.Reader
	// Events gets one event for each thing that was done.
	Events events.EventRecorder
	// ServerTime must see the responses that the manager's clients get. The reaper
	// judges nothing by the clock of its own node.
	ServerTime *servertime.Clock
	// MaxClockSkew is how far the clocks of two API servers may be apart; below 0
	// nothing is judged by their time.
	MaxClockSkew time.Duration
	// Now is the local time, of which only differences are used; time.Now if nil.
	Now func() time.Time
	// Concurrency is how many locks are worked on at once; 0 means 1.
	Concurrency int

	mu sync.Mutex // protects observations
	// observations are since when this process has seen each lock as it is.
	observations map[types.NamespacedName]protocol.Observation
}

// SetupWithManager adds the reaper to a manager.
func (r *DistributedLockReaper) SetupWithManager(mgr ctrl.Manager) error {
	r.observations = map[types.NamespacedName]protocol.Observation{}
	if r.Now == nil {
		r.Now = time.Now
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("distributedlock").
		For(&v1alpha1.DistributedLock{}, builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.Concurrency,
			// One process may reap in several clusters; their metrics then add up.
			SkipNameValidation: new(true),
		}).
		Complete(r)
}

// Reconcile does what is due for one lock, and comes back when the next thing may
// be.
func (r *DistributedLockReaper) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cached := &v1alpha1.DistributedLock{}
	if err := r.Client.Get(ctx, req.NamespacedName, cached); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	action, wait := r.due(req.NamespacedName, store.FromObject(cached))
	if action == nil {
		return ctrl.Result{RequeueAfter: wait}, nil
	}

	// The cache may be behind, and does not have the whole object. What is written is
	// conditioned on what is read here.
	live := &v1alpha1.DistributedLock{}
	if err := r.Live.Get(ctx, req.NamespacedName, live); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	action, wait = r.due(req.NamespacedName, store.FromObject(live))
	if action == nil {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	err := action(ctx, live)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil // The lock has changed, and that event is on its way.
	}
	return ctrl.Result{}, err
}

// action is something that is due for a lock. Its write is conditioned on the
// version that obj shows.
type action func(ctx context.Context, obj *v1alpha1.DistributedLock) error

// due says what is to be done for a lock as it is, or after which time it may be; 0
// if not before the lock changes.
func (r *DistributedLockReaper) due(name types.NamespacedName, lock protocol.Record) (action, time.Duration) {
	now := r.Now()
	r.mu.Lock()
	seen := r.observations[name].Observe(lock, now)
	r.observations[name] = seen
	r.mu.Unlock()

	judge := r.ServerTime.Judge(now, r.MaxClockSkew)
	if lock.Holder != nil {
		expired, wait := judge.Expired(lock, seen)
		if expired {
			return r.expire, 0
		}
		return nil, wait
	}
	if len(lock.Waiters) > 0 {
		// The head will take it, unless nobody has told it or it is dead: who frees a lock
		// gives it to the head, but people may free one by hand.
		if _, wait := judge.Available(lock, seen, 1); wait > 0 {
			return nil, wait
		}
		return r.grant, 0
	}
	if due, wait, ok := judge.Collectable(lock, seen); ok {
		if due {
			return r.collect, 0
		}
		return nil, wait
	}
	return nil, 0
}

func (r *DistributedLockReaper) forget(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.observations, name)
}

// StripForCache is a cache transform. It drops what deciding does not need: states
// may be large and secret, and managed fields are larger than most locks.
func StripForCache(obj any) (any, error) {
	lock, ok := obj.(*v1alpha1.DistributedLock)
	if !ok {
		return nil, fmt.Errorf("got a %T in the cache of DistributedLocks", obj)
	}
	lock.Spec.Value = nil
	lock.ManagedFields = nil
	return lock, nil
}
