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
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// onTerminal starts a script below the plugin on a terminal of its own.
func onTerminal(t *testing.T, ns, script string) (r *running, keyboard *os.File) {
	t.Helper()
	return atTerminal(t, command(t, ns, "run", "k", "--", "sh", "-c", script))
}

// atTerminal starts the plugin on a terminal of its own.
func atTerminal(t *testing.T, cmd *exec.Cmd) (r *running, keyboard *os.File) {
	t.Helper()
	testenv.Slow(t)
	r = &running{Cmd: cmd, output: &output{}}
	keyboard, err := pty.Start(r.Cmd)
	if err != nil {
		t.Fatal(err)
	}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(r.output, keyboard) // It ends when nobody has the terminal any more.
	}()
	t.Cleanup(func() {
		_ = keyboard.Close()
		<-shown
	})
	return r, keyboard
}

// press types.
func press(t *testing.T, keyboard io.Writer, keys string) {
	t.Helper()
	if _, err := io.WriteString(keyboard, keys); err != nil {
		t.Fatal(err)
	}
}

// TestTerminalInput has a command read from the keyboard, which only a process group in
// the foreground may do, and ignore Ctrl-Z.
func TestTerminalInput(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r, keyboard := onTerminal(t, ns, `echo begun; read line; echo "read <$line>"; exit 4`)
	r.until(t, "begun")
	press(t, keyboard, "\x1ahello\n")
	r.until(t, "read <hello>")
	r.end(t, 4)
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestTerminalInterrupt presses Ctrl-C, which the terminal sends to the command and not to
// the plugin.
func TestTerminalInterrupt(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	// If it is pressed just before the shell starts its sleep only the shell learns of it, and
	// sees to its trap when the sleep is over: that must be short.
	r, keyboard := onTerminal(t, ns, `trap 'echo cleaning up; exit 5' INT; echo begun; while :; do sleep 0.1; done`)
	r.until(t, "begun")
	press(t, keyboard, "\x03")
	r.end(t, 5)
	r.until(t, "cleaning up")
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestTerminalInterruptsTheScript presses Ctrl-C, of which only the command learns from
// the terminal: the script around the plugin shall end, too, as it does without a plugin.
func TestTerminalInterruptsTheScript(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	inner := command(t, ns, "run", "k", "--", "sh", "-c", "echo begun; exec sleep 1000")
	outer := exec.CommandContext(within(t, 2*patience), "bash", append([]string{"-c", `"$@"; echo went on with $?`, "script"}, inner.Args...)...)
	outer.Env = inner.Env
	r, keyboard := atTerminal(t, outer)
	r.until(t, "begun")
	press(t, keyboard, "\x03")
	_ = r.Wait() // Its state tells.
	if s, ok := r.ProcessState.Sys().(syscall.WaitStatus); !ok || !s.Signaled() || s.Signal() != syscall.SIGINT {
		t.Errorf("the script ended with %v: %s", r.ProcessState, r.output)
	}
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// script returns a shell that runs text, with the plugin and its arguments as "$@".
func script(t *testing.T, text string, inner *exec.Cmd) *exec.Cmd {
	t.Helper()
	outer := exec.CommandContext(within(t, 2*patience), "bash", append([]string{"-c", text, "script"}, inner.Args...)...)
	outer.Env = inner.Env
	return outer
}

// TestTerminalPipeline leaves the keyboard to a pager.
func TestTerminalPipeline(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r, keyboard := atTerminal(t, script(t, `"$@" | { read line; echo "$line"; read key </dev/tty; echo "pressed <$key>"; }`,
		command(t, ns, "run", "k", "--", "sh", "-c", "echo begun; while kill -0 $PPID; do sleep 0.1; done")))
	r.until(t, "begun")
	press(t, keyboard, "q\n")
	r.until(t, "pressed <q>")
	press(t, keyboard, "\x03") // The plugin has it, and passes it on.
	_ = r.Wait()               // How the script ends does not matter.
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestTerminalPipelineReads has the command of a pipeline read from the keyboard, and a pager that is stopped meanwhile.
func TestTerminalPipelineReads(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r, keyboard := inShell(t, ns, `"$DLOCK" -n "$NS" run k -- bash -c 'read line; echo "read <$line>"; read line'`+
		` | { read line; echo "$line"; read key </dev/tty; echo "pressed <$key>"; }`)
	press(t, keyboard, "hello\n")
	r.until(t, "read <hello>") // From now on the pager wants the keyboard, too.
	press(t, keyboard, "more\nq\n")
	r.until(t, "pressed <q>")
	press(t, keyboard, "exit 3\n")
	r.end(t, 3)
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestTerminalPipelineInterrupt presses Ctrl-C when the command of a pipeline has the keyboard: the script ends.
func TestTerminalPipelineInterrupt(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r, keyboard := atTerminal(t, script(t, `"$@" | cat; echo went on`,
		command(t, ns, "run", "k", "--", "bash", "-c", `read line; echo "read <$line>"; exec sleep 1000`)))
	press(t, keyboard, "hello\n")
	r.until(t, "read <hello>")
	press(t, keyboard, "\x03")
	_ = r.Wait() // Its output tells.
	if strings.Contains(r.output.String(), "went on") {
		t.Errorf("the script goes on after Ctrl-C: %s", r.output)
	}
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// inShell types a line into an interactive shell, whose $DLOCK is the plugin and $NS the namespace.
func inShell(t *testing.T, ns, line string) (r *running, keyboard *os.File) {
	t.Helper()
	shell := exec.CommandContext(within(t, 2*patience), "bash", "--norc", "-i")
	shell.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig(), "PS1=in the shell> ", "HISTFILE=", "DLOCK="+plugin, "NS="+ns)
	r, keyboard = atTerminal(t, shell)
	r.until(t, "in the shell>")
	press(t, keyboard, line+"\n")
	return r, keyboard
}

// inBackground starts the plugin in the background of an interactive shell, with a command that reads from the keyboard.
func inBackground(t *testing.T, ns string) (r *running, keyboard *os.File) {
	t.Helper()
	r, keyboard = inShell(t, ns, `"$DLOCK" -n "$NS" run k --duration 3s -- bash -c 'read line; echo "read <$line>"' &`)
	r.until(t, "bring it to the foreground with fg")
	return r, keyboard
}

// TestTerminalBackground brings a command to the foreground that was stopped in the background when it read from the terminal.
func TestTerminalBackground(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r, keyboard := inBackground(t, ns)
	held := object(t, ns, "k").Spec.Holder
	eventually(t, "the lock is renewed while the command is stopped", func() bool {
		now := object(t, ns, "k").Spec.Holder
		return now != nil && now.LockID == held.LockID && now.RenewTime.After(held.RenewTime.Time)
	})
	press(t, keyboard, "echo the shell has the $((6 * 7))\n")
	r.until(t, "the shell has the 42")
	press(t, keyboard, "fg\nhello\n")
	r.until(t, "read <hello>")
	press(t, keyboard, "echo again $((6 * 8)); exit 3\n")
	r.until(t, "again 48")
	r.end(t, 3)
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestTerminalBackgroundKilled ends a command that is stopped in the background.
func TestTerminalBackgroundKilled(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r, keyboard := inBackground(t, ns)
	press(t, keyboard, "kill %1; wait %1; echo it ended with $?; exit 3\n")
	r.until(t, "it ended with 143")
	r.end(t, 3)
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestTerminalInterruptIsIgnored presses Ctrl-C where the script around the plugin ignores
// it: plugin and command ignore it, too. What ends the command then does not end the script.
func TestTerminalInterruptIsIgnored(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	inner := command(t, ns, "run", "k", "--", "sh", "-c", `echo begun; read line; echo "read <$line>"; exec sleep 1000`)
	outer := exec.CommandContext(within(t, 2*patience), "bash", append([]string{"-c", `trap '' INT; "$@"; echo went on with $?`, "script"}, inner.Args...)...)
	outer.Env = inner.Env
	r, keyboard := atTerminal(t, outer)
	r.until(t, "begun")
	press(t, keyboard, "\x03hello\n")
	r.until(t, "read <hello>")
	press(t, keyboard, "\x1c") // SIGQUIT
	r.until(t, "went on with 131")
	r.end(t, 0)
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestTerminalShell has an interactive shell as the command, which makes a process group of its own
// and takes the terminal for that. It gives both back.
func TestTerminalShell(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	inner := command(t, ns, "run", "k", "--", "env", "PS1=in the shell> ", "bash", "--norc", "-i")
	outer := exec.CommandContext(within(t, 2*patience), "bash", append([]string{"-c", `"$@"; echo went on with $?; read line; echo "the script has <$line>"`, "script"}, inner.Args...)...)
	outer.Env = inner.Env
	r, keyboard := atTerminal(t, outer)
	r.until(t, "in the shell>")
	press(t, keyboard, "echo $((6 * 7)) times; exit 3\n")
	r.until(t, "42 times")
	r.until(t, "went on with 3")
	press(t, keyboard, "hello\n")
	r.until(t, "the script has <hello>")
	r.end(t, 0)
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestTerminalShellLost loses the lock of an interactive shell, which ignores SIGTERM.
func TestTerminalShellLost(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	cmd := command(t, ns, "run", "k", "--duration", "2s", "--grace", "100ms", "--", "bash", "--norc", "-i")
	cmd.Env = append(cmd.Env, "PS1=in the shell> ")
	r, _ := atTerminal(t, cmd)
	r.until(t, "in the shell>")
	force(t, ns)
	r.end(t, 76, "was killed")
}

// TestTerminalTellsWhoHolds shows a person who holds the lock, and the place in the queue, in a
// line that is gone when the command begins.
func TestTerminalTellsWhoHolds(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	id, _ := grasp(t, ns, "k", "--identity", "ci-runner-1")
	cmd := command(t, ns, "run", "k", "--", "sh", "-c", "echo begun")
	cmd.Env = append(cmd.Env, "NO_COLOR=1", "TERM=dumb")
	r, _ := atTerminal(t, cmd)
	r.until(t, `waiting for "k": held by "ci-runner-1" for `)
	r.until(t, ", place 1 of 1 in the queue")
	if strings.Contains(r.output.String(), "\x1b") {
		t.Errorf("it controls the terminal: %q", r.output)
	}
	dlock(t, ns, "release", "k", "--lock-id", id).want(t, 0)
	r.end(t, 0)
	r.until(t, "begun")
	_, after, _ := strings.Cut(r.output.String()[strings.LastIndex(r.output.String(), "in the queue"):], "\r")
	if line, last, ok := strings.Cut(after, "\r"); !ok || strings.TrimSpace(line) != "" || last != "begun\r\n" {
		t.Errorf("at the end the terminal has %q", after)
	}
}

// TestPipeHasNoProgress waits where no person looks: in a pipe there is no line of who holds the lock.
func TestPipeHasNoProgress(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	hold(t, ns, "k")
	r := dlock(t, ns, "run", "k", "--timeout", "4s", "--", "true")
	r.want(t, 75, "place 1 of 1 in the queue")
	if strings.Contains(r.err, "waiting for") || strings.Contains(r.err, "\r") || strings.Count(r.err, "\n") != 1 || r.out != "" {
		t.Errorf("it tells %q and %q", r.out, r.err)
	}
}

// TestTerminalQuiet waits without a word.
func TestTerminalQuiet(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	hold(t, ns, "k")
	r, _ := atTerminal(t, command(t, ns, "run", "k", "-q", "--timeout", "4s", "--", "true"))
	r.end(t, 75)
	if strings.Contains(r.output.String(), "waiting for") {
		t.Errorf("it tells %q", r.output)
	}
}
