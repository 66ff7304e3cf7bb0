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

package testenv

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
)

// Page returns the commands of a section of a page, up to the next section. A line that ends with a backslash goes on
// with the next one.
func Page(t *testing.T, file, section string) []string {
	t.Helper()
	root, err := assets.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n## "+section+"\n")
	if !found {
		t.Fatalf("%s has no section %q", file, section)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	var commands []string
	for _, block := range regexp.MustCompile("(?s) *```sh\n(.*?) *```").FindAllStringSubmatch(rest, -1) {
		for line := range strings.Lines(strings.ReplaceAll(block[1], "\\\n", "")) {
			commands = append(commands, strings.TrimSpace(line))
		}
	}
	if len(commands) == 0 {
		t.Fatalf("the section %q of %s has no commands", section, file)
	}
	return commands
}

// Shell runs a line of a page in dir, as an administrator with that kubeconfig. It finds kubectl, and the programs in the
// folders of path. The line must end within two minutes.
func Shell(t *testing.T, dir, kubeconfig, line string, path ...string) string {
	t.Helper()
	out, err := TryShell(t, dir, kubeconfig, line, path...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
	return out
}

// TryShell is Shell for a line that may fail.
func TryShell(t *testing.T, dir, kubeconfig, line string, path ...string) (string, error) {
	t.Helper()
	programs, err := assets.Find(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "KUBECACHEDIR="+kubeconfig+".cache",
		"PATH="+strings.Join(append(path, programs, os.Getenv("PATH")), string(os.PathListSeparator)))
	out, err := cmd.CombinedOutput()
	return string(out), err
}
