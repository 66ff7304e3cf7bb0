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

// Command controlplane prints the folder with kube-apiserver, etcd and kubectl. It builds them first if
// necessary.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

func main() {
	version := flag.String("kubernetes", "", "The version of Kubernetes, such as v1.34.4; the default is the pinned one, or what is in KUBEBUILDER_ASSETS.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	find := assets.Find
	if *version != "" {
		find = func(ctx context.Context, progress io.Writer) (string, error) {
			return assets.FindVersion(ctx, *version, progress)
		}
	}
	dir, err := find(ctx, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
	fmt.Println(dir)
}
