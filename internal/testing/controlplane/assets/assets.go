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

// Package assets finds or builds the programs of a control plane for tests: kube-apiserver, etcd and
// kubectl.
//
// It looks in this order:
//
//  1. the folder that KUBEBUILDER_ASSETS names, if it is set;
//  2. this project's per-user cache, with one folder per version;
//  3. setup-envtest, if its index can be reached;
//  4. the sources, through the Go module proxy, at the versions that the
//     go.mod files beside this package pin.
//
// Step 4 stores its programs in the cache of step 2, so that only the first run on a machine builds.
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
	"golang.org/x/mod/semver"
)

// EnvAssets is the environment variable with a folder of ready binaries. envtest uses the same one.
const EnvAssets = "KUBEBUILDER_ASSETS"

// programs are the binaries of a control plane for tests.
var programs = []string{"kube-apiserver", "etcd", "kubectl"}

// Find returns the folder with kube-apiserver, etcd and kubectl. If it does not find them, it builds them
// first. A build takes about six minutes on two cores, and reports what it does to progress.
//
// Several processes may call Find at the same time: one builds, and the others wait for it. A build that
// fails or is interrupted leaves no file that a later call would use as a binary.
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
	return find(ctx, source, progress)
}

// FindVersion is Find for another version of Kubernetes than the pinned one, such as v1.34.4. It ignores
// KUBEBUILDER_ASSETS. The version of etcd is the pinned one.
func FindVersion(ctx context.Context, version string, progress io.Writer) (string, error) {
	source, err := locateSource()
	if err != nil {
		return "", err
	}
	if !semver.IsValid(version) || semver.Canonical(version) != version || semver.Major(version) != "v1" {
		return "", fmt.Errorf("%q is no version of Kubernetes: name one with its patch, such as %s", version, source.kubernetes)
	}
	if version != source.kubernetes {
		if source, err = source.other(version); err != nil {
			return "", err
		}
	}
	return find(ctx, source, progress)
}

func find(ctx context.Context, source source, progress io.Writer) (string, error) {
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
	defer func() { _ = lock.Unlock() }() // The end of the process would unlock it, too.

	if len(missingIn(dir)) == 0 { // Another process has built them meanwhile.
		return dir, nil
	}
	if found, err := fromSetupEnvtest(ctx, source); err == nil {
		return found, nil
	} else if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err := source.prepare(ctx, progress); err != nil {
		return "", err
	}
	if err := build(ctx, source, dir, progress); err != nil {
		return "", err
	}
	return dir, nil
}

// missingIn returns the programs that are not executable files in dir.
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

// cacheDir returns the folder of finished builds. It is outside of every checkout, so that a new clone on the
// same machine does not build again.
func cacheDir() (string, error) {
	user, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the user's cache folder: %w", err)
	}
	return filepath.Join(user, "kubelock", "controlplane"), nil
}

// source describes the sources of a control plane.
type source struct {
	root       string // of this project
	kubernetes string // version of k8s.io/kubernetes, such as v1.37.2
	etcd       string // version of go.etcd.io/etcd/server/v3
	generated  string // folder of the module that is made for another version than the pinned one
}

func (s source) name() string {
	return fmt.Sprintf("%s-etcd-%s-%s-%s", s.kubernetes, s.etcd, runtime.GOOS, runtime.GOARCH)
}

func (s source) module(name string) string {
	if name == kubernetesModule && s.generated != "" {
		return s.generated
	}
	return filepath.Join(s.root, "internal", "testing", "controlplane", name)
}

// locateSource finds the project's root, at or above the working folder, and reads the pinned versions there.
func locateSource() (source, error) {
	root, err := Root()
	if err != nil {
		return source{}, err
	}
	s := source{root: root}
	if s.kubernetes, err = pinned(s.module(kubernetesModule), "k8s.io/kubernetes"); err != nil {
		return source{}, err
	}
	if s.etcd, err = pinned(s.module("etcd"), "go.etcd.io/etcd/server/v3"); err != nil {
		return source{}, err
	}
	return s, nil
}

// kubernetesModule is the folder of the module that pins the version of Kubernetes.
const kubernetesModule = "kubernetes"

const modulePath = "github.com/kubelock/kubelock"

// Root returns the root folder of this project's checkout: the nearest folder, at or above the working folder,
// whose go.mod is the project's.
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

// pinned returns the version of module that the go.mod in dir requires.
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

// fromSetupEnvtest downloads ready binaries by setup-envtest. If its index cannot be reached, it fails within
// seconds.
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
