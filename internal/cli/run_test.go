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
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// object reads a lock's object.
func object(t testing.TB, ns, name string) *v1alpha1.DistributedLock {
	t.Helper()
	obj := &v1alpha1.DistributedLock{}
	if err := env.Client(t).Get(t.Context(), types.NamespacedName{Namespace: ns, Name: name}, obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

// free checks that nobody holds the lock, and how the last hold ended.
func free(t testing.TB, ns, name string, reason v1alpha1.ReleaseReason) {
	t.Helper()
	spec := object(t, ns, name).Spec
	if spec.Holder != nil || spec.LastRelease == nil || spec.LastRelease.Reason != reason {
		t.Errorf("holder %+v, last release %+v; want none, and the reason %s", spec.Holder, spec.LastRelease, reason)
	}
}

// hold takes a lock for the length of the test.
func hold(t testing.TB, ns, key string) {
	t.Helper()
	c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, LockDuration: time.Hour, Identity: "somebody"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := kubelock.NewLock[any](c, key).Acquire(within(t, patience)); err != nil {
		t.Fatal(err)
	}
}

func TestRunExitCodes(t *testing.T) { //nolint:tparallel // One after the other for one lock.
	testenv.Slow(t)
	t.Parallel()
	ns := env.Namespace(t)
	hold(t, ns, "taken")
	for _, tt := range []struct {
		name string
		args []string
		code int
		err  string
	}{
		{"success", []string{"run", "k", "--", "true"}, 0, ""},
		{"the command's own", []string{"run", "k", "--", "sh", "-c", "exit 42"}, 42, ""},
		{"a signal", []string{"run", "k", "--", "sh", "-c", "kill -KILL $$"}, 128 + 9, ""},
		{"no such command", []string{"run", "k", "--", "no-such-command"}, 127, "cannot be run"},
		{"taken", []string{"run", "taken", "--try", "--", "true"}, 75, `held by "somebody"`},
		{"timeout", []string{"run", "taken", "--timeout", "5s", "--", "true"}, 75, "place 1 of 1 in the queue"},
		{"another code", []string{"run", "taken", "--try", "--conflict-exit-code", "7", "--", "true"}, 7, "not acquired"},
		{"no command", []string{"run", "k"}, 64, "after --"},
		{"no dash", []string{"run", "k", "true"}, 64, "after --"},
		{"bad flag", []string{"run", "k", "--nonsense", "--", "true"}, 64, "--help"},
		{"bad code", []string{"run", "k", "--conflict-exit-code", "256", "--", "true"}, 64, "from 0 to 255"},
		{"bad duration", []string{"run", "k", "--duration", "1ms", "--", "true"}, 64, "at least 10ms"},
		{"bad timeout", []string{"run", "k", "--timeout", "-1s", "--", "true"}, 64, "negative"},
		{"bad backend", []string{"run", "k", "--backend", "Secrets", "--", "true"}, 64, "ConfigMaps"},
		{"bad key", []string{"run", "", "--", "true"}, 64, "empty"},
		{"both", []string{"run", "taken", "--try", "--timeout", "1s", "--", "true"}, 64, "not both"},
		{"unreachable", []string{"--server", "https://127.0.0.1:1", "run", "k", "--timeout", "1s", "--conflict-exit-code", "0", "--", "true"}, 69, "refused"},
		{"unknown command", []string{"rnu"}, 64, "unknown command"},
		{"no namespace", []string{"-n", "nowhere", "run", "k", "--", "true"}, 69, "choose another with -n"},
		{"bad namespace", []string{"-n", "Bad_NS!", "run", "k", "--", "true"}, 64, `the namespace "Bad_NS!" is not valid`},
		{"bad namespace to get from", []string{"-n", "Bad_NS!", "get", "k"}, 64, `the namespace "Bad_NS!" is not valid`},
		{"long identity", []string{"--identity", strings.Repeat("x", 254), "run", "k", "--", "true"}, 64, "--identity must have at most 253 bytes"},
		{"a key like a flag", []string{"run", "--", "-k", "--", "sh", "-c", `test "$KUBELOCK_KEY" = -k || exit 9`}, 0, ""},
		{"a key like a flag, of no lock", []string{"get", "--", "-x"}, 66, `"-x"`},
		{"no JSON", []string{"run", "k", "--", "sh", "-c", `echo '{' >"$KUBELOCK_VALUE_FILE"`}, 65, "no JSON"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := dlock(t, ns, tt.args...)
			r.want(t, tt.code, tt.err)
			for _, words := range []string{"Config.", "context deadline", "this program"} {
				if strings.Contains(r.err, words) {
					t.Errorf("it speaks of %q as if to a programmer: %s", words, r.err)
				}
			}
		})
	}
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

func TestRunState(t *testing.T) {
	t.Parallel()
	for _, backend := range []string{"DistributedLocks", "Leases", "ConfigMaps"} {
		t.Run(backend, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			temp := t.TempDir()
			run := func(script string) result {
				cmd := command(t, ns, "run", "-q", "a/Key", "--backend", backend, "--", "sh", "-c", script)
				cmd.Env = append(cmd.Env, "TMPDIR="+temp)
				return finish(t, cmd)
			}
			r := run(`test -s "$KUBELOCK_VALUE_FILE" && exit 3; stat -c %a "$KUBELOCK_VALUE_FILE"; echo $KUBELOCK_KEY; echo '{"n": 1}' >"$KUBELOCK_VALUE_FILE"`)
			r.want(t, 0)
			if r.out != "600\na/Key\n" {
				t.Errorf("the command sees %q", r.out)
			}
			run(`echo '{"n": 2}' >"$KUBELOCK_VALUE_FILE"; exit 5`).want(t, 5)
			r = run(`cat "$KUBELOCK_VALUE_FILE"; echo $KUBELOCK_TOKEN >&2; : >"$KUBELOCK_VALUE_FILE"`)
			r.want(t, 0)
			if r.out != "{\"n\":1}\n" {
				t.Errorf("the state is %q, want that of the command that succeeded", r.out)
			}
			token, err := strconv.ParseInt(strings.TrimSpace(r.err), 10, 64)
			if err != nil || token <= 0 {
				t.Errorf("the token is %q", r.err)
			}
			r = run(`cat "$KUBELOCK_VALUE_FILE"; echo $KUBELOCK_TOKEN >&2`)
			r.want(t, 0)
			if next, err := strconv.ParseInt(strings.TrimSpace(r.err), 10, 64); r.out != "" || err != nil || next <= token {
				t.Errorf("after the state was cleared it is %q; the token %q follows %d", r.out, r.err, token)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left in the folder for temporary files: %v %v", left, err)
			}
		})
	}
}

// TestRunOutput passes on more than fits into a pipe, in both directions.
func TestRunOutput(t *testing.T) {
	t.Parallel()
	input := strings.Repeat("0123456789abcde\n", 1<<16) // 1 MiB
	cmd := command(t, env.Namespace(t), "run", "-q", "k", "--", "sh", "-c", "tee /dev/stderr")
	cmd.Stdin = strings.NewReader(input)
	r := finish(t, cmd)
	if r.code != 0 || r.out != input || r.err != input {
		t.Errorf("exit code %d, %d bytes of output and %d of errors, want %d", r.code, len(r.out), len(r.err), len(input))
	}
}

// running is a plugin whose command has begun.
type running struct {
	*exec.Cmd
	output *output
	pids   []int // of the command, and of a child of its own
}

// output is what a process has written so far.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// start runs a script that prints "ready" and the two process numbers.
func start(t *testing.T, ns, script string, flags ...string) *running {
	t.Helper()
	return begin(t, scripted(t, ns, script, flags...))
}

// scripted is the plugin with a script.
func scripted(t *testing.T, ns, script string, flags ...string) *exec.Cmd {
	t.Helper()
	return command(t, ns, append(append([]string{"run", "k"}, flags...), "--", "sh", "-c", script)...)
}

// begin starts the plugin, whose script is as start has it.
func begin(t *testing.T, cmd *exec.Cmd) *running {
	t.Helper()
	testenv.Slow(t) // Processes, signals and leases that end.
	pids := filepath.Join(t.TempDir(), "pids")
	r := &running{Cmd: cmd, output: &output{}}
	r.Env = append(r.Env, "PIDS="+pids)
	r.Stdout, r.Stderr = r.output, r.output
	r.WaitDelay = patience // A leftover process must not hang the test.
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the command begins", func() bool {
		text, err := os.ReadFile(pids)
		return err == nil && strings.HasSuffix(string(text), "ready\n")
	})
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range strings.Fields(string(text))[:2] {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		r.pids = append(r.pids, pid)
	}
	return r
}

