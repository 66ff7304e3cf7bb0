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

// Command dashboard draws the Grafana dashboard of config/monitoring as an SVG file, from metrics that it records: it
// starts a control plane, the reaper, a program with many clients of locks, and Prometheus, which scrapes the
// reaper and the program. Then it asks Prometheus for what each panel shows.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

const (
	// scrapeInterval is how often Prometheus scrapes, and the interval that a data source of Grafana would know.
	scrapeInterval = 3 * time.Second
	// rateInterval is Grafana's $__rate_interval with this scrape interval: a rate needs two samples, also where a
	// scrape failed. The picture begins when rates are known.
	rateInterval = 4 * scrapeInterval
	warmUp       = rateInterval

	dashboardFile = "config/monitoring/kubelock.json"
	pictureFile   = "docs/operations/dashboard.svg"
)

func main() {
	var (
		length     = flag.Duration("length", 150*time.Second, "For how long metrics are recorded.")
		out        = flag.String("out", "", "The file of the picture; the default is "+pictureFile+" of the checkout.")
		reaper     = flag.String("reaper", "bin/reaper", "The reaper's program.")
		prometheus = flag.String("prometheus", "prometheus", "Prometheus's program.")
		key        = flag.String("hang", "", "Hold the lock of this key until the process is killed, and draw nothing.")
	)
	flag.Parse()
	log.SetLogger(klog.Background())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *key != "" {
		err = hang(ctx, *key)
	} else {
		err = run(ctx, *length, *out, *reaper, *prometheus)
	}
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "dashboard:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called.
	}
}

// run records metrics for the given length, and draws them.
func run(ctx context.Context, length time.Duration, out, reaper, prometheus string) (err error) {
	if least := 10 * scrapeInterval; length < least {
		return fmt.Errorf("--length is %v: record at least %v, so that there are rates to draw", length, least)
	}
	if prometheus, err = exec.LookPath(prometheus); err != nil {
		return fmt.Errorf("this needs Prometheus (%w): install it by apt-get install --no-install-recommends prometheus, "+
			"or from https://prometheus.io/download/, and name it by PROMETHEUS=path if it is not in the PATH", err)
	}
	root, err := assets.Root()
	if err != nil {
		return err
	}
	if out == "" {
		out = filepath.Join(root, pictureFile)
	}
	board, err := readDashboard(filepath.Join(root, dashboardFile))
	if err != nil {
		return err
	}
	dir, err := assets.Find(ctx, os.Stderr)
	if err != nil {
		return err
	}

	s := &stage{}
	defer func() { err = errors.Join(err, s.clear()) }()
	if err := s.set(ctx, dir, root, reaper, prometheus); err != nil {
		return err
	}
	fmt.Printf("Recording for %v\n", warmUp+length)
	from := time.Now().Add(warmUp)
	if err := s.record(ctx, length); err != nil {
		return err
	}
	span := span{from: from, to: from.Add(length), step: scrapeInterval}
	drawn, err := evaluate(ctx, s.server, board, span)
	if err != nil {
		return err
	}
	for _, panel := range drawn {
		if len(panel.series) == 0 {
			fmt.Fprintf(os.Stderr, "dashboard: the panel %q has no data\n", panel.Title)
		}
	}
	var picture bytes.Buffer
	draw(&picture, board.Title, subtitle(span), span, drawn)
	if err := os.WriteFile(out, picture.Bytes(), 0o644); err != nil {
		return err
	}
	fmt.Printf("Wrote %s, %d KB\n", out, picture.Len()/1024)
	return nil
}

// subtitle says what the picture was made from.
func subtitle(s span) []string {
	return []string{
		fmt.Sprintf("Drawn by make dashboard-picture from metrics that Prometheus recorded on %s: %.0f s of a demo workload on a real API server, scraped every %.0f s.",
			s.from.UTC().Format("2 January 2006"), s.to.Sub(s.from).Seconds(), s.step.Seconds()),
		fmt.Sprintf("One program with %d clients, and %d more in the middle third; two more processes, each killed while it has a lock, every %.0f s or so; the reaper. Times are UTC.",
			steadyClients, burstClients, killInterval.Seconds()),
	}
}
