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
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// ignoring has a shell ignore a signal and become the plugin.
func ignoring(t *testing.T, signal string, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	shell := exec.CommandContext(within(t, 2*patience), "sh", append([]string{"-c", "trap '' " + signal + `; exec "$@"`, "sh"}, cmd.Args...)...)
	shell.Env = cmd.Env
	return shell
}

// TestRunIgnoredSignals sends what was ignored when the plugin began, as nohup has it, and then
// what was not.
func TestRunIgnoredSignals(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]syscall.Signal{"HUP": syscall.SIGHUP, "INT": syscall.SIGINT} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			r := begin(t, ignoring(t, name, scripted(t, ns, `trap 'echo told; exit 9' USR1; sleep 1000 & echo $$ $! ready >"$PIDS"; wait`)))
			for _, pid := range []int{r.Process.Pid, r.pids[0], r.Process.Pid} {
				if err := syscall.Kill(pid, s); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Process.Signal(syscall.SIGUSR1); err != nil {
				t.Fatal(err)
			}
			r.end(t, 9, "told")
			free(t, ns, "k", v1alpha1.ReasonReleased)
		})
	}
}

// TestRunWaitingIgnoresHangUp hangs up while the plugin waits for the lock.
func TestRunWaitingIgnoresHangUp(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	id, _ := grasp(t, ns, "k")
	cmd := ignoring(t, "HUP", command(t, ns, "run", "k", "--", "sh", "-c", "exit 4"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it queues", func() bool { return len(object(t, ns, "k").Spec.Waiters) == 1 })
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	dlock(t, ns, "release", "k", "--lock-id", id).want(t, 0)
	_ = cmd.Wait() // Its exit code is looked at.
	if code := cmd.ProcessState.ExitCode(); code != 4 {
		t.Errorf("exit code %d, want that of the command, 4", code)
	}
}

// inSession runs a script in a session of its own, which the command's process group is not in.
func inSession(t *testing.T, ns, script string, flags ...string) *exec.Cmd {
	t.Helper()
	return command(t, ns, append(append([]string{"run", "k"}, flags...), "--", "setsid", "sh", "-c", script)...)
}

// TestRunSessionPassesSignalsOn sends a signal to a command that has left its group.
func TestRunSessionPassesSignalsOn(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r := begin(t, inSession(t, ns, obedient))
	if err := r.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	r.end(t, 9, "told")
	r.gone(t)
}

// TestRunSessionLost loses the lock of a command that has left its group.
func TestRunSessionLost(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ script, grace, says string }{
		"obedient": {obedient, "1h", "ended when told"},
		"deaf":     {deaf, "100ms", "was killed"},
		"no grace": {deaf, "0", "was killed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			r := begin(t, inSession(t, ns, tt.script, "--duration", "2s", "--grace", tt.grace))
			force(t, ns)
			r.end(t, 76, tt.says)
			r.gone(t)
		})
	}
}

// TestRunSessionKilled kills the plugin above a command that has left its group.
func TestRunSessionKilled(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r := begin(t, inSession(t, ns, deaf))
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.gone(t)
	_ = r.Wait() // It was killed.
}

// TestRunKilledLeavesNoFile kills the plugin, whose state others shall not find.
func TestRunKilledLeavesNoFile(t *testing.T) {
	t.Parallel()
	ns, temp := env.Namespace(t), t.TempDir()
	cmd := scripted(t, ns, deaf)
	cmd.Env = append(cmd.Env, "TMPDIR="+temp)
	r := begin(t, cmd)
	if left, err := os.ReadDir(temp); err != nil || len(left) != 1 {
		t.Fatalf("while the command runs the folder has %v %v, want one", left, err)
	}
	if err := r.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	r.gone(t)
	_ = r.Wait() // It was killed.
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left in the folder for temporary files: %v %v", left, err)
	}
}

