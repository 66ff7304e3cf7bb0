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

package dlock_test

import (
	"fmt"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// adopting has the test's binary become the plugin, as a process that orphans below it
// are given to: what the first process of a container is.
const adopting = "KUBELOCK_TEST_ADOPTING"

func init() {
	if os.Getenv(adopting) == "" {
		return
	}
	err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
	if err == nil {
		err = syscall.Exec(os.Args[0], os.Args, os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// TestRunLostWithOrphans has the plugin inherit what its command leaves: it takes note of
// their ends, and does not wait for the grace.
func TestRunLostWithOrphans(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	cmd := scripted(t, ns, `trap 'exit 9' TERM; (sleep 1000 & echo $$ $! ready >"$PIDS"); sleep 1000 & wait`, "--duration", "2s", "--grace", "1h")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = self // Its arguments name the plugin.
	cmd.Env = append(cmd.Env, adopting+"=1")
	r := begin(t, cmd)
	force(t, ns)
	r.end(t, 76, "ended when told")
	r.gone(t)
}