// until waits for what the process says.
func (r *running) until(t *testing.T, text string) {
	t.Helper()
	eventually(t, "it says "+text, func() bool { return strings.Contains(r.output.String(), text) })
}

const (
	// obedient ends at SIGTERM, as does its child.
	obedient = `trap 'echo told; exit 9' TERM; sleep 1000 & echo $$ $! ready >"$PIDS"; wait`
	// deaf ignores SIGTERM, as does its child.
	deaf = `trap '' TERM INT HUP; sleep 1000 & echo $$ $! ready >"$PIDS"; while :; do wait; done`
)

// gone checks that no process of the command is left.
func (r *running) gone(t *testing.T) {
	t.Helper()
	for _, pid := range r.pids {
		eventually(t, fmt.Sprintf("process %d ends", pid), func() bool {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err == nil { // A zombie has ended; who its parent is now does not matter.
				return strings.Contains(string(status), ") Z ")
			}
			return syscall.Kill(pid, 0) != nil
		})
	}
}

// end waits for the plugin, and checks its exit code.
func (r *running) end(t *testing.T, code int, texts ...string) {
	t.Helper()
	_ = r.Wait() // The code tells.
	result{code: r.ProcessState.ExitCode(), err: r.output.String()}.want(t, code, texts...)
}

func TestRunPassesSignalsOn(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r := start(t, ns, obedient)
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.end(t, 9, "told")
	r.gone(t)
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestRunPassesOtherSignalsOn sends what asks some programs to end, and means something of
// their own to others.
func TestRunPassesOtherSignalsOn(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]syscall.Signal{"QUIT": syscall.SIGQUIT, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			r := start(t, ns, `trap 'echo told; exit 9' `+name+`; sleep 1000 & echo $$ $! ready >"$PIDS"; wait`)
			if err := r.Process.Signal(s); err != nil {
				t.Fatal(err)
			}
			r.end(t, 9, "told")
			free(t, ns, "k", v1alpha1.ReasonReleased)
		})
	}
}

