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

// Package image tests what the Dockerfile makes, without Docker.
package image

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/kubelock/kubelock/hack/controlplane/assets"
)

// recipe is what the Dockerfile says of the build of one program.
type recipe struct {
	name   string
	copied []string // from the checkout
	env    []string
	args   []string // of go, without -o and its value
}

func read(t *testing.T, root, name string) recipe {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	r := recipe{name: name}
	for _, match := range regexp.MustCompile(`(?m)^COPY ([^-].*) \S+$`).FindAllStringSubmatch(string(text), -1) {
		r.copied = append(r.copied, strings.Fields(match[1])...)
	}
	build := regexp.MustCompile(`(?m)^RUN (.*)\bgo (build .*) -o /` + name + ` (.*)$`).FindStringSubmatch(string(text))
	if build == nil || len(r.copied) == 0 {
		t.Fatalf("no sources, or no build, in\n%s", text)
	}
	// The target is given by Docker: here it is this machine.
	command := strings.NewReplacer("$TARGETOS", runtime.GOOS, "$TARGETARCH", runtime.GOARCH)
	r.env = strings.Fields(command.Replace(build[1]))
	// A flag's value in quotes is the only one with a space.
	for _, arg := range regexp.MustCompile(`[^\s"]*"[^"]*"|\S+`).FindAllString(build[2]+" "+build[3], -1) {
		r.args = append(r.args, strings.ReplaceAll(arg, `"`, ""))
	}
	return r
}

// build copies the sources to dir, as the Dockerfile does, and builds the program there.
func (r recipe) build(t *testing.T, root, dir string) string {
	t.Helper()
	for _, name := range r.copied {
		from, to := filepath.Join(root, name), filepath.Join(dir, name)
		info, err := os.Stat(from)
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			err = os.CopyFS(to, os.DirFS(from))
		} else {
			var data []byte
			if data, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(to, data, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	binary := filepath.Join(t.TempDir(), r.name)
	last := len(r.args) - 1
	args := append(append([]string{}, r.args[:last]...), "-o", binary, r.args[last])
	// Not the developer's flags, which could hide that one is missing. Empty, it would be
	// what "go env -w" has set.
	run(t, dir, append(r.env, "GOFLAGS=-mod=readonly", "GOWORK=off"), "go", args...)
	return binary
}

func run(t *testing.T, dir string, env []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// TestImage builds each program by the Dockerfile's command, from what the Dockerfile
// copies, and checks that the place of the build does not matter, nor version control,
// and that the binary runs where there is nothing else, as a user without rights.
func TestImage(t *testing.T) {
	root, err := assets.Root()
	if err != nil {
		t.Fatal(err)
	}
	for name, help := range map[string]string{"reaper": "-leader-elect", "kubectl-dlock": "kubectl dlock"} {
		t.Run(name, func(t *testing.T) { checkImage(t, root, name, help) })
	}
}

func checkImage(t *testing.T, root, name, help string) {
	t.Helper()
	r := read(t, root, name)
	plain, versioned := t.TempDir(), filepath.Join(t.TempDir(), "elsewhere")
	first := r.build(t, root, plain)

	if err := os.MkdirAll(versioned, 0o755); err != nil {
		t.Fatal(err)
	}
	run(t, versioned, nil, "git", "init", "--quiet")
	run(t, versioned, nil, "git", "-c", "user.name=test", "-c", "user.email=test@example.com", "-c", "commit.gpgsign=false",
		"commit", "--quiet", "--allow-empty", "-m", "test")
	second := r.build(t, root, versioned)

	a, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(a, b) {
		t.Errorf("the builds of %s, of %d bytes, and %s, of %d bytes, differ", plain, len(a), versioned, len(b))
	}

	t.Run("static", func(t *testing.T) { checkStatic(t, first) })
	t.Run("starts without rights", func(t *testing.T) { checkStarts(t, first, help) })
}

func checkStatic(t *testing.T, binary string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skipf("on %s a binary is not of the image's format", runtime.GOOS)
	}
	file, err := elf.Open(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil { // What is looked at has been read.
		t.Error(err)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary has a segment %v: it is linked dynamically", segment.Type)
		}
	}
}

// nobody is the number of the user that the image runs as.
const nobody = 65532

func checkStarts(t *testing.T, binary, help string) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("only root on Linux can start it as another user, in an empty root folder")
	}
	// An empty root folder, as distroless/static nearly is: no loader, no shell.
	rootfs := t.TempDir()
	if err := os.Chmod(rootfs, 0o755); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(rootfs, "program"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/program", "--help")
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: rootfs, Credential: &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: false}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("this root may not change its root folder or user: %v", err)
	}
	if err != nil || !strings.Contains(string(out), help) {
		t.Errorf("--help: %v\n%s", err, out)
	}
}
