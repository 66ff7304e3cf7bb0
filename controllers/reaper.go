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
	"k8s.io/client-go/rest"
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
	"github.com/kubelock/kubelock/internal/version"
)

// FieldManager is the name under which managed fields list the reaper's writes.
const FieldManager = "kubelock-reaper"

// resyncPeriod is how often the reaper checks all locks again.
const resyncPeriod = time.Hour

// timerHorizon is how far ahead the reaper sets timers. A lock that is due later is checked at
// a resync. The horizon is longer than resyncPeriod because a resync may come late.
const timerHorizon = resyncPeriod * 5 / 4

// minRequeue is how long the reaper waits at least before it checks a lock again. Without it, a
// lock with an objectExpiry of nanoseconds would keep the reaper busy until MaxClockSkew is over.
const minRequeue = 20 * time.Millisecond

// DefaultCollectionRate is how many unused locks a reaper deletes per second.
const DefaultCollectionRate = 50

// Reaper ends expired holds, grants free locks to their first waiters, and deletes unused locks,
// for one kind of object. Set it up with SetupWithManager.
type Reaper struct {
	// Kind is the kind of object that the locks are stored in. nil means
	// store.DistributedLocks.
	Kind store.Kind
	// Namespaces are the namespaces in which the reaper works. None means all.
	Namespaces []string
	// Events gets one Event per action of the reaper.
	Events events.EventRecorder
	// ServerTime must see the responses that the manager's clients get. The reaper never judges
	// by the clock of its own node. It also does not act on a Date header alone: before it acts,
	// it asks the API server for its time.
	ServerTime *servertime.Clock
	// MaxClockSkew is how far the clocks of two API servers may be apart. Below 0 the reaper
	// judges nothing by their time.
	MaxClockSkew time.Duration
	// Now returns the local time, of which only differences are used. nil means time.Now.
	Now func() time.Time
	// Concurrency is how many locks the reaper works on at once. 0 means 1.
	Concurrency int
	// CollectionRate is how many unused locks the reaper deletes per second at most. 0 means
	// DefaultCollectionRate. Deletions that wait for the rate delay no other work.
	CollectionRate float64
	// DryRun makes the reaper log and write Events about the unused locks that it would delete,
	// and delete none.
	DryRun bool

	// PodWitness makes the reaper end the hold of a client whose Pod has terminated before its
	// lease ends, if other clients wait for the lock.
	PodWitness bool
	// PodWatches is how many Pods PodWitness watches at once at most. 0 means DefaultPodWatches.
	// A Pod above that number is watched as soon as one of the other watches ends.
	PodWatches int

	refusals  refusals
	collected summary
	cache     *lockCache
	// store reads locks of all namespaces before they are written, and writes them.
	store   store.Store
	witness *witness // nil without PodWitness
	asker   *servertime.Asker
}

// SetupWithManager adds the reaper to a manager. The reaper does not use the manager's cache.
//
// It has two controllers, so that neither delays the other: one for holders and waiters, and
// one for unused locks. A lock that is relevant to neither, as most are in a cluster with many,
// never enters a work queue: a queue does not return the memory that it once needed.
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
	config := rest.CopyConfig(mgr.GetConfig())
	config.UserAgent = FieldManager + "/" + version.String()
	if r.store, err = r.Kind.Open(config, mgr.GetHTTPClient(), metav1.NamespaceAll); err != nil {
		return err
	}
	r.cache = newLockCache(r.Kind, namespaces, r.guess)
	if err := mgr.Add(lockWatch{r.cache, mgr}); err != nil {
		return err
	}
	for _, report := range []manager.RunnableFunc{r.cache.exportCounts, r.cache.exportOverdue, r.logDeletions} {
		if err := mgr.Add(report); err != nil {
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
		r.add(mgr, name, r.Concurrency, heldOrAwaited, func() decider { return r.decideHolder }),
		r.add(mgr, name+"-collection", 1, r.collectableSoon, func() decider { return r.rateLimited(limiter, r.decideCollection) }),
	)
}

// HasSynced reports whether the reaper has listed all locks since its manager was started.
func (r *Reaper) HasSynced() bool {
	select {
	case <-r.cache.synced:
		return true
	default:
		return false
	}
}

// add adds a controller for the relevant locks. It calls newDecider once per reconciliation.
func (r *Reaper) add(mgr ctrl.Manager, name string, concurrency int, relevant func(protocol.Record) bool, newDecider func() decider) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named(name).
		WatchesRawSource(changes{r.cache, relevant}).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: concurrency,
			// One process may have reapers for several clusters. Their metrics then add up.
			SkipNameValidation: new(true),
			RateLimiter:        workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstPause, maxPause),
		}).
		Complete(reconcile.Func(func(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
			return r.reconcile(ctx, req, newDecider())
		}))
}

// action changes or deletes a lock. It writes through in, and conditions the write on the
// version of lock.
type action func(ctx context.Context, in store.Store, lock protocol.Record) error

// decider returns the action that is due for a lock which has been seen unchanged since
// seen.Since, as judge sees it. If none is due, it returns nil and after which time one may be,
// or 0 if none can be before the lock changes.
type decider func(ctx context.Context, name types.NamespacedName, lock protocol.Record, seen protocol.Observation, judge protocol.Judge) (action, time.Duration)

