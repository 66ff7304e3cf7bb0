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
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/time/rate"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/store"
)

// FieldManager is the name under which managed fields list the reaper's writes.
const FieldManager = "kubelock-reaper"

// resyncPeriod is how often the reaper looks at all locks again: for what is due later
// than the next time, it sets no timer.
const resyncPeriod = time.Hour

// horizon is up to when the reaper sets a timer for what will be due. Reflectors resync
// when they can.
const horizon = resyncPeriod * 5 / 4

// DefaultCollectionRate is how many unused locks a reaper deletes in a second.
const DefaultCollectionRate = 50

// Reaper reaps locks of one kind. Set it up with SetupWithManager.
type Reaper struct {
	// Kind is the kind of object that the locks are kept in; store.DistributedLocks if
	// nil.
	Kind store.Kind
	// Namespaces are those to reap in; none means all.
	Namespaces []string
	// Client writes.
	Client client.Client
	// Live reads what is about to be written, from the API server.
	Live client.Reader
	// Events gets one event for each thing that was done.
	Events events.EventRecorder
	// ServerTime must see the responses that the manager's clients get. The reaper
	// judges nothing by the clock of its own node, and nothing by what these responses hint
	// at only: before it acts, it asks the server for its time.
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

	// PodWitness ends the hold of a client whose Pod has terminated, without waiting for the
	// end of its lease, if others wait for the lock.
	PodWitness bool
	// PodWatches is how many Pods are watched for that at once at most; 0 means
	// DefaultPodWatches. Where more are witnesses, the others' turn comes when one of these
	// is not needed any more.
	PodWatches int

	refusals refusals
	cache    *lockCache
	witness  *witness // nil without PodWitness
	asker    *servertime.Asker
}

// SetupWithManager adds the reaper to a manager, whose cache it does not use. It has two
// controllers: one for holders and queues, and one for what is not used any more, so
// that neither keeps the other waiting. The locks that concern neither, which are most of
// many, never get into a queue, whose memory grows with all that was in it at once.
func (r *Reaper) SetupWithManager(mgr ctrl.Manager) error {
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Kind == nil {
		r.Kind = store.DistributedLocks
	}
	if r.CollectionRate <= 0 {
		r.CollectionRate = DefaultCollectionRate
	}
	namespaces := r.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{metav1.NamespaceAll}
	}
	var err error
	if r.asker, err = servertime.NewAsker(mgr.GetConfig(), mgr.GetHTTPClient(), r.ServerTime, r.Now); err != nil {
		return err
	}
	r.cache = newLockCache(r.Kind, namespaces, r.guess)
	if err := mgr.Add(watching{r.cache, mgr}); err != nil {
		return err
	}
	for _, show := range []manager.RunnableFunc{r.cache.countWhile, r.cache.showOverdue} {
		if err := mgr.Add(show); err != nil {
			return err
		}
	}
	if r.PodWitness {
		pods, err := corev1client.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
		if err != nil {
			return fmt.Errorf("watching Pods: %w", err)
		}
		r.witness = newWitness(r.cache, pods, cmp.Or(r.PodWatches, DefaultPodWatches))
		if err := mgr.Add(r.witness); err != nil {
			return err
		}
	}
	name := r.Kind.Resource().Resource
	limiter := rate.NewLimiter(rate.Limit(r.CollectionRate), int(max(r.CollectionRate, 1)))
	return errors.Join(
		r.add(mgr, name, r.Concurrency, concernHolders, func() due { return r.holderDue }),
		r.add(mgr, name+"-collection", 1, r.concernCollection, func() due { return r.limited(limiter, r.collectionDue) }),
	)
}

// HasSynced reports whether the reaper, once its manager has started, knows all locks.
func (r *Reaper) HasSynced() bool {
	select {
	case <-r.cache.synced:
		return true
	default:
		return false
	}
}

// add adds a controller for the locks that concern it.
func (r *Reaper) add(mgr ctrl.Manager, name string, concurrency int, concerns func(protocol.Record) bool, due func() due) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named(name).
		WatchesRawSource(changes{r.cache, concerns}).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			// One process may reap in several clusters; their metrics then add up.
			SkipNameValidation: new(true),
			RateLimiter:        workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstPause, maxPause),
		}).
		Complete(reconcile.Func(func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
			return r.reconcile(ctx, req, due())
		}))
}

// action is something that is due for the lock in obj. Its write is conditioned on the
// version that obj shows.
type action func(ctx context.Context, obj store.Object) error

