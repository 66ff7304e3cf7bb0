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
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// stage is the control plane, and what was started on it.
type stage struct {
	environment *envtest.Environment
	config      *rest.Config
	folder      string // for Prometheus's data, logs and the kubeconfig
	kubeconfig  string // path of an administrator's kubeconfig
	children    []*child
	registry    *prometheus.Registry // of the program with the clients
	metrics     *http.Server         // serves registry
	server      server               // Prometheus
}

// child is a process that the stage ends.
type child struct {
	*exec.Cmd
	name, log string
	ended     chan struct{} // closed when the process has ended
}

// set starts everything but the clients, and returns when Prometheus has scraped all its targets.
func (s *stage) set(ctx context.Context, dir, root, reaper, prometheusPath string) (err error) {
	if s.folder, err = os.MkdirTemp("", "kubelock-dashboard-"); err != nil {
		return err
	}
	fmt.Println("Starting kube-apiserver and etcd, the reaper and Prometheus")
	environment := &envtest.Environment{
		BinaryAssetsDirectory: dir,
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	s.environment = environment
	if s.config, err = environment.Start(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil { // Start ignores ctx.
		return err
	}
	s.kubeconfig = filepath.Join(s.folder, "kubeconfig")
	if err := os.WriteFile(s.kubeconfig, environment.KubeConfig, 0o600); err != nil {
		return err
	}

	programAddress, err := s.serveMetrics(ctx)
	if err != nil {
		return err
	}
	reaperAddress, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	if err := s.start("reaper", reaper, "--metrics-bind-address="+reaperAddress, "--metrics-secure=false", "--health-probe-bind-address=0"); err != nil {
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	config := filepath.Join(s.folder, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: %v}\nscrape_configs:\n"+
		"- {job_name: reaper, static_configs: [{targets: [%q]}]}\n- {job_name: program, static_configs: [{targets: [%q]}]}\n",
		scrapeInterval, reaperAddress, programAddress)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return err
	}
	if err := s.start("prometheus", prometheusPath, "--config.file="+config, "--web.listen-address="+address,
		"--storage.tsdb.path="+filepath.Join(s.folder, "data")); err != nil {
		return err
	}
	s.server = server("http://" + address)
	return s.awaitScrapes(ctx, 2)
}

// serveMetrics serves the metrics of the program with the clients, and returns the address.
func (s *stage) serveMetrics(ctx context.Context) (string, error) {
	s.registry = prometheus.NewRegistry()
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{}))
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	s.metrics = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.metrics.Serve(listener) }() // Prometheus's up would show a failure.
	return listener.Addr().String(), nil
}

// freeAddress returns an address that no program listens on.
func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// start starts a process of its own process group. So Ctrl-C in a terminal reaches only this program, which then
// ends its children in order.
func (s *stage) start(name, program string, args ...string) error {
	path := filepath.Join(s.folder, name+".log")
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()   // The child has its own.
	cmd := exec.Command(program, args...) //nolint:noctx // Ended by clear.
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.kubeconfig)
	cmd.Stdout, cmd.Stderr = file, file
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	c := &child{Cmd: cmd, name: name, log: path, ended: make(chan struct{})}
	s.children = append(s.children, c)
	go func() {
		defer close(c.ended)
		_ = cmd.Wait() // failure reads the state.
	}()
	return nil
}

// failure returns an error with the log of a child that has ended, and nil while all run.
func (s *stage) failure() error {
	for _, c := range s.children {
		select {
		case <-c.ended:
			text, err := os.ReadFile(c.log)
			return errors.Join(fmt.Errorf("%s ended with %v:\n%s", c.name, c.ProcessState, text), err)
		default:
		}
	}
	return nil
}

// awaitScrapes waits until Prometheus has scraped so many targets.
func (s *stage) awaitScrapes(ctx context.Context, targets int) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		if err := s.failure(); err != nil {
			return false, err
		}
		now := time.Now()
		found, err := s.server.query(ctx, "up == 1", span{from: now, to: now, step: scrapeInterval})
		last = err // Prometheus may not listen yet.
		return len(found) == targets, nil
	})
	if err != nil {
		return fmt.Errorf("Prometheus does not scrape the reaper and the program: %w", errors.Join(err, last)) //nolint:staticcheck // A name.
	}
	return nil
}

// clear ends all processes and removes their files.
func (s *stage) clear() error {
	var errs []error
	for _, c := range s.children {
		_ = c.Process.Signal(syscall.SIGTERM) // The process may have ended already.
	}
	for _, c := range s.children {
		select {
		case <-c.ended:
		case <-time.After(10 * time.Second):
			_ = c.Process.Kill()
			<-c.ended
		}
	}
	if s.metrics != nil {
		errs = append(errs, s.metrics.Close())
	}
	if s.environment != nil {
		errs = append(errs, s.environment.Stop())
	}
	if s.folder != "" {
		errs = append(errs, os.RemoveAll(s.folder))
	}
	return errors.Join(errs...)
}
