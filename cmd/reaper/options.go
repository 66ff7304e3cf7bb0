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

package main

import (
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/store"
)

// options are the flags of the command line.
type options struct {
	metricsAddress    string
	metricsSecure     bool
	probeAddress      string
	pprofAddress      string
	leaderElect       bool
	electionNamespace string
	election          election
	namespaces        string
	distributedLocks  bool
	leases            bool
	configMaps        bool
	maxClockSkew      time.Duration
	concurrency       int
	collectionRate    float64
	dryRun            bool
	podWitness        bool
	logging           zap.Options
}

// bind registers the flags. o has the defaults until flags are parsed, and then the values of the
// command line.
func (o *options) bind(flags *flag.FlagSet) {
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", ":8443", "The address that metrics are served on; 0 serves none.")
	flags.BoolVar(&o.metricsSecure, "metrics-secure", true, "Serve metrics by HTTPS, and only to accounts that may get /metrics.")
	flags.StringVar(&o.probeAddress, "health-probe-bind-address", ":8081", "The address that /healthz and /readyz are served on; 0 serves none.")
	flags.StringVar(&o.pprofAddress, "pprof-bind-address", "0", "The address that profiles are served on, to every client that can reach it; 0 serves none.")
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "Let only one of several replicas work at a time.")
	o.election.bind(flags)
	flags.StringVar(&o.electionNamespace, "leader-election-namespace", "", "The namespace of the election's Lease; the default is the pod's own.")
	flags.StringVar(&o.namespaces, "namespaces", "", "The namespaces to work in, separated by commas; empty means all.")
	flags.BoolVar(&o.distributedLocks, "distributedlocks", true, "Reap DistributedLocks.")
	flags.BoolVar(&o.leases, "leases", false, "Reap Leases with the label "+lockLabel+".")
	flags.BoolVar(&o.configMaps, "configmaps", false, "Reap ConfigMaps with the label "+lockLabel+".")
	flags.DurationVar(&o.maxClockSkew, "max-clock-skew", time.Second, "How far the clocks of the API servers may be apart; below 0, the reaper judges leases only by watching them.")
	flags.IntVar(&o.concurrency, "concurrency", 16, "How many locks are worked on at once.")
	flags.Float64Var(&o.collectionRate, "collection-rate", controllers.DefaultCollectionRate, "How many unused locks are deleted per second at most.")
	flags.BoolVar(&o.dryRun, "dry-run", false, "Report which unused locks would be deleted, and delete none. Expired holds are still ended.")
	flags.BoolVar(&o.podWitness, "pod-witness", false, "End the hold of a client whose Pod has terminated before its lease ends, if other clients wait for the lock. Needs the right to watch Pods.")
	o.logging.BindFlags(flags)
}

// check returns everything that is wrong with the options.
func (o *options) check() error {
	var wrong []error
	if o.concurrency < 1 {
		wrong = append(wrong, fmt.Errorf("--concurrency must be at least 1, not %d", o.concurrency))
	}
	if o.collectionRate < 0 {
		wrong = append(wrong, fmt.Errorf("--collection-rate must not be negative, is %v", o.collectionRate))
	}
	if o.leaderElect {
		wrong = append(wrong, o.election.check()...)
	}
	if len(o.kinds()) == 0 {
		wrong = append(wrong, errors.New("there is nothing to reap: set --distributedlocks, --leases or --configmaps"))
	}
	for _, ns := range o.reaped() {
		// An empty name would mean every namespace.
		if problems := validation.IsDNS1123Label(ns); len(problems) > 0 {
			wrong = append(wrong, fmt.Errorf("--namespaces: %q is no name of a namespace: %s", ns, strings.Join(problems, ", ")))
		}
	}
	return errors.Join(wrong...)
}

// lockLabel selects the locks among Leases and ConfigMaps.
const lockLabel = v1alpha1.LockLabel + "=true"

// kinds returns the kinds of objects that the reaper works on.
func (o *options) kinds() []store.Kind {
	var kinds []store.Kind
	for kind, reaped := range map[store.Kind]bool{store.DistributedLocks: o.distributedLocks, store.Leases: o.leases, store.ConfigMaps: o.configMaps} {
		if reaped {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

// reaped returns the namespaces that the reaper works in. None means all.
func (o *options) reaped() []string {
	if o.namespaces == "" {
		return nil
	}
	var namespaces []string
	for ns := range strings.SplitSeq(o.namespaces, ",") {
		namespaces = append(namespaces, strings.TrimSpace(ns))
	}
	return namespaces
}

// manager returns the options of the manager.
func (o *options) manager(scheme *runtime.Scheme) ctrl.Options {
	metrics := metricsserver.Options{BindAddress: o.metricsAddress, SecureServing: o.metricsSecure}
	if o.metricsSecure {
		metrics.FilterProvider = authorized
	}
	election := o.election.orDefaults()
	return ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metrics,
		HealthProbeBindAddress:        o.probeAddress,
		PprofBindAddress:              o.pprofAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              electionID,
		LeaderElectionNamespace:       o.electionNamespace,
		LeaderElectionReleaseOnCancel: true, // Safe, for the process ends with the manager.
		LeaseDuration:                 &election.lease,
		RenewDeadline:                 &election.renewDeadline,
		RetryPeriod:                   &election.retryPeriod,
	}
}
