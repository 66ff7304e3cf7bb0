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
	"net/http"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/kubelock/kubelock/controllers"
	"github.com/kubelock/kubelock/internal/servertime"
)

// gate is a transport that delays requests for locks until it is opened.
type gate struct {
	next http.RoundTripper
	open chan struct{}
}

func (g *gate) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasSuffix(req.URL.Path, "/distributedlocks") {
		select {
		case <-g.open:
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
	}
	return g.next.RoundTrip(req)
}

// WrappedRoundTripper lets client-go find the transport below.
func (g *gate) WrappedRoundTripper() http.RoundTripper { return g.next }

// TestReadyWhenLocksAreWatched checks that the reaper is healthy before it has listed the locks, and
// ready only afterwards, and that it then ends an expired hold.
func TestReadyWhenLocksAreWatched(t *testing.T) {
	logs.Reset()
	config := rest.CopyConfig(account(t))
	open := make(chan struct{})
	opened := sync.OnceFunc(func() { close(open) })
	defer opened()
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &gate{next, open} })
	r := startReplica(t, config, elected(t))

	eventually(t, "/healthz answers 200", func() bool { return r.probe(t, "/healthz") == http.StatusOK })
	if code := r.probe(t, "/readyz"); code != http.StatusInternalServerError {
		t.Errorf("/readyz answers %d before the locks were listed, want 500", code)
	}
	opened()
	eventually(t, "/readyz answers 200", func() bool { return r.probe(t, "/readyz") == http.StatusOK })
	if code := r.probe(t, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d", code)
	}

	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	die(t, ns, "orders")
	history.Until(patience, "orders", "freed", expired)
	eventually(t, "the log tells", func() bool { return len(logs.With("Freed a lock whose holder did not renew it")) > 0 })
	if errs := logs.With("Reconciler error"); len(errs) > 0 {
		t.Errorf("the reaper logged errors: %q", errs)
	}
}

// TestNotReadyBeforeTheStart checks that the reaper is not ready while it serves probes but does
// not watch locks yet.
func TestNotReadyBeforeTheStart(t *testing.T) {
	mgr, err := ctrl.NewManager(account(t), ctrl.Options{Scheme: env.Client(t).Scheme(), Metrics: metricsserver.Options{BindAddress: "0"}})
	if err != nil {
		t.Fatal(err)
	}
	unstarted := &controllers.Reaper{ServerTime: &servertime.Clock{}}
	if err := unstarted.SetupWithManager(mgr); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(within(t, patience), http.MethodGet, "/readyz", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if err := synced(unstarted)(req); err == nil {
		t.Error("ready, though nothing is watched")
	}
}

// TestDeniedReaperIsNotReady checks that a reaper without the right to watch locks is not ready, and
// that its log says why.
func TestDeniedReaperIsNotReady(t *testing.T) {
	ns := env.Namespace(t)
	stranger := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "stranger"}}
	if _, err := env.Clientset(t).CoreV1().ServiceAccounts(ns).Create(t.Context(), stranger, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r := startReplica(t, env.ServiceAccount(t, ns, "stranger"), options{metricsAddress: "0", probeAddress: freeAddress(t), distributedLocks: true, concurrency: 1})
	eventually(t, "the log tells", func() bool { return len(logs.With("forbidden")) > 0 })
	if code, body := get(t, "http://"+r.probeAddress+"/readyz", ""); code != http.StatusInternalServerError || !strings.Contains(body, "distributedlocks-watched") {
		t.Errorf("/readyz answers %d: %s; want 500, and what is missing", code, body)
	}
	const lacks = "to get, list, watch, update, delete distributedlocks in every namespace (the role kubelock-reaper-distributedlocks)"
	if advice := logs.With("The reaper lacks rights"); len(advice) != 1 || !strings.Contains(advice[0], lacks) {
		t.Errorf("the log says of the rights %q, want %q", advice, lacks)
	}
	if code := r.probe(t, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d: a restart would not help", code)
	}
	r.cancel()
	if err := <-r.ended; err != nil {
		t.Errorf("the reaper ended: %v", err)
	}
	r.cancel = nil
	logs.Reset()
}

// TestUnreachableAPIServer checks that the error of a reaper which does not reach the API server
// says what to check.
func TestUnreachableAPIServer(t *testing.T) {
	t.Parallel()
	nowhere := rest.CopyConfig(account(t))
	nowhere.Host = "https://" + freeAddress(t)
	stranger := rest.CopyConfig(account(t))
	stranger.BearerToken = "not-a-token"
	for what, tc := range map[string]struct {
		config  *rest.Config
		options options
		want    string
	}{
		"no server":                  {nowhere, options{distributedLocks: true}, "the API server at " + nowhere.Host + " does not answer: check the network"},
		"no server, and only Leases": {nowhere, options{leases: true}, "the API server at " + nowhere.Host + " does not answer: check the network"},
		"a wrong token":              {stranger, options{distributedLocks: true}, "does not accept the credentials: check the token"},
	} {
		tc.options.metricsAddress, tc.options.probeAddress, tc.options.concurrency = "0", "0", 1
		if err := run(within(t, patience), tc.config, tc.options); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("with %s the reaper ends with %v, want %q", what, err, tc.want)
		}
	}
}
