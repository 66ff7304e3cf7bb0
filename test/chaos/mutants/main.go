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

// Command mutants plants one fault after the other in the library or the reaper, and checks that the
// chaos run finds each. It changes no source file: the compiler gets the changed file as an overlay.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// patience is how long all runs for one mutant may take.
const patience = 5 * time.Minute

type options struct {
	assets, chaos, root, only string
	length                    time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.assets, "assets", "", "folder with kube-apiserver, etcd and kubectl")
	flag.StringVar(&o.chaos, "chaos", "bin/chaos", "the program that runs")
	flag.StringVar(&o.root, "root", ".", "the project's folder")
	flag.StringVar(&o.only, "only", "", "only mutants whose name contains this")
	flag.DurationVar(&o.length, "length", 80*time.Second, "how long there are faults in one run")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := o.all(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		cancel()
		os.Exit(1) //nolint:gocritic // No deferred function is left.
	}
}

func (o options) all(ctx context.Context) (err error) {
	for _, path := range []*string{&o.chaos, &o.root} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	var missed []string
	for _, m := range mutants {
		if !strings.Contains(m.name, o.only) {
			continue
		}
		how, err := m.find(ctx, o)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			fmt.Printf("NOT FOUND  %s: %v\n", m.name, err)
			missed = append(missed, m.name)
		default:
			fmt.Printf("found      %s: %s\n", m.name, how)
		}
	}
	if len(missed) > 0 {
		return fmt.Errorf("%d not found: %s", len(missed), strings.Join(missed, "; "))
	}
	return nil
}

// find runs the chaos run with the mutant until one has a violation, and returns that violation.
func (m mutant) find(ctx context.Context, o options) (how string, err error) {
	dir, err := os.MkdirTemp("", "kubelock-mutant-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := m.build(ctx, o, dir); err != nil {
		return "", err
	}
	length := o.length
	if m.length > 0 {
		length = m.length
	}
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for seed := 1; ; seed++ {
		run := exec.CommandContext(ctx, o.chaos, "--assets="+o.assets, "--bin="+dir, "--out="+filepath.Join(dir, "runs"), "--root="+o.root,
			fmt.Sprintf("--seed=%d", seed), "--length="+length.String(), "--only="+m.faults)
		run.Cancel = func() error { return run.Process.Signal(syscall.SIGTERM) }
		run.WaitDelay = 30 * time.Second
		out, err := run.CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if violation, ok := strings.CutPrefix(line, "VIOLATION "); ok {
				return fmt.Sprintf("seed %d, after %v: %s", seed, time.Since(start).Round(time.Second), strings.TrimSpace(violation)), nil
			}
		}
		if ctx.Err() != nil {
			return "", fmt.Errorf("within %v, %d runs", patience, seed)
		}
		if err != nil {
			return "", fmt.Errorf("the run failed otherwise: %w: %s", err, out)
		}
	}
}

// build builds the client and the reaper with the mutant.
func (m mutant) build(ctx context.Context, o options, dir string) error {
	client := filepath.Join(o.root, "test", "chaos")
	changes, err := m.plant(ctx, o, dir)
	if err != nil {
		return err
	}
	reaperChanges := changes
	if m.module != "" {
		reaperChanges = nil // Only the client is built with the changed module.
	}
	for _, args := range [][]string{
		append(append([]string{"build", "-C", o.root}, reaperChanges...), "-o", filepath.Join(dir, "reaper"), "./cmd/reaper"),
		append(append([]string{"build", "-C", client}, changes...), "-o", filepath.Join(dir, "chaos-client"), "./client"),
	} {
		if out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
	}
	return nil
}

// plant returns the compiler flags that plant the mutant.
func (m mutant) plant(ctx context.Context, o options, dir string) (flags []string, err error) {
	if m.module != "" {
		return m.plantInModule(ctx, o, dir)
	}
	path, changed := filepath.Join(o.root, m.file), filepath.Join(dir, "changed.go")
	if err := m.change(path, changed); err != nil {
		return nil, err
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "overlay.json")
	return []string{"-overlay", file}, os.WriteFile(file, overlay, 0o600)
}

// plantInModule changes a copy of a module that the client uses. The compiler accepts no overlay for
// files of the module cache.
func (m mutant) plantInModule(ctx context.Context, o options, dir string) (flags []string, err error) {
	client, copied, mod := filepath.Join(o.root, "test", "chaos"), filepath.Join(dir, "module"), filepath.Join(dir, "changed.mod")
	out, err := exec.CommandContext(ctx, "go", "list", "-C", client, "-m", "-f", "{{.Dir}}", m.module).Output()
	if err != nil {
		return nil, err
	}
	source := strings.TrimSpace(string(out))
	if err := os.CopyFS(copied, os.DirFS(source)); err != nil {
		return nil, err
	}
	target := filepath.Join(copied, m.file)
	if err := errors.Join(os.Remove(target), m.change(filepath.Join(source, m.file), target)); err != nil {
		return nil, err
	}
	for from, to := range map[string]string{"go.mod": mod, "go.sum": filepath.Join(dir, "changed.sum")} {
		data, err := os.ReadFile(filepath.Join(client, from))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(to, data, 0o600); err != nil {
			return nil, err
		}
	}
	edit := exec.CommandContext(ctx, "go", "mod", "edit", "-replace="+m.module+"="+copied, "-replace=github.com/kubelock/kubelock="+o.root, mod)
	if out, err := edit.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return []string{"-modfile", mod}, nil
}

// change writes the changed file.
func (m mutant) change(path, changed string) error {
	source, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if n := strings.Count(string(source), m.old); n != 1 {
		return fmt.Errorf("%s has this %d times, want once: %s", m.file, n, m.old)
	}
	return os.WriteFile(changed, []byte(strings.Replace(string(source), m.old, m.new, 1)), 0o600)
}
