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
	"syscall"
	"testing"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestOutputTemplates prints locks by templates, as kubectl takes them.
func TestOutputTemplates(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	keep(t, of(t, ns, kubelock.DistributedLocks, "me"), "a/Key", `{"shard":12345678}`)
	hold(t, ns, "held")
	file := filepath.Join(t.TempDir(), "template")
	if err := os.WriteFile(file, []byte("{.lastRelease.reason} {.value.shard}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"get", "held", "-o", "jsonpath={.holder.identity}"}, "somebody"},
		{[]string{"get", "a/Key", "-o", "jsonpath={.value.shard}"}, "12345678"},
		{[]string{"get", "a/Key", "-o", "jsonpath={.holder.identity}"}, ""},
		{[]string{"get", "a/Key", "-o", "jsonpath-file=" + file}, "Released 12345678\n"},
		{[]string{"get", "a/Key", "-o", "go-template={{.key}} {{.value.shard}}"}, "a/Key 12345678"},
		{[]string{"list", "-o", `jsonpath={range .items[*]}{.key}{"\n"}{end}`}, "a/Key\nheld\n"},
		{[]string{"list", "-o", `go-template={{range .items}}{{.key}} {{with .holder}}{{.identity}}{{end}};{{end}}`}, "a/Key ;held somebody;"},
	} {
		r := dlock(t, ns, tt.args...)
		r.want(t, 0)
		if r.out != tt.want {
			t.Errorf("%q prints %q, want %q", tt.args, r.out, tt.want)
		}
	}
	dlock(t, ns, "get", "held", "-o", "jsonpath={.holder").want(t, 64, "--output", "unclosed action")
	dlock(t, ns, "list", "-o", "jsonpath").want(t, 64, "no template given")
	dlock(t, ns, "list", "-o", "go-template={{").want(t, 64, "--output")
	dlock(t, ns, "list", "-o", "jsonpath-file="+file+"-x").want(t, 64, "no such file")
}

// TestListSorts sorts by numbers and texts, and what has neither comes last.
func TestListSorts(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	for key, times := range map[string]int{"a": 10, "b": 9, "c": 1} {
		for range times {
			keep(t, of(t, ns, kubelock.DistributedLocks, "by-"+strings.Repeat("z", times)), key, "1")
		}
	}
	hold(t, ns, "held")
	for order, want := range map[string]string{
		".transitions":           "c held b a ",
		"{.key}":                 "a b c held ",
		"lastRelease.identity":   "c b a held ",
		".holder.acquireTime":    "held a b c ",
		".holder.nothing.at.all": "a b c held ",
	} {
		r := dlock(t, ns, "list", "--sort-by", order, "-o", `jsonpath={range .items[*]}{.key} {end}`)
		r.want(t, 0)
		if r.out != want {
			t.Errorf("by %s it lists %q, want %q", order, r.out, want)
		}
	}
	dlock(t, ns, "list", "--sort-by", ".holder[").want(t, 64, "--sort-by", "JSONPath")
}

// TestListWatchOnly prints changes and not what is there.
func TestListWatchOnly(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	c := of(t, ns, kubelock.DistributedLocks, "me")
	keep(t, c, "old", "1")
	lock := kubelock.NewLock[any](c, "new")
	r := &running{Cmd: command(t, ns, "list", "--watch-only", "-o", `jsonpath={.key} {.holder.identity}{"\n"}`), output: &output{}}
	r.Stdout, r.Stderr = r.output, r.output
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	// When it has begun to watch cannot be seen: only that it shows something.
	for done := false; !done; done = strings.Contains(r.output.String(), "new me\n") {
		held, err := lock.Acquire(within(t, patience))
		if err != nil {
			t.Fatal(err)
		}
		if err := held.Release(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-t.Context().Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	if err := r.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	r.end(t, 0)
	if strings.Contains(r.output.String(), "old") {
		t.Errorf("it prints what has not changed: %s", r.output)
	}
}
