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

// Command bench measures kubelock against bare updates of the same object, on a real
// API server that it starts. Everything is measured in one run, so that the ratios
// hold on a noisy machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubelock/kubelock/hack/controlplane/assets"
)

const (
	idleCase  = "100 idle waiters"
	crashCase = "crashes"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // Nothing is left to be done.
	}
}

func run(ctx context.Context) (err error) {
	dir := flag.String("assets", "", "folder of kube-apiserver and etcd")
	seconds := flag.Float64("seconds", 8, "how long each case runs")
	only := flag.String("case", "", "run only cases whose name contains this")
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
	config, err := environment.Start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	config.QPS = -1

	b := &bench{config: config, lasts: time.Duration(*seconds * float64(time.Second)), table: tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	fmt.Fprintln(b.table, "case\tcycles/s\tbare updates/s\tratio\twrites/cycle\treads/cycle\tconflicts/cycle\tevents/cycle\tJain\tworst wait")
	for _, c := range []struct {
		name string
		run  func(ctx context.Context) (result, error)
	}{
		{"1 client", func(ctx context.Context) (result, error) { return b.clients(ctx, 1, 1) }},
		{"8 clients", func(ctx context.Context) (result, error) { return b.clients(ctx, 8, 1) }},
		{"32 clients", func(ctx context.Context) (result, error) { return b.clients(ctx, 32, 1) }},
		{"32 clients racing (naive)", func(ctx context.Context) (result, error) { return b.racers(ctx, 32) }},
		{"100 clients", func(ctx context.Context) (result, error) { return b.clients(ctx, 100, 1) }},
		{"32 callers in one client", func(ctx context.Context) (result, error) { return b.clients(ctx, 1, 32) }},
	} {
		if !strings.Contains(c.name, *only) || ctx.Err() != nil {
			continue
		}
		if err := b.measure(ctx, c.name, c.run); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if strings.Contains(idleCase, *only) && ctx.Err() == nil {
		if err := b.idle(ctx, 100); err != nil {
			return fmt.Errorf("idle waiters: %w", err)
		}
	}
	if strings.Contains(crashCase, *only) && ctx.Err() == nil {
		if err := b.crashes(ctx); err != nil {
			return err
		}
	}
	return b.table.Flush()
}

// bench is one run.
type bench struct {
	config *rest.Config
	lasts  time.Duration // of each case
	table  *tabwriter.Writer
	keys   int
}

// measure runs a case between two measurements of bare updates.
func (b *bench) measure(ctx context.Context, name string, run func(context.Context) (result, error)) error {
	before, err := b.bare(ctx, b.lasts/4)
	if err != nil {
		return err
	}
	r, err := run(ctx)
	if err != nil {
		return err
	}
	after, err := b.bare(ctx, b.lasts/4)
	if err != nil {
		return err
	}
	bare, rate, n := (before+after)/2, float64(r.cycles())/r.took.Seconds(), float64(r.cycles())
	fmt.Fprintf(b.table, "%s\t%.0f\t%.0f\t%.2f\t%.2f\t%.2f\t%.3f\t%.2f\t%.3f\t%v\n", name, rate, bare, rate/bare,
		float64(r.requests.writes.Load())/n, float64(r.requests.reads.Load())/n, float64(r.requests.conflicts.Load())/n,
		float64(r.requests.events.Load())/n, r.jain(), r.worst.Round(time.Millisecond))
	return b.table.Flush()
}
