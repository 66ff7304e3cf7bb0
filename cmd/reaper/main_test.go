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
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// runAsReaper is the environment variable that makes the test binary run as the reaper.
const runAsReaper = "KUBELOCK_TEST_RUN_AS_REAPER"

var (
	env      *testenv.Env
	deployed error // why the manifests are not installed
	logs     testenv.Logs
)

func TestMain(m *testing.M) {
	if os.Getenv(runAsReaper) != "" {
		main()
		return
	}
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

// within returns a context for a call that must come to an end.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until a condition holds that cannot be watched.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextCancel(within(t, patience), 20*time.Millisecond, true,
		func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// account returns the configuration of the reaper's service account.
func account(t testing.TB) *rest.Config {
	t.Helper()
	if deployed != nil {
		t.Fatal(deployed)
	}
	return env.ServiceAccount(t, testenv.ReaperNamespace, testenv.ReaperAccount)
}

// replica is a running reaper.
type replica struct {
	options

	cancel context.CancelFunc
	ended  chan error
}

// elected returns the options of one of several replicas, with ports of its own.
func elected(t *testing.T) options {
	t.Helper()
	return options{
		metricsAddress: freeAddress(t), metricsSecure: true, probeAddress: freeAddress(t),
		leaderElect: true, electionNamespace: testenv.ReaperNamespace,
		distributedLocks: true, maxClockSkew: time.Second, concurrency: 4,
	}
}

// freeAddress returns a local address with a free port.
func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// startReplica runs a reaper until stop is called or the test ends.
func startReplica(t *testing.T, config *rest.Config, o options) *replica {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context())) // stop cancels it.
	r := &replica{options: o, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- run(ctx, config, o) }()
	t.Cleanup(func() { r.stop(t) })
	return r
}

// stop ends the reaper, and checks that the API server has denied it nothing.
func (r *replica) stop(t *testing.T) {
	t.Helper()
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	select {
	case err := <-r.ended:
		if err != nil {
			t.Errorf("the reaper ended: %v", err)
		}
	case <-time.After(patience):
		t.Error("the reaper does not end")
	}
	if denied := logs.With("forbidden"); len(denied) > 0 {
		t.Errorf("the reaper was denied something: %q", denied)
	}
}

// probe returns the status of one of the health probes.
func (r *replica) probe(t *testing.T, path string) int {
	t.Helper()
	code, _ := get(t, "http://"+r.probeAddress+path, "")
	return code
}

// get returns the status and the body of an answer, or 0 if there is no answer.
func get(t testing.TB, url, token string) (status int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // The certificate is self-signed.
	}}
	req, err := http.NewRequestWithContext(within(t, patience), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return resp.StatusCode, string(text)
}

// die acquires a lock for a second and stops without a release, as if the process were killed.
func die(t *testing.T, ns, key string) {
	t.Helper()
	c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, LockDuration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kubelock.NewLock[string](c, key).Acquire(within(t, patience)); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// expired reports whether v is the version that the reaper writes when it frees an expired lock.
func expired(v testenv.Version) bool {
	return v.Free() && v.Spec.LastRelease != nil && v.Spec.LastRelease.Reason == v1alpha1.ReasonExpired
}
