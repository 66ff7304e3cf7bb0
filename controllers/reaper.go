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
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/store"
)

// FieldManager is the name under which managed fields list the reaper's writes.
const FieldManager = "kubelock-reaper"

// Reaper reaps locks of one kind. Set it up with SetupWithManager.
type Reaper struct {
	// Kind is the kind of object that the locks are kept in; store.DistributedLocks if
	// nil.
	Kind store.Kind
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
func (r *Reaper) SetupWithManager(mgr ctrl.Manager) error {
	r.observations = map[types.NamespacedName]protocol.Observation{}
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Kind == nil {
		r.Kind = store.DistributedLocks
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named(r.Kind.Resource().Resource).
		For(r.Kind.New(), builder.WithPredicates(predicate.ResourceVersionChangedPredicate{})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: r.Concurrency,
			// One process may reap in several clusters; their metrics then add up.
			SkipNameValidation: new(true),
		}).
		Complete(r)
}

// Reconcile does what is due for one lock, and comes back when the next thing may
// be.
func (r *Reaper) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cached := r.Kind.New()
	if err := r.Client.Get(ctx, req.NamespacedName, cached); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	action, wait, err := r.due(req.NamespacedName, cached)
	if err != nil {
		return ctrl.Result{}, err
	}
	if action == nil {
		return ctrl.Result{RequeueAfter: wait}, nil
	}

	// The cache may be behind, and does not have the whole object. What is written is
	// conditioned on what is read here.
	live := r.Kind.New()
	if err := r.Live.Get(ctx, req.NamespacedName, live); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	action, wait, err = r.due(req.NamespacedName, live)
	if err != nil {
		return ctrl.Result{}, err
	}
	if action == nil {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	err = action(ctx, live)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil // The lock has changed, and that event is on its way.
	}
	return ctrl.Result{}, err
}

// action is something that is due for the lock in obj. Its write is conditioned on the
// version that obj shows.
type action func(ctx context.Context, obj store.Object) error

// due says what is to be done for the lock in obj as it is, or after which time it may
// be; 0 if not before the lock changes. An error means that obj cannot be read, until
// somebody repairs it.
func (r *Reaper) due(name types.NamespacedName, obj store.Object) (action, time.Duration, error) {
	lock, err := r.Kind.Decode(obj)
	if err != nil {
		return nil, 0, reconcile.TerminalError(err)
	}
	action, wait := r.dueFor(name, lock)
	return action, wait, nil
}

func (r *Reaper) dueFor(name types.NamespacedName, lock protocol.Record) (action, time.Duration) {
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

func (r *Reaper) forget(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.observations, name)
}

// StripForCache returns a cache transform that drops what deciding does not need.
func StripForCache(kind store.Kind) toolscache.TransformFunc {
	return func(obj any) (any, error) { return obj, kind.Strip(obj) }
}
