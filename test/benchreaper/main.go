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

// Command benchreaper measures the reaper on a real API server with many locks: its start, its memory,
// its cost while nothing happens, and how soon it ends holds that expire at the same time.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"text/tabwriter"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

const (
	namespace = "default"
	// heldPerCent is the percentage of locks that are held during the whole benchmark.
	heldPerCent = 1
	// writers is how many requests create locks at once.
	writers = 16
	metrics = "http://127.0.0.1:18080/metrics"
	collect = "http://127.0.0.1:18082/debug/pprof/heap?gc=1"
	ready   = "http://127.0.0.1:18081/readyz"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "benchreaper:", err)
		os.Exit(1) //nolint:gocritic // No deferred function is left.
	}
}

// bench is one run of the benchmark.
type bench struct {
	config *rest.Config
	client client.WithWatch
	table  *tabwriter.Writer
}

func run(ctx context.Context) (err error) {
	dir := flag.String("assets", "", "folder of kube-apiserver and etcd")
	reaper := flag.String("reaper", "", "the reaper's program")
	locks := flag.Int("locks", 10000, "how many locks there are")
	expiring := flag.Int("expiring", 1000, "how many holders expire at once")
	idle := flag.Duration("idle", 20*time.Second, "for how long the reaper is watched while nothing happens")
	flag.Parse()

	root, err := assets.Root()
	if err != nil {
		return err
	}
	environment := &envtest.Environment{
		BinaryAssetsDirectory: *dir,
		CRDDirectoryPaths:     []string{filepath.Join(root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	b := &bench{table: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	if b.config, err = environment.Start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	b.config.QPS = -1
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return err
	}
	if b.client, err = client.NewWithWatch(b.config, client.Options{Scheme: scheme}); err != nil {
		return err
	}
	kubeconfig, err := writeKubeconfig(environment.KubeConfig)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(kubeconfig)) }()

	defer func() { err = errors.Join(err, b.table.Flush()) }()
	return b.measure(ctx, *reaper, kubeconfig, *locks, *expiring, *idle)
}

func writeKubeconfig(content []byte) (string, error) {
	file, err := os.CreateTemp("", "kubelock-kubeconfig-*")
	if err != nil {
		return "", err
	}
	_, err = file.Write(content)
	return file.Name(), errors.Join(err, file.Close())
}

func (b *bench) sayf(what, format string, args ...any) {
	fmt.Fprintf(b.table, "%s\t%s\n", what, fmt.Sprintf(format, args...))
}

func (b *bench) measure(ctx context.Context, reaper, kubeconfig string, locks, expiring int, idle time.Duration) error {
	// A reaper without locks, for comparison.
	empty, err := b.start(ctx, reaper, kubeconfig)
	if err != nil {
		return err
	}
	before, err := empty.sample(ctx)
	if err := errors.Join(err, empty.stop()); err != nil {
		return err
	}

	begun := time.Now()
	if err := b.create(ctx, locks); err != nil {
		return err
	}
	b.sayf("locks, of which 1 % are held", "%d (made in %v)", locks, time.Since(begun).Round(time.Second))

	p, err := b.start(ctx, reaper, kubeconfig)
	if err != nil {
		return err
	}
	defer func() { _ = p.stop() }() // Its error matters only below.
	b.sayf("start until ready", "%v", p.started.Round(time.Millisecond))
	if err := p.awaitIdle(ctx); err != nil {
		return err
	}
	after, err := p.sample(ctx)
	if err != nil {
		return err
	}
	heap := after["go_memstats_heap_alloc_bytes"] - before["go_memstats_heap_alloc_bytes"]
	b.sayf("heap after a collection, more than without locks", "%.1f MB, %.0f B a lock", heap/1e6, heap/float64(locks))
	b.sayf("memory of the process", "%.1f MB, %.1f MB at most", after["process_resident_memory_bytes"]/1e6, after["peak"]/1e6)

	select {
	case <-time.After(idle):
	case <-ctx.Done():
		return ctx.Err()
	}
	later, err := p.sample(ctx)
	if err != nil {
		return err
	}
	perSecond := func(name string) float64 { return (later[name] - after[name]) / idle.Seconds() }
	b.sayf("while nothing happens", "%.2f %% of a core, %.2f requests/s, %.0f writes", 100*perSecond("process_cpu_seconds_total"),
		perSecond("rest_client_requests_total"), later["writes"]-after["writes"])

	lag, err := b.expire(ctx, expiring)
	if err != nil {
		return err
	}
	b.sayf(fmt.Sprintf("%d holders expire at once, all are cleared within", expiring), "%v", lag.Round(10*time.Millisecond))
	return p.stop()
}
