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
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestMutantsCanBePlanted checks that the text which each mutant replaces occurs once.
func TestMutantsCanBePlanted(t *testing.T) {
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			root := filepath.Join("..", "..", "..")
			if m.module != "" {
				dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", m.module).Output()
				if err != nil {
					t.Fatal(err)
				}
				root = strings.TrimSpace(string(dir))
			}
			if err := m.change(filepath.Join(root, m.file), filepath.Join(t.TempDir(), "changed.go")); err != nil {
				t.Error(err)
			}
		})
	}
}
