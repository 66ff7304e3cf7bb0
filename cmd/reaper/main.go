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

// Command reaper is the controller that clears expired holders of DistributedLocks
// and deletes locks that are no longer used.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/servertime"
)

// options are the command line's.
type options struct {
	metricsAddress    string
	metricsSecure     bool
	probeAddress      string
	leaderElect       bool
	electionNamespace string
	namespaces        string
	maxClockSkew      time.Duration
	concurrency       int
	logging           zap.Options
}

func main() {
	var o options
	flag.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "The address that metrics are served on; 0 serves none.")
	flag.BoolVar(&o.metricsSecure, "metrics-secure", true, "Serve metrics by HTTPS, and only to those whom the cluster permits to get /metrics.")
	flag.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "The address that /healthz and /readyz are served on; 0 serves none.")
	flag.BoolVar(&o.leaderElect, "leader-elect", false, "Let only one of several replicas work at a time.")
	flag.StringVar(&o.electionNamespace, "leader-election-namespace", "", "The namespace of the election's Lease; the default is the pod's own.")
	flag.StringVar(&o.namespaces, "namespaces", "", "The namespaces to reap in, with commas between them; empty means all.")
	flag.DurationVar(&o.maxClockSkew, "max-clock-skew", time.Second, "How far the clocks of the API servers may be apart; below 0, leases are judged only by watching them.")
	flag.IntVar(&o.concurrency, "concurrency", 4, "How many locks are worked on at once.")
	o.logging.BindFlags(flag.CommandLine)
	flag.Parse()

	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.logging)))
	config, err := ctrl.GetConfig()
	if err == nil {
		err = run(ctrl.SetupSignalHandler(), config, o)
	}
	if err != nil {
		ctrl.Log.Error(err, "The reaper ended")
		os.Exit(1)
	}
}

// run reaps until ctx ends.
func run(ctx context.Context, config *rest.Config, o options) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	clock := &servertime.Clock{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return clock.Transport(next, time.Now) })
	config.QPS = -1 // The API server's priority and fairness is the limit.

	mgr, err := ctrl.NewManager(config, o.manager(scheme))
	if err != nil {
		return err
	}
	gvk := v1alpha1.GroupVersion.WithKind("DistributedLock")
	if _, err := mgr.GetRESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version); meta.IsNoMatchError(err) {
		return fmt.Errorf("the API server does not know DistributedLocks, install the CustomResourceDefinition with \"kubectl apply -k config/crd\": %w", err)
	} else if err != nil {
		return err
	}
	reaper := &controllers.DistributedLockReaper{
		Client:       mgr.GetClient(),
		Live:         mgr.GetAPIReader(),
		Events:       mgr.GetEventRecorder("kubelock-reaper"),
		ServerTime:   clock,
		MaxClockSkew: o.maxClockSkew,
		Concurrency:  o.concurrency,
	}
	if err := reaper.SetupWithManager(mgr); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	if err := mgr.AddReadyzCheck("cache", cacheSynced(mgr.GetCache())); err != nil {
		return err
	}
	return mgr.Start(ctx)
}

// manager turns the command line into the manager's options.
func (o options) manager(scheme *runtime.Scheme) ctrl.Options {
	metrics := metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.metricsSecure}
	if o.metricsSecure {
		metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	cached := cache.Options{ByObject: map[client.Object]cache.ByObject{
		&v1alpha1.DistributedLock{}: {Transform: controllers.StripForCache},
	}}
	if o.namespaces != "" {
		cached.DefaultNamespaces = map[string]cache.Config{}
		for ns := range strings.SplitSeq(o.namespaces, ",") {
			cached.DefaultNamespaces[strings.TrimSpace(ns)] = cache.Config{}
		}
	}
	return ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metrics,
		HealthProbeBindAddress:        o.probeAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              "reaper.kubelock.dev",
		LeaderElectionNamespace:       o.electionNamespace,
		LeaderElectionReleaseOnCancel: true, // Nothing runs after the manager has ended.
		Cache:                         cached,
	}
}

// cacheSynced is ready when the locks are watched: a reaper that cannot list them
// reaps nothing.
func cacheSynced(c cache.Cache) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if _, err := c.GetInformer(ctx, &v1alpha1.DistributedLock{}); err != nil {
			return fmt.Errorf("locks are not watched yet: %w", err)
		}
		return nil
	}
}
