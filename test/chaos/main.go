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

// Command chaos runs clients of the lock on a control plane of three etcd members and two API
// servers, and injects faults into all processes and links. It compares the answers that the
// clients got with the versions in etcd. See docs/reliability.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

type options struct {
	assets, bin, out, root string
	seed                   uint64
	length                 time.Duration
	clients                int
	only                   string
	keep                   bool
	oldClients, oldReapers string
	olderAssets            string
	manifests              string
	edit, check            string
}

func main() {
	var o options
	flag.StringVar(&o.assets, "assets", "", "folder with kube-apiserver, etcd and kubectl")
	flag.StringVar(&o.bin, "bin", "bin", "folder with the client and the reaper")
	flag.StringVar(&o.out, "out", "bin/chaos-runs", "folder for the files of runs")
	flag.StringVar(&o.root, "root", ".", "the project's folder")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()%1_000_000), "seed of the fault schedule and of the clients' choices")
	flag.DurationVar(&o.length, "length", 20*time.Minute, "how long faults are injected")
	flag.IntVar(&o.clients, "clients", 5, "number of client processes")
	flag.StringVar(&o.only, "only", "", "only these faults, separated by commas; empty: all")
	flag.StringVar(&o.olderAssets, "older-assets", "", "folder with the kube-apiserver of another version, which the first of the two API servers runs")
	flag.StringVar(&o.oldClients, "old-clients", "", "folder with the client of another version, which every second client process runs")
	flag.StringVar(&o.oldReapers, "old-reapers", "", "folder with the reaper of another version, which all reaper processes run")
	flag.StringVar(&o.manifests, "manifests", ".", "folder whose config folder has the manifests to install")
	flag.BoolVar(&o.keep, "keep", false, "keep the history of a run without violations, too")
	flag.StringVar(&o.edit, "edit", "", "act as kubectl's editor: free or note")
	flag.StringVar(&o.check, "check", "", "do not run, but check the files of a run in this folder")
	flag.Parse()
	if o.edit != "" {
		if err := edit(o.edit, flag.Arg(0)); err != nil {
			fmt.Fprintln(os.Stderr, "chaos:", err)
			os.Exit(1)
		}
		return
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	r := &run{options: o}
	do := r.execute
	if o.check != "" {
		do = r.checkSaved
	}
	violations, err := do(ctx)
	if err == nil && len(violations) == 0 {
		fmt.Println("No violation.")
		return
	}
	for i, v := range violations {
		if i == 20 {
			fmt.Printf("... and %d more\n", len(violations)-i)
			break
		}
		fmt.Println("VIOLATION", v)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
	}
	fmt.Printf("History, logs and pictures: %s\nRepeat it: %s\n", r.folder, r.repeat())
	cancel()
	os.Exit(1) //nolint:gocritic // All other processes have ended.
}

// repeat returns the command that injects the same faults again.
func (r *run) repeat() string {
	target := "chaos"
	if r.olderAssets != "" {
		target = "test-rolling"
	}
	command := fmt.Sprintf("make %s SEED=%d LENGTH=%s CLIENTS=%d", target, r.seed, r.length, r.options.clients)
	if r.only != "" {
		command += " ONLY=" + strings.ReplaceAll(r.only, " ", "")
	}
	return command
}
