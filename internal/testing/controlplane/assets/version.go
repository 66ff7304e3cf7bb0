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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/mod/modfile"
)

// other returns the source of another version of Kubernetes. The module for its build is in the cache, beside
// the programs.
func (s source) other(version string) (source, error) {
	cache, err := cacheDir()
	if err != nil {
		return source{}, err
	}
	s.kubernetes, s.generated = version, filepath.Join(cache, "src", version)
	return s, nil
}

// prepare creates the module for another version than the pinned one. Kubernetes itself uses its published
// libraries from its own tree. A module that requires Kubernetes cannot do that, so it requires the published
// versions of the libraries.
func (s source) prepare(ctx context.Context, progress io.Writer) error {
	if s.generated == "" {
		return nil
	}
	fmt.Fprintf(progress, "control plane: asking the Go module proxy for Kubernetes %s\n", s.kubernetes)
	text, err := s.upstream(ctx)
	if err != nil {
		return err
	}
	mod, err := s.goMod(text)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.generated, 0o755); err != nil {
		return fmt.Errorf("making the folder of the module for Kubernetes %s: %w", s.kubernetes, err)
	}
	if err := os.WriteFile(filepath.Join(s.generated, "go.mod"), mod, 0o600); err != nil {
		return fmt.Errorf("writing the module for Kubernetes %s: %w", s.kubernetes, err)
	}
	return nil
}

// upstream returns the go.mod of Kubernetes itself.
func (s source) upstream(ctx context.Context) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", "k8s.io/kubernetes@"+s.kubernetes)
	cmd.Dir = s.root
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var got struct {
		GoMod string `json:"GoMod"` //nolint:tagliatelle // As go prints it.
		Error string `json:"Error"` //nolint:tagliatelle // As go prints it.
	}
	if jsonErr := json.Unmarshal(out, &got); err == nil && jsonErr != nil {
		err = jsonErr
	}
	if err != nil {
		return nil, fmt.Errorf("downloading Kubernetes %s: %w\n%s%s", s.kubernetes, err, got.Error, &stderr)
	}
	text, err := os.ReadFile(got.GoMod)
	if err != nil {
		return nil, fmt.Errorf("reading the go.mod of Kubernetes %s: %w", s.kubernetes, err)
	}
	return text, nil
}

// goMod returns the go.mod of the module that requires Kubernetes. upstream is the go.mod of Kubernetes.
func (s source) goMod(upstream []byte) ([]byte, error) {
	theirs, err := modfile.Parse("go.mod", upstream, nil)
	if err != nil {
		return nil, fmt.Errorf("reading the go.mod of Kubernetes %s: %w", s.kubernetes, err)
	}
	mod := &modfile.File{}
	errs := []error{
		mod.AddModuleStmt(modulePath + "/internal/testing/controlplane/" + s.kubernetes),
		mod.AddGoStmt(strings.TrimPrefix(runtime.Version(), "go")),
		mod.AddRequire("k8s.io/kubernetes", s.kubernetes),
	}
	if theirs.Go != nil { // The programs then behave as the released ones.
		errs = append(errs, mod.AddGodebug("default", gover(theirs.Go.Version)))
	}
	published, replaced := "v0."+strings.TrimPrefix(s.kubernetes, "v1."), 0
	for _, r := range theirs.Replace {
		if strings.HasPrefix(r.New.Path, "./staging/") {
			errs = append(errs, mod.AddReplace(r.Old.Path, "", r.Old.Path, published))
			replaced++
		}
	}
	if replaced == 0 {
		errs = append(errs, fmt.Errorf("the go.mod of Kubernetes %s has no library below ./staging", s.kubernetes))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("making the module for Kubernetes %s: %w", s.kubernetes, err)
	}
	mod.Cleanup()
	return mod.Format()
}

// gover returns the language version of a Go version in the form of godebug: go1.24 for 1.24.0.
func gover(version string) string {
	parts := strings.SplitN(version, ".", 3)
	return "go" + strings.Join(parts[:min(len(parts), 2)], ".")
}
