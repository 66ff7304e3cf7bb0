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

// Package assets finds or builds the programs that a control plane for tests
// needs: kube-apiserver, etcd and kubectl.
//
// It looks in this order:
//
//  1. the folder that KUBEBUILDER_ASSETS names, if it is set;
//  2. this project's per-user cache, one folder for each version;
//  3. setup-envtest, where its index can be reached;
//  4. the sources, through the Go module proxy, at the versions that the
//     go.mod files beside this package pin.
//
// What 4 builds is kept in 2, so that only the first run on a machine builds.
package assets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/mod/modfile"
)

// EnvAssets is the environment variable that names a folder with ready
// binaries. It is envtest's own.
const EnvAssets = "KUBEBUILDER_ASSETS"

// programs are the binaries that make a control plane for tests.
var programs = []string{"kube-apiserver", "etcd", "kubectl"}

// Find returns the folder that holds kube-apiserver, etcd and kubectl, and
// builds them first if they are nowhere to be found. A build takes about six
// minutes on two cores; what it is doing is reported to progress.
//
// Find may be called by several processes at once: one builds, the others wait
// for it. A build that fails or is interrupted leaves nothing that a later call
// would take for a binary.
func Find(ctx context.Context, progress io.Writer) (string, error) {
	if dir := os.Getenv(EnvAssets); dir != "" {
		if missing := missingIn(dir); len(missing) > 0 {
			return "", fmt.Errorf("%s is %s, which has no %s: unset it, or name a folder with all of %s",
				EnvAssets, dir, strings.Join(missing, ", "), strings.Join(programs, ", "))
		}
		return dir, nil
	}

	source, err := locateSource()
	if err != nil {
		return "", err
	}
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, source.name())
	if len(missingIn(dir)) == 0 {
		return dir, nil
	}

	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("making the cache folder: %w", err)
	}
	lock := flock.New(dir + ".lock")
	if locked, err := lock.TryLock(); err != nil {
		return "", fmt.Errorf("locking the cache: %w", err)
	} else if !locked {
		fmt.Fprintln(progress, "control plane: another process is building it; waiting")
		if _, err := lock.TryLockContext(ctx, time.Second); err != nil {
			return "", fmt.Errorf("waiting for another process to build the control plane: %w", err)
		}
	}
	defer func() { _ = lock.Unlock() }() // Ending the process unlocks it too.

	if len(missingIn(dir)) == 0 { // The other process has built it.
		return dir, nil
	}
	if found, err := fromSetupEnvtest(ctx, source); err == nil {
		return found, nil
	} else if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err := build(ctx, source, dir, progress); err != nil {
		return "", err
	}
	return dir, nil
}

// missingIn lists the programs that dir does not hold as executable files.
func missingIn(dir string) []string {
	var missing []string
	for _, p := range programs {
		info, err := os.Stat(filepath.Join(dir, p))
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
			missing = append(missing, p)
		}
	}
	return missing
}

// cacheDir is where builds are kept: outside of every checkout, so that a fresh
// clone on the same machine does not build again.
func cacheDir() (string, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's cache folder: %w", err)
	}
	return filepath.Join(user, "kubelock", "controlplane"), nil
}

// source is where the control plane can be built from.
type source struct {
	root       string // of this project
	kubernetes string // version of k8s.io/kubernetes, such as v1.37.2
	etcd       string // version of go.etcd.io/etcd/server/v3
}

func (s source) name() string {
	return fmt.Sprintf("%s-etcd-%s-%s-%s", s.kubernetes, s.etcd, runtime.GOOS, runtime.GOARCH)
}

func (s source) module(name string) string {
	return filepath.Join(s.root, "hack", "controlplane", name)
}

// locateSource finds the project's root from the working folder upwards, and
// reads the pinned versions there.
func locateSource() (source, error) {
	root, err := Root()
	if err != nil {
		return source{}, err
	}
	s := source{root: root}
	if s.kubernetes, err = pinned(s.module("kubernetes"), "k8s.io/kubernetes"); err != nil {
		return source{}, err
	}
	if s.etcd, err = pinned(s.module("etcd"), "go.etcd.io/etcd/server/v3"); err != nil {
		return source{}, err
	}
	return s, nil
}

const modulePath = "github.com/kubelock/kubelock"

// Root returns the root folder of this project's checkout: the nearest one
// above the working folder whose go.mod names its module.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("finding the working folder: %w", err)
	}
	for {
		data, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && modfile.ModulePath(data) == modulePath {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("this must run inside a checkout of " + modulePath)
		}
		dir = parent
	}
}

// pinned reads the version of module that the go.mod in dir requires.
func pinned(dir, module string) (string, error) {
	path := filepath.Join(dir, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the pinned version of %s: %w", module, err)
	}
	file, err := modfile.ParseLax(path, data, nil)
	if err != nil {
		return "", fmt.Errorf("reading the pinned version of %s: %w", module, err)
	}
	for _, r := range file.Require {
		if r.Mod.Path == module {
			return r.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", path, module)
}

// fromSetupEnvtest has setup-envtest fetch ready binaries. Where its index is
// out of reach it fails within seconds.
func fromSetupEnvtest(ctx context.Context, s source) (string, error) {
	minor := s.kubernetes[1:strings.LastIndex(s.kubernetes, ".")] + ".x"
	tool := func(ctx context.Context, args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", append([]string{"tool", "setup-envtest"}, args...)...)
		cmd.Dir = filepath.Join(s.root, "hack", "tools")
		cmd.Env = append(os.Environ(), "GOWORK=off")
		out, err := cmd.Output()
		return strings.TrimSpace(string(out)), err
	}

	probe, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if _, err := tool(probe, "list", "--remote-only", minor); err != nil {
		return "", fmt.Errorf("reaching setup-envtest's index: %w", err)
	}
	fetch, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	dir, err := tool(fetch, "use", "--print", "path", minor)
	if err != nil {
		return "", fmt.Errorf("fetching binaries with setup-envtest: %w", err)
	}
	if missing := missingIn(dir); len(missing) > 0 {
		return "", fmt.Errorf("setup-envtest's folder %s has no %s", dir, strings.Join(missing, ", "))
	}
	return dir, nil
}
