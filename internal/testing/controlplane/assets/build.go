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

package assets

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// step builds one program.
type step struct {
	program string
	dir     string // folder of the module that pins the program's source
	pkg     string
	ldflags string
	flags   []string // further flags
}

// steps returns the steps of a build. Without the version flags the API server would report v0.0.0 as its
// version.
func (s source) steps() []step {
	numbers := strings.SplitN(strings.TrimPrefix(s.kubernetes, "v"), ".", 3)
	const version = "k8s.io/component-base/version"
	kubernetes := fmt.Sprintf("-s -w -X %[1]s.gitVersion=%[2]s -X %[1]s.gitMajor=%[3]s -X %[1]s.gitMinor=%[4]s -X %[1]s.gitTreeState=clean",
		version, s.kubernetes, numbers[0], numbers[1])
	var flags []string
	if s.generated != "" {
		flags = []string{"-mod=mod"} // The generated go.mod has no indirect requirements, and there is no go.sum.
	}
	return []step{
		{"etcd", s.module("etcd"), "go.etcd.io/etcd/server/v3", "-s -w", nil},
		{"kube-apiserver", s.module(kubernetesModule), "k8s.io/kubernetes/cmd/kube-apiserver", kubernetes, flags},
		{"kubectl", s.module(kubernetesModule), "k8s.io/kubernetes/cmd/kubectl", kubernetes, flags},
	}
}

// build builds all programs into a folder beside dir. It renames the folder to dir when all programs can be
// started.
func build(ctx context.Context, s source, dir string, progress io.Writer) error {
	fmt.Fprintf(progress, "control plane: building kube-apiserver %s, etcd %s and kubectl from source (once a machine, about 6 minutes on 2 cores)\n",
		s.kubernetes, s.etcd)
	tmp, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".building-")
	if err != nil {
		return fmt.Errorf("making a folder to build in: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // It does nothing after the rename.

	steps := s.steps()
	for i, st := range steps {
		label := fmt.Sprintf("control plane: [%d/%d] %s", i+1, len(steps), st.program)
		if err := st.run(ctx, filepath.Join(tmp, st.program), label, progress); err != nil {
			return err
		}
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return fmt.Errorf("opening the built folder: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil { // If it exists, it is incomplete: Find would have used it otherwise.
		return fmt.Errorf("replacing an incomplete folder: %w", err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		return fmt.Errorf("moving the built binaries into the cache: %w", err)
	}
	return nil
}

// run builds one program as out, and starts it once.
func (st step) run(ctx context.Context, out, label string, progress io.Writer) error {
	start := time.Now()
	args := append([]string{"build", "-v", "-trimpath", "-buildvcs=false", "-ldflags", st.ldflags, "-o", out}, st.flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, st.pkg)...)
	cmd.Dir = st.dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // The go command then ends its compilers.
	cmd.WaitDelay = 10 * time.Second
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("building %s: %w", st.program, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("building %s: %w", st.program, err)
	}
	tail := report(stderr, label, start, progress)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("building %s (go build %s, in %s): %w\n%s", st.program, st.pkg, st.dir, err, tail)
	}
	if output, err := exec.CommandContext(ctx, out, versionArgs(st.program)...).CombinedOutput(); err != nil {
		return fmt.Errorf("starting the %s that was built: %w\n%s", st.program, err, output)
	}
	fmt.Fprintf(progress, "%s: built in %s\n", label, time.Since(start).Round(time.Second))
	return nil
}

func versionArgs(program string) []string {
	if program == "kubectl" {
		return []string{"version", "--client"}
	}
	return []string{"--version"}
}

// report reads the go command's output, which has a line per compiled package, and prints the progress every
// few seconds. It returns the last lines, which have the errors if there are any.
func report(output io.Reader, label string, start time.Time, progress io.Writer) string {
	const keep, every = 20, 15 * time.Second
	var (
		last     []string
		packages int
		shown    = start
	)
	lines := bufio.NewScanner(output)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if last = append(last, line); len(last) > keep {
			last = last[1:]
		}
		if !bytes.ContainsAny(lines.Bytes(), " :") { // The line is the path of a package.
			packages++
		}
		if time.Since(shown) >= every {
			shown = time.Now()
			fmt.Fprintf(progress, "%s: %d packages compiled, %s\n", label, packages, time.Since(start).Round(time.Second))
		}
	}
	if err := lines.Err(); err != nil {
		last = append(last, "reading the output: "+err.Error())
	}
	return strings.Join(last, "\n")
}