// TestRunWaitingEndsBySignal ends a plugin that has not got the lock.
func TestRunWaitingEndsBySignal(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	hold(t, ns, "k")
	cmd := command(t, ns, "run", "k", "--", "touch", filepath.Join(t.TempDir(), "never"))
	var text output
	cmd.Stderr = &text
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it queues", func() bool { return len(object(t, ns, "k").Spec.Waiters) == 1 })
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	result{code: cmd.ProcessState.ExitCode(), err: text.String()}.want(t, 128+15, "terminated")
	eventually(t, "it leaves the queue", func() bool { return len(object(t, ns, "k").Spec.Waiters) == 0 })
}

func TestRunKilled(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	r := start(t, ns, deaf, "--duration", "3s")
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.gone(t) // At once, and not when the lease ends.
	_ = r.Wait()
	dlock(t, ns, "run", "k", "--timeout", "50s", "--", "true").want(t, 0)
}

// TestRunWithoutTMPDIR does not run a command that could not get at the state.
func TestRunWithoutTMPDIR(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	cmd := command(t, ns, "run", "k", "--", "true")
	cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Join(t.TempDir(), "missing"))
	finish(t, cmd).want(t, 126, "set TMPDIR")
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

func TestRunRenews(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	const lease = 6 * time.Second
	r := start(t, ns, obedient, "--duration", lease.String())
	first := object(t, ns, "k").Spec.Holder
	eventually(t, "the hold outlives its first lease", func() bool {
		h := object(t, ns, "k").Spec.Holder
		if h == nil || h.LockID != first.LockID {
			t.Fatalf("the lock was lost to %+v", h)
		}
		return h.RenewTime.Sub(first.AcquireTime.Time) > lease
	})
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.end(t, 9, "told")
	r.gone(t)
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestRunExcludes lets two hundred commands append to a file, each of which would see
// that another runs.
func TestRunExcludes(t *testing.T) {
	testenv.Slow(t)
	ns := env.Namespace(t)
	dir := t.TempDir()
	const n = 200
	const lease = "10m" // How long a release may take, while two hundred programs start and join on cores that are busy otherwise.
	script := `mkdir "$DIR/running" || exit 3
		count=$(wc -l <"$DIR/file"); echo "$((count + 1)) $KUBELOCK_TOKEN" >>"$DIR/file"
		rmdir "$DIR/running"`
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range n {
		cmd := commandWithin(t, 7*patience, ns, "run", "k", "--duration", lease, "--", "sh", "-c", script)
		cmd.Env = append(cmd.Env, "DIR="+dir)
		all.Go(func() { finish(t, cmd).want(t, 0) })
	}
	all.Wait()
	text, err := os.ReadFile(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != n {
		t.Errorf("%d lines, want %d", len(lines), n)
	}
	last := 0
	for i, line := range lines {
		var count, token int
		if _, err := fmt.Sscan(line, &count, &token); err != nil || count != i+1 || token <= last {
			t.Errorf("line %d is %q, after token %d", i+1, line, last)
		}
		last = token
	}
}
