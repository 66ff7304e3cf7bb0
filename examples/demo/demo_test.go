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
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// marker is an environment variable by which the test finds the processes of a demo.
const marker = "KUBELOCK_DEMO_TEST"

// start starts the demo as `make demo` does, in a process group of its own, as a shell would.
func start(t *testing.T, id string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	root, err := assets.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := assets.Find(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		t.Skip("starts a control plane: run it without -short")
	}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(root, "bin")+"/", "./cmd/reaper", "./examples/demo")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), filepath.Join(root, "bin", "demo"), append([]string{"--assets", dir}, args...)...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), marker+"="+id)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, &out
}

// left returns the processes of a demo that still run.
func left(t *testing.T, id string) []string {
	t.Helper()
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	if len(environments) == 0 {
		t.Fatal("this test finds processes in /proc, and there is none")
	}
	var found []string
	for _, file := range environments {
		env, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(env, []byte(marker+"="+id)) {
			continue // The process has ended, or belongs to another user.
		}
		command, err := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		if err == nil && len(command) > 0 {
			found = append(found, strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return found
}

func TestDemo(t *testing.T) {
	id := fmt.Sprint("whole-", os.Getpid())
	cmd, out := start(t, id)
	if err := cmd.Wait(); err != nil {
		t.Errorf("the demo ended with %v:\n%s", err, out)
	}
	for _, part := range []string{"worker-3", "HolderExpired", "ObjectExpired", "All as promised"} {
		if !strings.Contains(out.String(), part) {
			t.Errorf("the demo does not mention %q:\n%s", part, out)
		}
	}
	if found := left(t, id); len(found) > 0 {
		t.Errorf("the demo left %q", found)
	}
}

// TestInterrupt interrupts the demo at several moments, as Ctrl-C does, and checks that no process is left.
func TestInterrupt(t *testing.T) {
	for i, after := range []time.Duration{200 * time.Millisecond, 4 * time.Second, 9 * time.Second} {
		id := fmt.Sprint("interrupted-", os.Getpid(), "-", i)
		cmd, out := start(t, id, "--keep")
		timer := time.AfterFunc(after, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) })
		err := cmd.Wait()
		timer.Stop()
		if err == nil {
			t.Errorf("interrupted after %v the demo ended with success:\n%s", after, out)
		}
		if found := left(t, id); len(found) > 0 {
			t.Errorf("interrupted after %v the demo left %q:\n%s", after, found, out)
		}
	}
}
