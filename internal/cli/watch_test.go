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
	"encoding/json"
	"regexp"
	"strings"
	"syscall"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// watching is "list --watch" under way.
func watching(t *testing.T, ns string, args ...string) *running {
	t.Helper()
	r := &running{Cmd: command(t, ns, append([]string{"list", "--watch"}, args...)...), output: &output{}}
	r.Stdout, r.Stderr = r.output, r.output
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// shows waits for a line.
func (r *running) shows(t *testing.T, line string) {
	t.Helper()
	eventually(t, "it shows "+line, func() bool { return regexp.MustCompile("(?m)^" + line).MatchString(r.output.String()) })
}

// TestListWatch sees what is there first, and then what comes, changes and goes.
func TestListWatch(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	hold(t, ns, "old")
	c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, Backend: kubelock.ConfigMaps, Identity: "me"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	lock := kubelock.NewLock[any](c, "come/and-go")
	ctx := within(t, patience)

	table, lines := watching(t, ns), watching(t, ns, "-o", "json")
	table.shows(t, "old +somebody ")
	lines.shows(t, `\{"kind":"DistributedLocks"`)
	held, err := lock.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	table.shows(t, "come/and-go +me +")
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	table.shows(t, "come/and-go +<none> +")
	if err := lock.Delete(ctx); err != nil {
		t.Fatal(err)
	}
	table.shows(t, "come/and-go +<deleted> +")
	lines.shows(t, `\{"kind":"ConfigMaps".*"deleted":true`)

	for _, r := range []*running{table, lines} {
		if err := r.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		r.end(t, 0)
	}
	text := table.output.String()
	if n := strings.Count(text, "KEY "); n != 1 || !strings.HasPrefix(text, "KEY ") {
		t.Errorf("%d headings:\n%s", n, text)
	}
	if strings.Count(text, "\nold ") != 1 {
		t.Errorf("what has not changed is not told once:\n%s", text)
	}
	for line := range strings.Lines(lines.output.String()) {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Errorf("a line is no JSON: %q", line)
		}
	}
}

// TestListWatchRefused tells which permission is missing, and ends.
func TestListWatchRefused(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	config := account(t, ns, "me")
	role := &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "list"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"kubelock.dev"}, Resources: []string{"distributedlocks"}, Verbs: []string{"list"}}},
	}
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "list"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "list"},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: ns, Name: "me"}},
	}
	look := func(args ...string) result {
		cmd := command(t, ns, append([]string{"list"}, args...)...)
		cmd.Env = append(cmd.Env, "KUBECONFIG="+config)
		return finish(t, cmd)
	}
	look("-w").want(t, 69, "warning: no permission to", "error: no permission to")
	if err := env.Client(t).Create(t.Context(), role); err != nil {
		t.Fatal(err)
	}
	if err := env.Client(t).Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it may list", func() bool { return look("--backend", "DistributedLocks").code == 0 })
	look("-w", "--backend", "DistributedLocks").want(t, 69, "no permission to watch distributedlocks.kubelock.dev")
}
