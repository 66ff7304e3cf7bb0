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

package controllers_test

import (
	"context"
	"net/http"
	"os"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

var (
	env      *testenv.Env
	deployed error // why the manifests are not installed
	logs     testenv.Logs
)

func TestMain(m *testing.M) {
	logger := zap.New(zap.WriteTo(&logs))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	os.Exit(testenv.Main(m, func(e *testenv.Env) {
		env = e
		deployed = e.Deploy(context.Background())
	}))
}

// patience is how long a test waits for what must happen. A loaded machine may need most of it.
const patience = 30 * time.Second

// soon returns a context for a call that must come to an end.
func soon(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// reaper is a test's configuration of its reaper. The zero reaper is the reaper of the manifests:
// it works in all namespaces.
type reaper struct {
	// namespaces are the namespaces in which the reaper works. Tests that name their own may run
	// in parallel.
	namespaces []string
	// config has the account that the reaper uses. nil means the service account of the manifests.
	config *rest.Config
	// skew is the MaxClockSkew. 0 means the default of the command.
	skew time.Duration
	// now is the node's clock.
	now func() time.Time
	// These are the fields of the same names of the Reaper.
	collectionRate float64
	dryRun         bool
	podWitness     bool
	podWatches     int
	// wrap may come between the reaper and the API server.
	wrap func(http.RoundTripper) http.RoundTripper
}

// account returns the configuration of the reaper's service account.
func account(t testing.TB) *rest.Config {
	t.Helper()
	if deployed != nil {
		t.Fatal(deployed)
	}
	return env.ServiceAccount(t, testenv.ReaperNamespace, testenv.ReaperAccount)
}

// start runs the reaper until the test ends, and returns when it watches the locks.
func (r reaper) start(t *testing.T) {
	t.Helper()
	if r.config == nil {
		r.config = account(t)
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.skew == 0 {
		r.skew = time.Second
	}
	clock := &servertime.Clock{}
	config := rest.CopyConfig(r.config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return clock.Transport(next, r.now) })
	if r.wrap != nil {
		config.Wrap(r.wrap)
	}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:  env.Client(t).Scheme(),
		Metrics: metricsserver.Options{BindAddress: "0"},
	})
	if err != nil {
		t.Fatal(err)
	}
	reaper := &controllers.Reaper{
		Namespaces:   r.namespaces,
		Events:       mgr.GetEventRecorder("kubelock-reaper"),
		ServerTime:   clock,
		MaxClockSkew: r.skew,
		Now:          r.now,

		CollectionRate: r.collectionRate,
		DryRun:         r.dryRun,
		PodWitness:     r.podWitness,
		PodWatches:     r.podWatches,
	}
	if err := reaper.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // The clean-up below cancels it.
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if denied := logs.With("forbidden"); len(denied) > 0 {
			t.Errorf("a reaper was denied something: %q", denied)
		}
	})
	err = wait.PollUntilContextCancel(soon(t), 10*time.Millisecond, true, func(context.Context) (bool, error) { return reaper.HasSynced(), nil })
	if err != nil {
		t.Fatal(err)
	}
}
