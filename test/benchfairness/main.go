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

// Command benchfairness measures how long renewals take, and how many holds are lost, while other
// accounts flood the API server. It measures without and with the FlowSchemas and the priority level of
// config/components/flowcontrol, on a real API server that it starts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"text/tabwriter"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "benchfairness:", err)
		os.Exit(1) //nolint:gocritic // No deferred function is left.
	}
}

// bench is one run of the benchmark.
type bench struct {
	root    string
	config  *rest.Config // the configuration of an administrator
	clients kubernetes.Interface
	kubectl func(ctx context.Context, args ...string) error

	holders int
	lease   time.Duration
	lasts   time.Duration
	workers int // requests of the flood at once
}

func run(ctx context.Context) (err error) {
	b := &bench{}
	dir := flag.String("assets", "", "folder of kube-apiserver, etcd and kubectl")
	inflight := flag.Int("max-requests-inflight", 8, "what the API server is allowed, and half as many writes")
	flag.IntVar(&b.holders, "holders", 20, "how many locks are held and renewed")
	flag.DurationVar(&b.lease, "lease", 3*time.Second, "how long their leases are")
	flag.DurationVar(&b.lasts, "lasts", 20*time.Second, "how long each case takes")
	flag.IntVar(&b.workers, "flood", 256, "how many requests of others there are at once")
	flag.Parse()

	if b.root, err = assets.Root(); err != nil {
		return err
	}
	environment := &envtest.Environment{
		BinaryAssetsDirectory: *dir,
		CRDDirectoryPaths:     []string{filepath.Join(b.root, "config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
	}
	environment.ControlPlane.GetAPIServer().Configure().
		Set("max-requests-inflight", strconv.Itoa(*inflight)).
		Set("max-mutating-requests-inflight", strconv.Itoa(*inflight/2))
	if b.config, err = environment.Start(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, environment.Stop()) }()
	b.config.QPS = -1
	if b.clients, err = kubernetes.NewForConfig(b.config); err != nil {
		return err
	}
	kubeconfig, err := os.CreateTemp("", "kubelock-kubeconfig-*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(kubeconfig.Name())) }()
	_, err = kubeconfig.Write(environment.KubeConfig)
	if err := errors.Join(err, kubeconfig.Close()); err != nil {
		return err
	}
	b.kubectl = func(ctx context.Context, args ...string) error {
		cmd := exec.CommandContext(ctx, environment.ControlPlane.KubectlPath, append([]string{"--kubeconfig", kubeconfig.Name()}, args...)...)
		cmd.Dir = b.root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl %q: %w: %s", args, err, out)
		}
		return nil
	}
	return b.measure(ctx)
}

// measure runs each case without the component and then, on the same API server, with it.
func (b *bench) measure(ctx context.Context) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "%d holds of %v, %d requests of others at once\tholds lost\trenewals\tmedian\t99 %%\tlongest\trefused (429)\tof others, requests/s\n", b.holders, b.lease, b.workers)
	if err := b.prepare(ctx); err != nil {
		return err
	}
	stop, err := b.startWebhook(ctx)
	defer stop()
	if err != nil {
		return err
	}
	for _, with := range []bool{false, true} {
		if with {
			if err := b.install(ctx); err != nil {
				return err
			}
		}
		for _, c := range []struct {
			name     string
			accounts int
		}{{"no other account", 0}, {"one other account", 1}, {strconv.Itoa(floodAccounts) + " other accounts", floodAccounts}} {
			r, err := b.flooded(ctx, c.accounts)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			how := "without"
			if with {
				how = "with"
			}
			fmt.Fprintf(table, "%s, %s\t%d\t%d\t%v\t%v\t%v\t%d\t%.0f\n", c.name, how, r.lost, r.renewals,
				r.quantile(0.5), r.quantile(0.99), r.quantile(1), r.refused, r.others)
		}
	}
	return table.Flush()
}
