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
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	authorizationv1 "k8s.io/api/authorization/v1"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
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

// inProcessNamespace has the plugin be the first process of a namespace, as in a container.
func inProcessNamespace(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if out, err := exec.CommandContext(within(t, patience), "unshare", "-pf", "--mount-proc", "true").CombinedOutput(); err != nil {
		t.Skipf("no namespace of processes can be made here, root can: %v: %s", err, out)
	}
	first := exec.CommandContext(within(t, 2*patience), "unshare", append([]string{"-pf", "--mount-proc", "--kill-child"}, cmd.Args...)...)
	first.Env = cmd.Env
	return first
}

// zombies is a script that leaves 300 orphans, and prints how many of them stay as zombies.
const zombies = `i=0; while [ $i -lt 300 ]; do (true &); i=$((i+1)); done; tries=0
	while n=$(grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l); [ $n -gt 0 ] && [ $tries -lt 200 ]; do
		tries=$((tries+1)); sleep 0.05
	done; echo $n; `

// TestFirstProcess runs the plugin as the first process of a container.
func TestFirstProcess(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	r := finish(t, inProcessNamespace(t, scripted(t, env.Namespace(t), zombies+"exit 7")))
	r.want(t, 7)
	if r.out != "0\n" {
		t.Errorf("of 300 orphans %q are zombies, want 0", r.out)
	}
}

// TestFirstProcessKeepsItsChildren has processes end all the time that the plugin does wait
// for: what prints its credentials, anew for each request. Their ends shall not be taken for
// those of orphans. What they leave is an orphan.
func TestFirstProcessKeepsItsChildren(t *testing.T) {
	t.Parallel()
	deploy(t) // The role.
	ns := env.Namespace(t)
	may := authorizationv1.ResourceAttributes{Verb: "create", Group: "kubelock.dev", Resource: "distributedlocks"}
	account := env.AccountIn(t, ns, "kubelock-user", may)
	dir := t.TempDir()
	file := asking(t, account, clientcmdapi.NeverExecInteractiveMode, fmt.Sprintf("for i in 1 2 3 4 5; do (true &); done; sleep 0.0$(($$ %% 10)); echo >>%s/asked", dir))
	// Ten renewals at least, among orphans without end.
	cmd := scripted(t, ns, `while [ "$(wc -l <"$DIR/asked")" -lt 12 ]; do for i in 1 2 3 4 5 6 7 8; do (true &); done; sleep 0.01; done; sleep 0.5
		grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l; exit 7`, "--duration", "6s")
	cmd.Env = append(cmd.Env, "KUBECONFIG="+file, "DIR="+dir)
	r := finish(t, inProcessNamespace(t, cmd))
	r.want(t, 7)
	// Those of the last requests may still be taken for processes that are waited for.
	if n, err := strconv.Atoi(strings.TrimSpace(r.out)); err != nil || n > 30 {
		t.Errorf("of 60 orphans of what prints credentials, or more, %q are zombies", r.out)
	}
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestRunOnAFullDisk does not run a command that could not get at the state.
func TestRunOnAFullDisk(t *testing.T) {
	t.Parallel()
	ns, dir := env.Namespace(t), t.TempDir()
	keep(t, of(t, ns, kubelock.DistributedLocks, "me"), "k", `"`+strings.Repeat("x", 100_000)+`"`)
	inner := command(t, ns, "run", "k", "--", "true")
	outer := exec.CommandContext(within(t, 2*patience), "unshare", append([]string{"-m", "sh", "-c",
		`mount -t tmpfs -o size=64k none "$TMPDIR" || exit 99; "$@"; code=$?; ls -A "$TMPDIR"; exit $code`, "sh"}, inner.Args...)...)
	outer.Env = append(slices.Clone(inner.Env), "TMPDIR="+dir)
	r := finish(t, outer)
	if r.code == 99 || strings.Contains(r.err, "unshare") {
		t.Skipf("no file system can be mounted here, root can: %s", r.err)
	}
	r.want(t, 126, "no space left", "set TMPDIR")
	if r.out != "" {
		t.Errorf("left in the folder for temporary files: %s", r.out)
	}
	free(t, ns, "k", v1alpha1.ReasonReleased)
}
