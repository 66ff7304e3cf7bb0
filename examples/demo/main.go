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

// Command demo shows the lock at work on a real API server. Worker processes add to one counter. One of them
// is killed while it holds locks, and the reaper frees a lock of it. In the end the reaper deletes an unused
// object after its expiry. The exit status is 0 only if all of that happened as promised.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

func main() {
	var (
		assets = flag.String("assets", "", "The folder with kube-apiserver, etcd and kubectl.")
		keep   = flag.Bool("keep", false, "Leave everything running until Ctrl-C, and print the KUBECONFIG.")
		name   = flag.String("worker", "", "Run as the worker of this name, and not the demo.")
	)
	flag.Parse()
	log.SetLogger(klog.Background())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var err error
	if *name != "" {
		err = work(ctx, *name)
	} else {
		err = demo(ctx, *assets, *keep)
	}
	if err != nil {
		if errors.Is(err, context.Canceled) {
			err = errors.New("interrupted")
		}
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called.
	}
}

// demo starts the control plane, runs the steps of the demo, and ends all processes.
func demo(ctx context.Context, assets string, keep bool) (err error) {
	s := &stage{rotation: tokenRotation}
	defer func() { err = errors.Join(err, s.clear()) }()
	if err := s.set(ctx, assets); err != nil {
		return err
	}
	if err := s.play(ctx); err != nil {
		return err
	}
	if keep {
		fmt.Printf("\nStill running; Ctrl-C ends it. In another shell:\n\n  export KUBECONFIG=%s\n  %s get distributedlocks -A\n", s.admin, s.kubectlPath)
		<-ctx.Done()
	}
	return nil
}
