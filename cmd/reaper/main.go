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

// Command reaper is the controller that clears expired holders of locks and deletes
// locks that are no longer used.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
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

	logger := zap.New(zap.UseFlagOptions(&o.logging))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger) // client-go's messages in the same form.
	if err := start(o, flag.Args()); err != nil {
		ctrl.Log.Error(err, "The reaper ended")
		os.Exit(1)
	}
}

// start reaps until the process is told to end.
func start(o options, arguments []string) error {
	if len(arguments) > 0 {
		return fmt.Errorf("unknown arguments %q: a flag's value follows it after =", arguments)
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return err
	}
	return run(ctrl.SetupSignalHandler(), config, o)
}

// run reaps until ctx ends.
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
	config.QPS = -1 // The API server's priority and fairness is the limit.

	if o.distributedLocks {
		if err := installed(config); err != nil {
			return err
		}
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
			Client:       mgr.GetClient(),
			Live:         mgr.GetAPIReader(),
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
	if err := mgr.AddReadyzCheck("cache", synced(reapers)); err != nil {
		return err
	}
	return mgr.Start(ctx)
}
