//go:build unix

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
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"

	plugincommands "github.com/kubelock/kubelock/internal/cli"
	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestExamples runs the examples of each command's help, as kubectl runs its plugin, in a
// namespace for each command: so the second example may use what the first has made.
func TestExamples(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	assetsDir, err := assets.Find(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Dir(plugin) + ":" + assetsDir + ":" + os.Getenv("PATH")
	commands := 0
	for _, cmd := range plugincommands.New(genericiooptions.NewTestIOStreamsDiscard()).Commands() {
		if cmd.Name() == "completion" || cmd.Name() == "help" { // Cobra's own.
			continue
		}
		commands++
		t.Run(cmd.Name(), func(t *testing.T) {
			t.Parallel()
			found := examples(cmd)
			if len(found) == 0 {
				t.Fatal("the help has no example")
			}
			ns := env.Namespace(t)
			dlock(t, ns, "run", "first", "--", "true").want(t, 0) // So that there is something to see.
			config := inNamespace(t, ns)
			for _, example := range found {
				shell := exec.CommandContext(within(t, 2*patience), "sh", "-ec", example)
				shell.Env = append(os.Environ(), "KUBECONFIG="+config, "PATH="+path)
				switch cmd.Name() {
				case "get", "describe":
					keep(t, of(t, ns, kubelock.DistributedLocks, "me"), "orders", "1")
				case "break":
					id, _ := grasp(t, ns, "migration")
					shell.Env = append(shell.Env, "KUBELOCK_LOCK_ID="+id)
					r, keyboard := atTerminal(t, shell)
					press(t, keyboard, "yes\n")
					r.end(t, 0)
					continue
				}
				shell.Dir = t.TempDir()
				if strings.Contains(example, " --watch") {
					watchExample(t, shell)
					continue
				}
				if r := finish(t, shell); r.code != 0 {
					t.Errorf("%s\nexit code %d\n%s%s", example, r.code, r.out, r.err)
				}
			}
			if cmd.Name() == "run" {
				if v := object(t, ns, "counter").Spec.Value; v == nil || *v != "1" {
					t.Errorf("the counter's state is not 1")
				}
			}
		})
	}
	if commands < 12 {
		t.Errorf("only %d commands were found", commands)
	}
}

// examples are those of a command's help: what is between its comments.
func examples(cmd *cobra.Command) []string {
	var found []string
	var current strings.Builder
	for line := range strings.Lines(cmd.Example + "\n#") {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "#") {
			current.WriteString(line + "\n")
			continue
		}
		if text := strings.TrimSpace(current.String()); text != "" {
			found = append(found, text)
		}
		current.Reset()
	}
	return found
}

// inNamespace is a configuration whose namespace is ns.
func inNamespace(t *testing.T, ns string) (path string) {
	t.Helper()
	config, err := clientcmd.LoadFromFile(env.Kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range config.Contexts {
		c.Namespace = ns
	}
	path = filepath.Join(t.TempDir(), "config")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// watchExample ends an example, which goes on for ever, when it has printed something.
func watchExample(t *testing.T, shell *exec.Cmd) {
	t.Helper()
	shell.Args[2] = "exec " + shell.Args[2]
	r := &running{Cmd: shell, output: &output{}}
	r.Stdout, r.Stderr = r.output, r.output
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	r.until(t, "first")
	if err := r.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r.end(t, 0)
}
