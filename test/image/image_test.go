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

// Package image tests the programs of the Dockerfile without Docker.
package image

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

// recipe has the Dockerfile's instructions for the build of one program.
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
	// Docker sets the target. Here the target is this machine.
	command := strings.NewReplacer("$TARGETOS", runtime.GOOS, "$TARGETARCH", runtime.GOARCH)
	r.env = strings.Fields(command.Replace(build[1]))
	// Only a value in quotes may have a space.
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
	// Override the developer's flags, which could hide a missing one. An empty GOFLAGS would mean the value of
	// "go env -w".
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

// TestImage builds each program by the Dockerfile's command, from the files that the Dockerfile copies. It
// checks that the binary does not depend on the folder of the build or on version control, and that it runs as
// a user without rights in an empty root folder.
func TestImage(t *testing.T) {
	if os.Getenv("LONG") == "" {
		t.Skip("builds each program twice, which takes minutes: LONG=1 runs it")
	}
	root, err := assets.Root()
	if err != nil {
		t.Fatal(err)
	}
	for name, help := range map[string]string{"reaper": "-leader-elect", "kubectl-dlock": "kubectl dlock"} {
		t.Run(name, func(t *testing.T) { checkImage(t, root, name, help) })
	}
}

// largest is how many bytes a program may have: a node loads them before it can replace a reaper. The linker keeps all
// methods if one package in it calls methods by their names at run time, as text/template does. That costs the reaper 20 MB.
var largest = map[string]int{"reaper": 40_000_000, "kubectl-dlock": 60_000_000}

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

	// A release has a list of the programs in its images. make release-check names it.
	if path := os.Getenv("PROGRAMS"); path != "" {
		list, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if line := fmt.Sprintf("%x  %s_%s_%s\n", sha256.Sum256(a), name, runtime.GOOS, runtime.GOARCH); !strings.Contains(string(list), line) {
			t.Errorf("%s does not have the line %q of the program that the Dockerfile builds", path, line)
		}
	}

	if most := largest[name]; len(a) > most {
		t.Errorf("%s has %d bytes, want %d at most: see by \"go version -m\" and \"go tool nm -size -sort size\" what has come in", name, len(a), most)
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
	if err := file.Close(); err != nil { // All data have been read.
		t.Error(err)
	}
	for _, segment := range file.Progs {
		if segment.Type == elf.PT_INTERP || segment.Type == elf.PT_DYNAMIC {
			t.Errorf("the binary has a segment %v: it is linked dynamically", segment.Type)
		}
	}
}

// nonroot is the ID of the user in the image.
const nonroot = 65532

func checkStarts(t *testing.T, binary, help string) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("only root on Linux can start it as another user, in an empty root folder")
	}
	// An empty root folder, similar to distroless/static: without a loader or a shell.
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
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: rootfs, Credential: &syscall.Credential{Uid: nonroot, Gid: nonroot, NoSetGroups: false}}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skipf("this root may not change its root folder or user: %v", err)
	}
	if err != nil || !strings.Contains(string(out), help) {
		t.Errorf("--help: %v\n%s", err, out)
	}
}
