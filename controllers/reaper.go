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

	"golang.org/x/time/rate"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/store"
)

// FieldManager is the name under which managed fields list the reaper's writes.
const FieldManager = "kubelock-reaper"

// SyncPeriod is how often the manager's cache must show the reaper every lock again: for
// what is due later than the next time, the reaper sets no timer.
const SyncPeriod = time.Hour

// horizon is up to when the reaper sets a timer for what will be due. Informers add a
// tenth to their period.
const horizon = SyncPeriod * 5 / 4

// DefaultCollectionRate is how many unused locks a reaper deletes in a second.
const DefaultCollectionRate = 50

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
	// CollectionRate is how many unused locks are deleted in a second at most; 0 means
	// DefaultCollectionRate. Their number does not slow anything else down.
	CollectionRate float64
	// DryRun tells, by log and event, which unused locks would be deleted, and deletes
	// none.
	DryRun bool

	mu sync.Mutex // protects observations
	// observations are since when this process has seen each lock as it is, where the
	// API server's time does not tell.
	observations map[types.NamespacedName]protocol.Observation
}

// SetupWithManager adds the reaper to a manager whose cache has the SyncPeriod. It has two
// controllers: one for holders and queues, and one for what is not used any more, so
// that neither keeps the other waiting.
func (r *Reaper) SetupWithManager(mgr ctrl.Manager) error {
	r.observations = map[types.NamespacedName]protocol.Observation{}
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Kind == nil {
		r.Kind = store.DistributedLocks
	}
	if r.CollectionRate <= 0 {
		r.CollectionRate = DefaultCollectionRate
	}
	name := r.Kind.Resource().Resource
	err := r.add(mgr, name, r.Concurrency, r.holdersConcern, reconcile.Func(func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
		return r.reconcile(ctx, req, r.holderDue)
	}))
	if err != nil {
		return err
	}
	if err := r.count(mgr); err != nil {
		return err
	}
	limiter := rate.NewLimiter(rate.Limit(r.CollectionRate), int(max(r.CollectionRate, 1)))
	return r.add(mgr, name+"-collection", 1, r.collectionConcerns, reconcile.Func(func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
		return r.reconcile(ctx, req, r.limited(limiter, r.collectionDue))
	}))
}

// add adds a controller for the locks that concern it, or did before they changed. The
// others, which are most of many, never get into its queue, whose memory grows with all
// that was in it at once.
func (r *Reaper) add(mgr ctrl.Manager, name string, concurrency int, concerns func(protocol.Record, store.Object) bool, reconciler reconcile.Reconciler) error {
	of := func(obj client.Object) bool {
		lock, err := r.Kind.Decode(obj)
		if err != nil {
			return true // It is reported.
		}
		typed, ok := obj.(store.Object)
		return !ok || concerns(lock, typed)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named(name).
		For(r.Kind.New(), builder.WithPredicates(predicate.Funcs{
			CreateFunc: func(e event.CreateEvent) bool { return of(e.Object) },
			UpdateFunc: func(e event.UpdateEvent) bool { return of(e.ObjectNew) || of(e.ObjectOld) },
			DeleteFunc: func(e event.DeleteEvent) bool { return r.observes(client.ObjectKeyFromObject(e.Object)) },
		})).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			// One process may reap in several clusters; their metrics then add up.
			SkipNameValidation: new(true),
		}).
		Complete(reconciler)
}

// action is something that is due for the lock in obj. Its write is conditioned on the
// version that obj shows.
type action func(ctx context.Context, obj store.Object) error

// due says what is to be done for a lock as it is, or after which time it may be; 0 if
// not before the lock changes.
type due func(ctx context.Context, name types.NamespacedName, obj store.Object, lock protocol.Record) (action, time.Duration)

// reconcile does what is due for one lock, and comes back when the next thing may be.
func (r *Reaper) reconcile(ctx context.Context, req ctrl.Request, due due) (ctrl.Result, error) {
	cached := r.Kind.New()
	if err := r.Client.Get(ctx, req.NamespacedName, cached); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, failed(err)
	}
	action, wait, err := r.decide(ctx, req, cached, due)
	if action == nil || err != nil {
		return later(wait), failed(err)
	}

	// The cache may be behind, and does not have the whole object. What is written is
	// conditioned on what is read here.
	live := r.Kind.New()
	if err := r.Live.Get(ctx, req.NamespacedName, live); err != nil {
		return ctrl.Result{}, failed(client.IgnoreNotFound(err))
	}
	action, wait, err = r.decide(ctx, req, live, due)
	if action == nil || err != nil {
		return later(wait), failed(err)
	}
	err = action(ctx, live)
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil // The lock has changed, and that event is on its way.
	}
	return ctrl.Result{}, failed(err)
}

// decide asks due. Its error means that obj cannot be read, until somebody repairs it.
func (r *Reaper) decide(ctx context.Context, req ctrl.Request, obj store.Object, due due) (action, time.Duration, error) {
	lock, err := r.Kind.Decode(obj)
	if err != nil {
		return nil, 0, reconcile.TerminalError(err)
	}
	action, wait := due(ctx, req.NamespacedName, obj, lock)
	return action, wait, nil
}

// later is when to come back for something that may be due after that time, if the cache
// does not show the lock again before.
func later(wait time.Duration) ctrl.Result {
	if wait > horizon {
		return ctrl.Result{}
	}
	return ctrl.Result{RequeueAfter: wait}
}

// observe is since when this process has seen the lock as it is. It is remembered only
// where the API server's time does not tell.
func (r *Reaper) observe(name types.NamespacedName, lock protocol.Record, judge protocol.Judge) protocol.Observation {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.observations[name].Observe(lock, judge.Now)
	if lock.Holder == nil && len(lock.Waiters) == 0 && judge.Compares(lock.LastTransition().Source) {
		delete(r.observations, name)
	} else {
		r.observations[name] = seen
	}
	return seen
}

// observes reports whether something is remembered of a lock.
func (r *Reaper) observes(name types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.observations[name]
	return ok
}

func (r *Reaper) forget(name types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.observations, name)
}

// holdersConcern reports whether somebody holds a lock or waits for it.
func (r *Reaper) holdersConcern(lock protocol.Record, _ store.Object) bool {
	return lock.Holder != nil || len(lock.Waiters) > 0
}

// holderDue says what is due for the holder of a lock and for those who wait for it.
func (r *Reaper) holderDue(_ context.Context, name types.NamespacedName, _ store.Object, lock protocol.Record) (action, time.Duration) {
	judge := r.ServerTime.Judge(r.Now(), r.MaxClockSkew)
	seen := r.observe(name, lock, judge)
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
	return nil, 0
}

// StripForCache returns a cache transform that drops what deciding does not need.
func StripForCache(kind store.Kind) toolscache.TransformFunc {
	return func(obj any) (any, error) { return obj, kind.Strip(obj) }
}
