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

package cli_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// patience bounds what must happen but may take long on a loaded machine.
const patience = time.Minute

var (
	env    *testenv.Env
	plugin string // the program as it is built
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "kubectl-dlock-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := testenv.MainOrMemory(m, func(e *testenv.Env) {
		env = e
		plugin = filepath.Join(dir, "kubectl-dlock")
		build := exec.CommandContext(context.Background(), "go", "build", "-o", plugin, "./cmd/kubectl-dlock")
		build.Dir, build.Stderr = e.Root, os.Stderr
		if err := build.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "building the plugin:", err)
			os.Exit(1)
		}
	})
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// within returns a context for what must come to an end.
func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits for what cannot be watched.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextCancel(within(t, patience), 20*time.Millisecond, true,
		func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// command returns the plugin as a person would start it.
func command(t testing.TB, ns string, args ...string) *exec.Cmd {
	t.Helper()
	return commandWithin(t, 2*patience, ns, args...)
}

func commandWithin(t testing.TB, d time.Duration, ns string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(within(t, d), plugin, append([]string{"-n", ns}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig())
	return cmd
}

// result is what a command left.
type result struct {
	code     int
	out, err string
}

// dlock runs the plugin to its end.
func dlock(t testing.TB, ns string, args ...string) result {
	t.Helper()
	return finish(t, command(t, ns, args...))
}

func finish(t testing.TB, cmd *exec.Cmd) result {
	t.Helper()
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return result{cmd.ProcessState.ExitCode(), out.String(), stderr.String()}
}

// want checks the exit code, and that standard error tells each of texts.
func (r result) want(t testing.TB, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d\nstdout: %s\nstderr: %s", r.code, code, r.out, r.err)
	}
	for _, text := range texts {
		if !strings.Contains(r.err, text) {
			t.Errorf("standard error does not tell %q: %q", text, r.err)
		}
	}
	if strings.Contains(r.err, "goroutine ") {
		t.Errorf("a stack trace: %s", r.err)
	}
}