// reconcile performs the action that is due for one lock. If none is, it requests to be called
// again when one may be.
//
// It decides up to three times, each time on better data: by the cache and hints of the time,
// then by the object that it has read, then by the time that the API server told it.
func (r *Reaper) reconcile(ctx context.Context, req ctrl.Request, decide decider) (ctrl.Result, error) {
	lock, seen, ok, err := r.cache.get(req.NamespacedName)
	if !ok || err != nil {
		r.refusals.forget(req.NamespacedName)
		return ctrl.Result{}, countError(unreadable(err))
	}
	action, wait := decide(ctx, req.NamespacedName, lock, seen, r.guess())
	if action == nil {
		r.refusals.forget(req.NamespacedName)
		return requeueAfter(wait), nil
	}

	// The cache may be behind, and does not have the whole object. The write is conditioned on
	// the version that is read here.
	in, err := r.store.In(req.Namespace)
	if err != nil {
		return ctrl.Result{}, countError(err)
	}
	live, err := in.Get(ctx, req.Name)
	if _, unusable := errors.AsType[*store.UnusableError](err); unusable {
		return ctrl.Result{}, countError(unreadable(err))
	}
	if err != nil || !live.Exists() {
		return ctrl.Result{}, countError(client.IgnoreNotFound(err))
	}
	lock = applyKeepAnnotation(live)
	seen = seen.Observe(lock, r.Now())
	action, wait = decide(ctx, req.NamespacedName, lock, seen, r.judge())
	if may, _ := decide(ctx, req.NamespacedName, lock, seen, r.guess()); action == nil && may != nil && !r.judge().Compares(protocol.Server) {
		if err := r.asker.Ask(ctx); err != nil {
			log.FromContext(ctx).V(1).Info("Could not ask the API server for its time, will judge locks by observation alone", "err", err)
			wait = max(wait, time.Second) // The server may refuse for long: see Asker.
		} else {
			action, wait = decide(ctx, req.NamespacedName, lock, seen, r.judge())
		}
	}
	if action == nil {
		return requeueAfter(wait), nil
	}
	err = action(ctx, in, live)
	if store.OutcomeOf(err) != store.Stale {
		r.refusals.forget(req.NamespacedName)
		return ctrl.Result{}, countError(err)
	}
	if r.refusals.repeats(req.NamespacedName, live.ResourceVersion) {
		return ctrl.Result{}, countError(fmt.Errorf("the API server refused a write, although the lock has not changed: %w", err))
	}
	// The lock has changed, and the event of that change will usually arrive first. If the refusal
	// had another cause, no event comes, and only this requeue leads to a second attempt.
	return ctrl.Result{Requeue: true}, nil //nolint:staticcheck // The pause grows, as after an error.
}

// applyKeepAnnotation returns lock, without its ObjectExpiry if its object has KeepAnnotation.
func applyKeepAnnotation(lock protocol.Record) protocol.Record {
	if obj := object(lock); obj != nil && obj.GetAnnotations()[KeepAnnotation] == "true" {
		lock.ObjectExpiry = 0
	}
	return lock
}

// object returns the object that lock was read from, or nil.
func object(lock protocol.Record) store.Object {
	obj, _ := lock.Stored.(store.Object)
	return obj
}

// unreadable returns err as an error after which the controller does not retry: a user has to
// repair the object first. It returns nil for nil.
func unreadable(err error) error {
	if err == nil {
		return nil
	}
	return reconcile.TerminalError(err)
}

// requeueAfter returns a result that requests the next reconciliation after wait, or none if
// wait is 0 or beyond timerHorizon.
func requeueAfter(wait time.Duration) ctrl.Result {
	if wait <= 0 || wait > timerHorizon {
		return ctrl.Result{}
	}
	return ctrl.Result{RequeueAfter: max(wait, minRequeue)}
}

// judge returns the judge that the reaper may act by.
func (r *Reaper) judge() protocol.Judge { return r.ServerTime.Reading().Judge(r.Now(), r.MaxClockSkew) }

// guess returns a judge that uses hints of the time, too. The reaper does not act by it: it
// only shows when asking the API server is worth a request. See servertime.Reading.
func (r *Reaper) guess() protocol.Judge { return r.ServerTime.Reading().Guess(r.Now(), r.MaxClockSkew) }

// heldOrAwaited reports whether a lock has a holder or waiters.
func heldOrAwaited(lock protocol.Record) bool { return lock.Holder != nil || len(lock.Waiters) > 0 }

// decideHolder returns the action that ends the hold of a lock, or grants a free lock to its
// first waiter; or how long to wait for that.
func (r *Reaper) decideHolder(_ context.Context, name types.NamespacedName, lock protocol.Record, seen protocol.Observation, judge protocol.Judge) (action, time.Duration) {
	if lock.Holder != nil {
		if len(lock.Waiters) > 0 && r.witness.sawTermination(name, lock.Holder) {
			return r.terminate, 0
		}
		expired, wait := judge.Expired(lock, seen)
		if expired {
			return r.expire, 0
		}
		return nil, wait
	}
	if len(lock.Waiters) > 0 {
		// A client that releases a lock grants it to the first waiter in the same write. So this
		// lock was freed by hand, or left free after several waiters were dead. Its first waiter
		// has time to take it; after that the reaper grants it.
		grantable, wait := judge.Grantable(lock, seen)
		if !grantable {
			return nil, wait
		}
		return r.grant, 0
	}
	return nil, 0
}
