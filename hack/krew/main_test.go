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
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const platform = "linux_amd64"

// archives creates a folder with a file per name. The content of each file is its name.
func archives(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, "dlock_"+name+".tar.gz"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestRender fills in the project's own manifest, and compares the hashes with those of the files.
func TestRender(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../.krew.yaml")
	if err != nil {
		t.Fatal(err)
	}
	platforms := []string{platform, "linux_arm64", "darwin_amd64", "darwin_arm64", "windows_amd64"}
	out, err := render(string(source), "v1.2.3", archives(t, platforms...))
	if err != nil {
		t.Fatal(err)
	}
	var manifest struct {
		Spec struct {
			Version   string `json:"version"`
			Platforms []struct {
				URI    string `json:"uri"`
				Sha256 string `json:"sha256"`
			} `json:"platforms"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(out, &manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Spec.Version != "v1.2.3" || len(manifest.Spec.Platforms) != len(platforms) {
		t.Errorf("got version %q and %d platforms", manifest.Spec.Version, len(manifest.Spec.Platforms))
	}
	for i, got := range manifest.Spec.Platforms {
		sum := sha256.Sum256([]byte(platforms[i]))
		uri := "https://github.com/kubelock/kubelock/releases/download/v1.2.3/dlock_" + platforms[i] + ".tar.gz"
		if got.URI != uri || got.Sha256 != hex.EncodeToString(sum[:]) {
			t.Errorf("%s: got %+v, want the hash %x", uri, got, sum)
		}
	}
}

// TestRenderRefuses checks a missing archive, a surplus archive, and a template that is not YAML.
func TestRenderRefuses(t *testing.T) {
	t.Parallel()
	const one = `uri: {{ addURIAndSha "https://example.com/{{ .TagName }}/dlock_linux_amd64.tar.gz" .TagName }}`
	for name, c := range map[string]struct{ source, folder, want string }{
		"an archive is missing":  {one, archives(t), "dlock_linux_amd64.tar.gz"},
		"an archive is not used": {"a: {" + one + "}", archives(t, platform, "plan9_386"), "does not name dlock_plan9_386.tar.gz"},
		"no YAML":                {"a: [", archives(t), "no YAML"},
		"no template":            {"{{", archives(t), "template"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := render(c.source, "v1.2.3", c.folder); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %q, %v; want an error with %q", out, err, c.want)
			}
		})
	}
}