// due says what is to be done for a lock that has been seen as it is for some time, or
// after which time it may be; 0 if not before the lock changes.
// It judges by judge.
type due func(ctx context.Context, name types.NamespacedName, lock protocol.Record, seen protocol.Observation, judge protocol.Judge) (action, time.Duration)

// reconcile does what is due for one lock, and comes back when the next thing may be.
func (r *Reaper) reconcile(ctx context.Context, req ctrl.Request, due due) (ctrl.Result, error) {
	lock, seen, ok, err := r.cache.get(req.NamespacedName)
	if !ok || err != nil {
		r.refusals.forget(req.NamespacedName)
		return ctrl.Result{}, failed(unreadable(err))
	}
	action, wait := due(ctx, req.NamespacedName, lock, seen, r.guess())
	if action == nil {
		r.refusals.forget(req.NamespacedName)
		return later(wait), nil
	}

	// The cache may be behind, and does not have the whole object. What is written is
	// conditioned on what is read here.
	live := r.Kind.New()
	if err := r.Live.Get(ctx, req.NamespacedName, live); err != nil {
		return ctrl.Result{}, failed(client.IgnoreNotFound(err))
	}
	if lock, err = decode(r.Kind, live); err != nil {
		return ctrl.Result{}, failed(unreadable(err))
	}
	seen = seen.Observe(lock, r.Now())
	action, wait = due(ctx, req.NamespacedName, lock, seen, r.judge())
	if may, _ := due(ctx, req.NamespacedName, lock, seen, r.guess()); action == nil && may != nil && !r.judge().Compares(protocol.Server) {
		if err := r.asker.Ask(ctx); err != nil {
			log.FromContext(ctx).V(1).Info("Could not ask the API server for its time, will go by what is seen of locks", "err", err)
			wait = max(wait, time.Second) // It may be refused for long: see Asker.
		} else {
			action, wait = due(ctx, req.NamespacedName, lock, seen, r.judge())
		}
	}
	if action == nil {
		return later(wait), nil
	}
	err = action(ctx, live)
	if store.OutcomeOf(err) != store.Stale {
		r.refusals.forget(req.NamespacedName)
		return ctrl.Result{}, failed(err)
	}
	if r.refusals.again(req.NamespacedName, live.GetResourceVersion()) {
		return ctrl.Result{}, failed(fmt.Errorf("it was refused, although the lock has not changed: %w", err))
	}
	// The lock has changed, and that event is on its way. Otherwise nothing else would come back to it.
	return ctrl.Result{Requeue: true}, nil //nolint:staticcheck // The pause grows, as after an error.
}

// decode reads obj as a lock to decide about: one that is kept without end does not expire.
func decode(kind store.Kind, obj store.Object) (protocol.Record, error) {
	lock, err := kind.Decode(obj)
	if obj.GetAnnotations()[KeepAnnotation] == "true" {
		lock.ObjectExpiry = 0
	}
	return lock, err
}

// unreadable makes err, if it is one, an error that is not tried again: somebody has to
// repair the object.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return reconcile.TerminalError(err)
}

// later is when to come back for something that may be due after that time, if the cache
// does not show the lock again before.
func later(wait time.Duration) ctrl.Result {
	if wait > horizon {
		return ctrl.Result{}
	}
	return ctrl.Result{RequeueAfter: wait}
}

// judge is what the reaper judges by now.
func (r *Reaper) judge() protocol.Judge { return r.ServerTime.Judge(r.Now(), r.MaxClockSkew) }

// guess tells when it is worth looking closer: see servertime.Clock.
func (r *Reaper) guess() protocol.Judge { return r.ServerTime.Guess(r.Now(), r.MaxClockSkew) }

// concernHolders reports whether somebody holds a lock or waits for it.
func concernHolders(lock protocol.Record) bool { return lock.Holder != nil || len(lock.Waiters) > 0 }

// holderDue says what is due for the holder of a lock and for those who wait for it.
func (r *Reaper) holderDue(_ context.Context, name types.NamespacedName, lock protocol.Record, seen protocol.Observation, judge protocol.Judge) (action, time.Duration) {
	if lock.Holder != nil {
		if len(lock.Waiters) > 0 && r.witness.saw(name, lock.Holder) {
			return r.terminate, 0
		}
		expired, wait := judge.Expired(lock, seen)
		if expired {
			return r.expire, 0
		}
		return nil, wait
	}
	if len(lock.Waiters) > 0 {
		// The head will take it, unless nobody has told it or it is dead: who frees a lock
		// gives it to the head, but people may free one by hand.
		grantable, wait := judge.Grantable(lock, seen)
		if !grantable {
			return nil, wait
		}
		return r.grant, 0
	}
	return nil, 0
}
