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
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNamedBuilds has the builds that ship, and those that the documents name, leave out what no
// user needs: symbols, and by cgo the linker's support for plugins of Go, which keeps every method.
func TestNamedBuilds(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"Dockerfile", "Makefile", "README.md", "docs/kubectl-dlock.md", "hack/archives.sh"} {
		text, err := os.ReadFile(filepath.Join(env.Root, file))
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, "go build") || !strings.Contains(line, "./cmd/kubectl-dlock") && !strings.Contains(line, "./cmd/...") {
				continue
			}
			found++
			for _, want := range []string{"CGO_ENABLED=0", "-trimpath", `-ldflags="-s -w"`} {
				if !strings.Contains(line, want) {
					t.Errorf("%s builds without %s: %s", file, want, line)
				}
			}
		}
		if found == 0 {
			t.Errorf("%s has no build of the plugin", file)
		}
	}
}