// TestRunSweepsWhatWasLeft kills a plugin and its guard at once, so that neither removes the folder with the state. The
// next run does, and leaves alone that of a plugin which lives.
func TestRunSweepsWhatWasLeft(t *testing.T) {
	t.Parallel()
	ns, temp := env.Namespace(t), t.TempDir()
	folders := func() (names []string) {
		t.Helper()
		left, err := os.ReadDir(temp)
		if err != nil {
			t.Fatal(err)
		}
		for _, entry := range left {
			names = append(names, entry.Name())
		}
		return names
	}
	in := func(cmd *exec.Cmd) *exec.Cmd {
		cmd.Env = append(cmd.Env, "TMPDIR="+temp)
		return cmd
	}
	killed := begin(t, in(scripted(t, ns, deaf, "--duration", "2s")))
	left := folders()
	group, err := syscall.Getpgid(killed.pids[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{-group, killed.Process.Pid} { // The guard is in the group, and cannot act once it is stopped.
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	for _, pid := range []int{-group, killed.Process.Pid} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	_ = killed.Wait() // It was killed.
	killed.gone(t)
	if now := folders(); len(left) != 1 || !slices.Equal(now, left) {
		t.Fatalf("after the kill there are %v, before there were %v", now, left)
	}
	lives := begin(t, in(command(t, ns, "run", "other", "--", "sh", "-c", obedient)))
	own := folders()
	if len(own) != 1 || slices.Equal(own, left) {
		t.Errorf("the next run has left %v, and %v was left", own, left)
	}
	finish(t, in(command(t, ns, "run", "third", "--", "true"))).want(t, 0)
	if now := folders(); !slices.Equal(now, own) {
		t.Errorf("beside a plugin that lives, a run leaves %v of %v", now, own)
	}
	if err := lives.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	lives.end(t, 9, "told")
	if now := folders(); len(now) > 0 {
		t.Errorf("at the end there are %v", now)
	}
}

// TestRunIntoAClosedPipe has the reader of the command's output leave, as head does. The command ends by SIGPIPE, as it
// does without the plugin, and the lock is released.
func TestRunIntoAClosedPipe(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, ns, "run", "k", "--", "yes")
	cmd.Stdout = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = out.Close() // The plugin has it.
	if _, err := in.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	_ = cmd.Wait() // Its exit code is looked at.
	if code := cmd.ProcessState.ExitCode(); code != 128+13 {
		t.Errorf("exit code %d, want 141", code)
	}
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestListIntoAClosedPipe has the reader of the plugin's own output leave. That is an error of the write, after which the
// plugin ends in order, and no signal that would end it under a lock.
func TestListIntoAClosedPipe(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	dlock(t, ns, "run", "k", "--", "true").want(t, 0)
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, ns, "list", "--watch", "--backend", "DistributedLocks")
	var told output
	cmd.Stdout, cmd.Stderr = out, &told
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = out.Close()
	if _, err := in.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	dlock(t, ns, "run", "k", "--", "true").want(t, 0) // Each change is a row.
	_ = cmd.Wait()                                    // Its exit code is looked at.
	if code := cmd.ProcessState.ExitCode(); code != 69 || !strings.Contains(told.String(), "broken pipe") {
		t.Errorf("it ended with %v: %s", cmd.ProcessState, told.String())
	}
}

// TestRunValueFileReplaced has the command leave what is no state.
func TestRunValueFileReplaced(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	keep(t, of(t, ns, "DistributedLocks", "me"), "k", "1")
	for _, tt := range []struct{ name, script, says string }{
		{"no file", `rm "$KUBELOCK_VALUE_FILE"`, "no such file"},
		{"a FIFO", `rm "$KUBELOCK_VALUE_FILE"; mkfifo "$KUBELOCK_VALUE_FILE"`, "no regular file"},
		{"a folder", `rm "$KUBELOCK_VALUE_FILE"; mkdir "$KUBELOCK_VALUE_FILE"`, "no regular file"},
		{"two gigabytes", `truncate -s 2G "$KUBELOCK_VALUE_FILE"`, "more than 16 MiB"},
		{"bytes", `printf '"\377"' >"$KUBELOCK_VALUE_FILE"`, "is not UTF-8"},
		{"no JSON", `echo hello >"$KUBELOCK_VALUE_FILE"`, "is no JSON"},
	} {
		temp := t.TempDir()
		cmd := command(t, ns, "run", "k", "--", "sh", "-c", tt.script)
		cmd.Env = append(cmd.Env, "TMPDIR="+temp)
		t.Log(tt.name)
		finish(t, cmd).want(t, 65, tt.says)
		if v := object(t, ns, "k").Spec.Value; v == nil || *v != "1" {
			t.Errorf("%s: the state is %v, want what it was", tt.name, v)
		}
		if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
			t.Errorf("%s: left in the folder for temporary files: %v %v", tt.name, left, err)
		}
	}
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestSetRefusesWhatIsNoState takes no text that would be stored otherwise than it was given.
func TestSetRefusesWhatIsNoState(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	file := filepath.Join(t.TempDir(), "large")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 2<<30); err != nil {
		t.Fatal(err)
	}
	dlock(t, ns, "set", "k", "\"\xff\"").want(t, 65, "is not UTF-8", "base64")
	dlock(t, ns, "set", "k", "1", "--if-value", "\"\xff\"").want(t, 65, "is not UTF-8")
	dlock(t, ns, "set", "k", "hello").want(t, 65, "is no JSON")
	dlock(t, ns, "set", "k", "-f", file).want(t, 65, "more than 16 MiB")
	dlock(t, ns, "get", "k").want(t, 66)
}

// TestEditedState has the stored state be no JSON, as an edit by hand may leave it.
func TestEditedState(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	keep(t, of(t, ns, "ConfigMaps", "me"), "k", "1")
	if out, err := env.Kubectl(t.Context(), "", "patch", "configmap", "-n", ns, "k", "--type=merge", "-p", `{"data":{"value":"{"}}`); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	for _, args := range [][]string{{"get", "k"}, {"run", "k", "--", "false"}, {"acquire", "k"}} {
		cmd := command(t, ns, append([]string{"--backend", "ConfigMaps"}, args...)...)
		finish(t, cmd).want(t, 65, "is no JSON", "kubectl dlock delete")
	}
	out, err := env.Kubectl(t.Context(), "", "get", "configmap", "-n", ns, "k", "-o", "jsonpath={.data.value}")
	if err != nil || strings.TrimSpace(out) != "{" {
		t.Errorf("the state is %q %v, want what it was", out, err)
	}
}
