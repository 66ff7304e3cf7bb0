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

// Command chaos runs the lock on a control plane of three etcd members and two API
// servers, lets faults happen to all of it, and compares the answers that the clients got
// with what etcd has. See docs/reliability.md.
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
	edit, check            string
}

func main() {
	var o options
	flag.StringVar(&o.assets, "assets", "", "folder with kube-apiserver, etcd and kubectl")
	flag.StringVar(&o.bin, "bin", "bin", "folder with the client and the reaper")
	flag.StringVar(&o.out, "out", "bin/chaos-runs", "folder for what runs leave behind")
	flag.StringVar(&o.root, "root", ".", "the project's folder")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()%1_000_000), "of the faults, and of what the clients do")
	flag.DurationVar(&o.length, "length", 20*time.Minute, "how long there are faults")
	flag.IntVar(&o.clients, "clients", 5, "how many processes lock")
	flag.StringVar(&o.only, "only", "", "only these faults, with commas between them; empty: all")
	flag.BoolVar(&o.keep, "keep", false, "keep the history of a run without violations, too")
	flag.StringVar(&o.edit, "edit", "", "be kubectl's editor: free or note")
	flag.StringVar(&o.check, "check", "", "do not run, check what a run has left in this folder")
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
	do := r.all
	if o.check != "" {
		do = r.recheck
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
	os.Exit(1) //nolint:gocritic // Everything else was ended in order.
}

// repeat is the command that runs the same faults again.
func (r *run) repeat() string {
	command := fmt.Sprintf("make chaos SEED=%d LENGTH=%s CLIENTS=%d", r.seed, r.length, r.options.clients)
	if r.only != "" {
		command += " ONLY=" + strings.ReplaceAll(r.only, " ", "")
	}
	return command
}
