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
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

func TestCompletion(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	dlock(t, ns, "run", "nightly/backup", "--", "true").want(t, 0)
	dlock(t, ns, "run", "orders", "--", "true").want(t, 0)
	if r := dlock(t, ns, "__complete", "run", "nig"); !strings.HasPrefix(r.out, "nightly/backup\n:") {
		t.Errorf("completed keys: %q", r.out)
	}
	for _, key := range []string{"odd two\nlines", "odd\ttab", "odd key", `odd"$(x)`} {
		dlock(t, ns, "set", key, "1").want(t, 0)
	}
	if r := dlock(t, ns, "__complete", "get", "odd"); r.out != "odd\"$(x)\nodd key\n:4\n" && r.out != "odd key\nodd\"$(x)\n:4\n" {
		t.Errorf("completed odd keys: %q", r.out) // Those that a shell could not tell apart are left out.
	}
	if r := dlock(t, ns, "__complete", "run", "-n", ns); !strings.Contains(r.out, ns+"\n") {
		t.Errorf("completed namespaces: %q", r.out)
	}
	if r := dlock(t, ns, "__complete", "run", "--backend", ""); !strings.HasPrefix(r.out, "DistributedLocks\nLeases\nConfigMaps\n:") {
		t.Errorf("completed backends: %q", r.out)
	}
	for of, want := range map[string]string{"list": "table\nwide\njson\nyaml\nname\njsonpath=\n", "get": "value\njson\nyaml\njsonpath=\n", "acquire": "text\njson\nenv\n:"} {
		if r := dlock(t, ns, "__complete", of, "-o", ""); !strings.HasPrefix(r.out, want) {
			t.Errorf("completed outputs of %s: %q", of, r.out)
		}
	}
	if r := dlock(t, ns, "__complete", "get", "-o", "go"); r.out != "go-template=\ngo-template-file=\n:6\n" { // Neither a space nor files.
		t.Errorf("completed templates: %q", r.out)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if r := dlock(t, ns, "completion", shell); r.code != 0 || r.out == "" {
			t.Errorf("no completion for %s", shell)
		}
	}
}

// TestCompletionOfKeysLikeFlags completes keys that begin with -, and has each command take what was completed.
func TestCompletionOfKeysLikeFlags(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	keys := []string{"--", "-d=1", "-dash"}
	for _, key := range append(keys, "plain") {
		dlock(t, ns, "set", "--", key, "1").want(t, 0)
	}
	const before = "--\tbefore a key that begins with -\n:4\n"
	for _, tt := range []struct {
		line []string
		want string
	}{
		{[]string{"get", ""}, "plain\n" + before},
		{[]string{"get", "pl"}, "plain\n:4\n"},
		{[]string{"get", "-o", "json", ""}, "plain\n" + before},
		{[]string{"get", "-o", "json", "--", "-"}, "--\n-d=1\n-dash\n:4\n"},
		{[]string{"get", "--", ""}, "--\n-d=1\n-dash\nplain\n:4\n"},
		{[]string{"get", "--", "-da"}, "-dash\n:4\n"},
		{[]string{"get", "--", "-d="}, "-d=1\n:4\n"},
		{[]string{"run", "--", "-da"}, "-dash\n:4\n"},
		{[]string{"run", "--", "-dash", "--", "-da"}, ":0\n"}, // A command.
	} {
		r := dlock(t, ns, append([]string{"__complete"}, tt.line...)...)
		lines := strings.SplitAfter(r.out, "\n")
		if len(lines) > 3 && !strings.HasSuffix(r.out, before) {
			slices.Sort(lines[:len(lines)-2])
		}
		if strings.Join(lines, "") != tt.want {
			t.Errorf("completed %q: %q, want %q", tt.line, r.out, tt.want)
		}
	}
	for _, key := range keys {
		if r := dlock(t, ns, "get", "--", key); r.code != 0 || r.out != "1\n" {
			t.Errorf("get -- %s: exit code %d, %q", key, r.code, r.out)
		}
		if r := dlock(t, ns, "run", "--", key, "--", "echo", "-dash"); r.code != 0 || r.out != "-dash\n" {
			t.Errorf("run -- %s: exit code %d, %q", key, r.code, r.out)
		}
	}
}

// TestKubectlCompletesKeysLikeFlags has kubectl itself complete and run such a line.
func TestKubectlCompletesKeysLikeFlags(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	dlock(t, ns, "set", "--", "-dash", "1").want(t, 0)
	shell := func(line string) string {
		t.Helper()
		return testenv.Shell(t, env.Root, env.Kubeconfig(), line, filepath.Dir(plugin), filepath.Join(env.Root, "cmd", "kubectl-dlock"))
	}
	if out := shell("kubectl __complete dlock get -n " + ns + " '' 2>/dev/null"); !strings.HasPrefix(out, "--\tbefore") {
		t.Errorf("kubectl completes a key by %q", out)
	}
	if out := shell("kubectl __complete dlock get -n " + ns + " -- - 2>/dev/null"); !strings.HasPrefix(out, "-dash\n:4\n") {
		t.Errorf("kubectl completes the key by %q", out)
	}
	if out := shell("kubectl dlock get -n " + ns + " -- -dash"); out != "1\n" {
		t.Errorf("kubectl dlock get prints %q", out)
	}
}
