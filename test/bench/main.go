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

// Command bench measures kubelock, bare updates as its lower bound, and other locks, on a real API
// server that it starts. It measures all subjects of a case in turns, so that their ratios are
// meaningful on a noisy machine.
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
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/kubelock/kubelock/test/bench/cases"
	"github.com/kubelock/kubelock/test/bench/report"
	"github.com/kubelock/kubelock/test/bench/servers"
	"github.com/kubelock/kubelock/test/bench/subjects"
	"github.com/kubelock/kubelock/test/bench/worker"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run := bench
	if len(os.Args) == 2 && os.Args[1] == "worker" {
		klog.SetLogger(logr.Discard()) // Leader election logs each acquisition.
		run = func(ctx context.Context) error { return worker.Serve(ctx, os.Stdin, os.Stdout) }
	}
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1) //nolint:gocritic // No deferred function is left.
	}
}

func bench(ctx context.Context) (err error) {
	assets := flag.String("assets", "", "folder of kube-apiserver and etcd")
	reaper := flag.String("reaper", "", "the reaper's program")
	only := flag.String("case", "", "run only cases whose name contains this")
	quick := flag.Bool("quick", false, "measure once, shorter and less: in under 90 seconds")
	out := flag.String("out", "bench/out", "folder for the results")
	flag.Parse()
	if flag.NArg() > 0 {
		return fmt.Errorf("%q is not expected: see --help", flag.Args())
	}
	var chosen []cases.Case
	var names []string
	for _, c := range cases.All() {
		names = append(names, c.Name)
		if strings.Contains(c.Name, *only) {
			chosen = append(chosen, c)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("no case has %q in its name: there are %s", *only, strings.Join(names, ", "))
	}
	if err := os.MkdirAll(*out, 0o755); err != nil {
		return err
	}

	redis, err := servers.StartRedis(ctx)
	switch {
	case errors.Is(err, servers.ErrNoRedis):
		fmt.Fprintf(os.Stderr, "bench: redsync and redislock are not measured: %v\n", err)
		redis, err = &servers.Redis{}, nil // All other subjects are measured.
	case err != nil:
		return err
	default:
		defer func() { err = errors.Join(err, redis.Stop()) }()
	}
	results := &report.Results{}
	started := time.Now()
	write := func() error {
		preamble, err := about(*assets, redis.Version, started)
		return errors.Join(err,
			results.WriteJSON(filepath.Join(*out, "results.json")),
			results.WriteTable(filepath.Join(*out, "results.md"), preamble),
		)
	}
	b := &cases.Bench{Servers: subjects.Servers{Redis: redis.Addr}, Quick: *quick, Results: results, Progress: os.Stderr}
	for _, b.Fsync = range []bool{false, true} {
		err = errors.Join(err, on(ctx, *assets, *reaper, chosen, b, write))
	}
	err = errors.Join(err, results.Plot(*out, append(cases.ContentionPlots(), b.HoldsPlots()...)))
	fmt.Fprintf(os.Stderr, "bench: %s has results.json, results.md and plots; it took %v\n", *out, time.Since(started).Round(time.Second))
	return err
}

// on runs cases on a control plane of their own, and writes the results after each case. If a case
// fails, on still runs the others.
func on(ctx context.Context, assets, reaper string, chosen []cases.Case, b *cases.Bench, write func() error) (err error) {
	var here []cases.Case
	for _, c := range chosen {
		if !b.Fsync || c.Durable {
			here = append(here, c)
		}
	}
	if len(here) == 0 {
		return nil
	}
	plane, err := servers.StartControlPlane(assets, b.Fsync)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	b.Servers.Kubernetes, b.Servers.Etcd = plane.Kubernetes, plane.Etcd
	b.StartReaper = func(ctx context.Context) (func() error, error) {
		r, err := plane.StartReaper(ctx, reaper)
		if err != nil {
			return nil, err
		}
		return r.Stop, nil
	}
	defer func() { err = errors.Join(err, b.Stop()) }()
	for _, c := range here {
		start := time.Now()
		if failed := c.Run(ctx, b); failed != nil {
			err = errors.Join(err, fmt.Errorf("case %s: %w", c.Name, failed))
			_ = b.Stop() // The next case starts new workers, so an error of these does not matter.
		}
		err = errors.Join(err, write())
		if ctx.Err() != nil {
			return err
		}
		fmt.Fprintf(b.Progress, "bench: %s (fsync %v) took %v\n", c.Name, b.Fsync, time.Since(start).Round(time.Second))
	}
	return err
}
