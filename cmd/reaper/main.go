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

// Command reaper is the controller that ends expired holds of locks and deletes locks that are no
// longer used.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/version"
)

func main() {
	var o options
	o.bind(flag.CommandLine)
	printVersion := flag.Bool("version", false, "Print the version and end.")
	flag.Parse()
	if *printVersion {
		fmt.Println("kubelock reaper version", version.String())
		return
	}

	if o.logging.StacktraceLevel == nil {
		// Errors come from the API server or the network. A stack trace would not explain them.
		o.logging.StacktraceLevel = zapcore.DPanicLevel
	}
	logger := zap.New(zap.UseFlagOptions(&o.logging))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger) // client-go's messages in the same form.
	if err := start(o, flag.Args()); err != nil {
		ctrl.Log.Error(err, "The reaper ended")
		os.Exit(1)
	}
}

// start runs the reaper until the process gets SIGTERM or SIGINT.
func start(o options, arguments []string) error {
	if len(arguments) > 0 {
		return fmt.Errorf("unknown arguments %q: a flag's value follows it after =", arguments)
	}
	config, err := ctrl.GetConfig()
	switch {
	case clientcmd.IsEmptyConfig(err):
		return fmt.Errorf("no API server is known: in a Pod the reaper needs a service account's token; elsewhere set KUBECONFIG, which is %q, "+
			"or --kubeconfig, to a file that names a cluster", os.Getenv("KUBECONFIG"))
	case err != nil:
		return fmt.Errorf("the kubeconfig cannot be used, correct the file that --kubeconfig or KUBECONFIG names: %w", err)
	}
	return run(ctrl.SetupSignalHandler(), config, o)
}

// run runs the reaper until ctx ends.
func run(ctx context.Context, config *rest.Config, o options) error {
	if err := o.check(); err != nil {
		return err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		return err
	}
	config = rest.CopyConfig(config)
	clock := &servertime.Clock{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return clock.Transport(next, time.Now) })
	authenticateByFile(config)
	config.QPS = -1 // No limit in the client: the API server's priority and fairness sets one.

	if err := reachable(config, o.distributedLocks); err != nil {
		return err
	}
	if missing := lacking(ctx, config, &o); len(missing) > 0 {
		ctrl.Log.Info("The reaper lacks rights, and is not ready or cannot work before it has them. Bind the roles to its account", "missing", missing)
	}
	mgr, err := ctrl.NewManager(config, o.manager(scheme))
	if err != nil {
		return err
	}
	recorder := controllers.LimitEvents(mgr.GetEventRecorder("kubelock-reaper"))
	var reapers []*controllers.Reaper
	for _, kind := range o.kinds() {
		reaper := &controllers.Reaper{
			Kind:         kind,
			Namespaces:   o.reaped(),
			Events:       recorder,
			ServerTime:   clock,
			MaxClockSkew: o.maxClockSkew,
			Concurrency:  o.concurrency,

			CollectionRate: o.collectionRate,
			DryRun:         o.dryRun,
			PodWitness:     o.podWitness,
		}
		if err := reaper.SetupWithManager(mgr); err != nil {
			return err
		}
		reapers = append(reapers, reaper)
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	for _, reaper := range reapers {
		// /readyz answers with the names of the failed checks, and not with their errors.
		if err := mgr.AddReadyzCheck(reaper.Kind.Resource().Resource+"-watched", synced(reaper)); err != nil {
			return err
		}
	}
	return mgr.Start(ctx)
}
