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
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// topOn starts top on a terminal of 80 columns, whose settings tty tells.
func topOn(t *testing.T, ns string, environment ...string) (r *running, keyboard, tty *os.File) {
	t.Helper()
	r = &running{Cmd: command(t, ns, "top", "--interval", "100ms"), output: &output{}}
	r.Env = append(append(r.Env, "TERM=xterm"), environment...)
	keyboard, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := pty.Setsize(keyboard, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		t.Fatal(err)
	}
	r.Stdin, r.Stdout, r.Stderr = tty, tty, tty
	r.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		_, _ = io.Copy(r.output, keyboard) // It ends when nobody has the terminal any more.
	}()
	t.Cleanup(func() {
		_ = tty.Close()
		<-shown
		_ = keyboard.Close()
	})
	return r, keyboard, tty
}

var escape = regexp.MustCompile(`\x1b\[[?0-9;]*[a-zA-Z]`)

// TestTop looks at a lock that is held and waited for, quits in each way, and leaves the
// terminal as it was.
func TestTop(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	hold(t, ns, "held")
	waiter := command(t, ns, "run", "held", "--", "true")
	if err := waiter.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = waiter.Process.Kill()
		_ = waiter.Wait()
	})
	eventually(t, "it waits", func() bool { return len(object(t, ns, "held").Spec.Waiters) == 1 })

	for name, quit := range map[string]func(*testing.T, *running, io.Writer){
		"q": func(t *testing.T, _ *running, keyboard io.Writer) {
			t.Helper()
			press(t, keyboard, "xq")
		},
		"Ctrl-C": func(t *testing.T, _ *running, keyboard io.Writer) {
			t.Helper()
			press(t, keyboard, "\x03")
		},
		"SIGTERM": func(t *testing.T, r *running, _ io.Writer) {
			t.Helper()
			if err := r.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, keyboard, tty := topOn(t, ns)
			before, err := term.GetState(int(tty.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			// The wait is seen to grow from one picture to the next.
			eventually(t, "it shows the lock", func() bool {
				return regexp.MustCompile(`held +somebody +\S+ +1 +0\.0 +(0\.[1-9]s|[1-9]\S*)`).MatchString(r.output.String())
			})
			quit(t, r, keyboard)
			r.end(t, 0)
			after, err := term.GetState(int(tty.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			if *before != *after {
				t.Errorf("the terminal was left as %+v, was %+v", after, before)
			}
			r.until(t, "\x1b[?1049l")
			text := r.output.String()
			if !strings.Contains(text, "\x1b[33mheld") {
				t.Errorf("a lock that is waited for has no colour: %q", text)
			}
			for line := range strings.SplitSeq(escape.ReplaceAllString(text, ""), "\r\n") {
				if n := len([]rune(line)); n > 80 {
					t.Errorf("a line has %d columns: %q", n, line)
				}
			}
		})
	}
}

// TestTopWithoutColour finds nothing but movements of the cursor.
func TestTopWithoutColour(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	hold(t, ns, "held")
	r, keyboard, _ := topOn(t, ns, "NO_COLOR=1")
	r.until(t, "held  ")
	press(t, keyboard, "q")
	r.end(t, 0)
	if text := r.output.String(); regexp.MustCompile(`\x1b\[[0-9;]*m`).MatchString(text) {
		t.Errorf("colours in spite of NO_COLOR: %q", text)
	}
}

// TestTopOnce prints one picture for a program.
func TestTopOnce(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	hold(t, ns, "held\x1b[2J")
	r := dlock(t, ns, "top", "--interval", "100ms")
	r.want(t, 0)
	if strings.Contains(r.out, "\x1b") || strings.Count(r.out, "\n") != 5 || !strings.Contains(r.out, "1 locks, 1 held, 0 waited for") {
		t.Errorf("it prints %q", r.out)
	}
	if table := dlock(t, ns, "list"); strings.Contains(table.out, "\x1b") {
		t.Errorf("list prints %q", table.out)
	}
	dlock(t, ns, "top", "--interval", "1ms").want(t, 64, "--interval must be at least")
}

// TestTopCountsChanges acquires a lock while top shows it on a wide terminal.
func TestTopCountsChanges(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	id, _ := grasp(t, ns, "k")
	r, keyboard, _ := topOn(t, ns)
	if err := pty.Setsize(keyboard, &pty.Winsize{Rows: 24, Cols: 120}); err != nil {
		t.Fatal(err)
	}
	shows := func(changes int) func() bool {
		line := regexp.MustCompile(fmt.Sprintf(`\x1b\[Kk +\S+ +\S+ +0 +\S+ +- +%d  [·▁▂▃▄▅▆▇█]`, changes))
		return func() bool { return line.MatchString(r.output.String()) }
	}
	eventually(t, "it shows the lock", shows(0))
	for changes := 1; changes <= 2; changes++ {
		dlock(t, ns, "release", "k", "--lock-id", id).want(t, 0)
		id, _ = grasp(t, ns, "k")
		eventually(t, fmt.Sprintf("it shows %d changes", changes), shows(changes))
	}
	press(t, keyboard, "q")
	r.end(t, 0)
}
