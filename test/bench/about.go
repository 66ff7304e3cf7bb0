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

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"time"
)

// about returns a text about the machine and the programs with which the figures were measured.
func about(assets, redis string, started time.Time) (string, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "# Benchmarks\n\n%s, %d cores of %s, %s/%s, %s.\n", started.UTC().Format(time.DateOnly), runtime.NumCPU(), processor(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	for _, program := range []string{"kube-apiserver", "etcd"} {
		out, err := exec.Command(filepath.Join(assets, program), "--version").Output() //nolint:noctx // It prints one line and ends.
		if err != nil {
			return "", fmt.Errorf("%s --version: %w", program, err)
		}
		first, _, _ := bytes.Cut(out, []byte("\n"))
		fmt.Fprintf(&b, "%s: %s.\n", program, first)
	}
	if redis == "" {
		redis = "not installed"
	}
	fmt.Fprintf(&b, "redis-server: %s.\n", redis)
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			switch m.Path {
			case "k8s.io/client-go", "go.etcd.io/etcd/client/v3", "github.com/go-redsync/redsync/v4", "github.com/bsm/redislock":
				fmt.Fprintf(&b, "%s %s.\n", m.Path, m.Version)
			}
		}
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err == nil {
		fmt.Fprintf(&b, "Load of the machine at the end: %s.\n", strings.Join(strings.Fields(string(load))[:3], " "))
	}
	return b.String(), nil
}

// processor returns the name of the machine's processor, if it can be read.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "an unknown processor"
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.TrimSpace(strings.TrimLeft(name, "\t :"))
		}
	}
	return "an unknown processor"
}
