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

// Command leader is a sharded controller. Each replica campaigns for every shard, and runs a controller-runtime
// manager per shard that it leads.
package main

import (
	"context"
	"errors"
	"log"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

const (
	shardLabel      = "example.com/shard"
	tokenAnnotation = "example.com/reconciled-with-token" //nolint:gosec // A fencing token, which is no credential.
)

func main() {
	restConfig, err := ctrl.GetConfig()
	if err != nil {
		log.Fatal(err)
	}
	locks, err := kubelock.NewClient(restConfig, kubelock.Config{LockDuration: 15 * time.Second})
	if err != nil {
		log.Fatal(err)
	}
	ctx := ctrl.SetupSignalHandler()
	err = lead(ctx, restConfig, locks, "default", []string{"a", "b", "c"})
	locks.Close()
	if ctx.Err() == nil { // If ctx has ended, the replica was stopped, and others lead.
		log.Fatal(err)
	}
}

// lead campaigns for all shards, until ctx ends or a manager fails.
func lead(ctx context.Context, restConfig *rest.Config, locks *kubelock.Client, namespace string, shards []string) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, shard := range shards {
		lock := kubelock.NewLock[struct{}](locks, "example/shard-"+shard)
		group.Go(func() error {
			return lock.Lead(ctx, func(ctx context.Context, held *kubelock.Held[struct{}]) error {
				log.Printf("leads shard %s, with the token %d", shard, held.Token())
				return manage(ctx, restConfig, namespace, shard, held.Token())
			})
		})
	}
	return group.Wait()
}

// manage runs the manager of a shard, until ctx ends and everything in the manager has stopped.
func manage(ctx context.Context, restConfig *rest.Config, namespace, shard string, token int64) error {
	manager, err := ctrl.NewManager(restConfig, ctrl.Options{
		LeaderElection: false, // kubelock's Lead elects the leader.
		// Hand the shard over only after all reconcilers have returned, however long that takes.
		GracefulShutdownTimeout: new(time.Duration(-1)),
		// The manager of an earlier term may have had a controller of the same name.
		Controller: config.Controller{SkipNameValidation: new(true)},
		Metrics:    metricsserver.Options{BindAddress: "0"}, // A program that serves metrics needs one server for all managers.
		Cache: cache.Options{
			DefaultNamespaces: map[string]cache.Config{namespace: {}},
			ByObject: map[client.Object]cache.ByObject{
				&corev1.ConfigMap{}: {Label: labels.SelectorFromSet(labels.Set{shardLabel: shard})},
			},
		},
	})
	if err != nil {
		return err
	}
	err = ctrl.NewControllerManagedBy(manager).Named("shard-" + shard).For(&corev1.ConfigMap{}).
		Complete(&reconciler{manager.GetClient(), token})
	if err != nil {
		return err
	}
	return manager.Start(ctx)
}

// reconciler writes the fencing token of its term into each ConfigMap of its shard. Tokens increase from term to
// term, so a late reconciler of an earlier term sees that it is late.
type reconciler struct {
	client.Client

	token int64
}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	var object corev1.ConfigMap
	if err := r.Get(ctx, request.NamespacedName, &object); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if text, ok := object.Annotations[tokenAnnotation]; ok {
		switch seen, err := strconv.ParseInt(text, 10, 64); {
		case err != nil:
			return reconcile.Result{}, reconcile.TerminalError(err)
		case seen > r.token:
			return reconcile.Result{}, reconcile.TerminalError(errors.New("a later leader has been here"))
		case seen == r.token:
			return reconcile.Result{}, nil
		}
	}
	// Use an update and not a patch: it fails if another leader has written since the object was read.
	if object.Annotations == nil {
		object.Annotations = map[string]string{}
	}
	object.Annotations[tokenAnnotation] = strconv.FormatInt(r.token, 10)
	return reconcile.Result{}, r.Update(ctx, &object)
}
