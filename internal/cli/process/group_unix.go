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

package process

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// GuardArgument makes the program a guard.
const GuardArgument = "__guard"

// PassedOn are the signals that a command gets which are sent to the plugin.
func PassedOn() []os.Signal { return append(Ending(), unix.SIGUSR1, unix.SIGUSR2) }

// Group is a process group that does not outlive the plugin.
//
// Its leader is a guard: a process that does nothing until the plugin has gone, which it
// sees at the end of a pipe, and then kills the group, itself included. As long as the
// guard lives, no other process can get the group's number.
//
// A command may leave the group for one that it leads itself, as setsid and interactive
// shells do. What is sent to the group is sent to that one, too.
type Group struct {
	guard    *exec.Cmd
	command  int            // the process, and the group that it may lead; 0 before it has begun
	lifeline io.WriteCloser // the end of the pipe that the plugin has
	gone     bool           // the guard is
	terminal
}

// dismissal is the line that tells a guard to end and nothing else. Each other line is the
// number of the command's process.
const dismissal = "dismissed"

// sweepTimeout bounds how long a guard lets the command live on for the sake of its files.
const sweepTimeout = 200 * time.Millisecond

// Guard kills its own process group, and the one that the command leads, when its input ends.
// Before that it removes the folder, which only the command has a use for.
func Guard(folder string) int {
	signal.Ignore(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGTSTP, unix.SIGTTOU, unix.SIGPIPE)
	tellOfReads()
	if _, err := os.Stdout.WriteString("."); err != nil { // Now signals can come.
		return 1
	}
	command := 0
	for told := bufio.NewScanner(os.Stdin); told.Scan(); {
		if told.Text() == dismissal {
			return 0
		}
		command, _ = strconv.Atoi(told.Text())
	}
	if folder != "" {
		swept := make(chan struct{})
		go func() {
			defer close(swept)
			_ = os.RemoveAll(folder) // There is nobody to tell.
		}()
		select {
		case <-swept:
		case <-time.After(sweepTimeout):
		}
	}
	if command > 1 {
		_ = unix.Kill(-command, unix.SIGKILL) // Most commands lead no group.
	}
	if err := unix.Kill(0, unix.SIGKILL); err != nil {
		return 1
	}
	return 0
}

// NewGroup starts a group's guard. If the plugin is killed, that removes the folder.
func NewGroup(folder string) (*Group, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	g := &Group{guard: exec.Command(self, GuardArgument, folder), terminal: terminal{fd: -1}} //nolint:gosec,noctx // It is this program, and ends with the group.
	g.guard.Env = []string{}
	g.guard.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	in, err := g.guard.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := g.guard.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := begin(g.guard); err != nil {
		return nil, err
	}
	g.lifeline = in
	if _, err := out.Read(make([]byte, 1)); err != nil {
		g.Close()
		return nil, fmt.Errorf("the guard of the command's process group has not begun: %w", err)
	}
	g.terminal.open(out)
	return g, nil
}

// Start starts a command in the group; in the foreground if the plugin is there. What
// would suspend it or the plugin is ignored: the lock would stay held, or be lost unseen.
func (g *Group) Start(cmd *exec.Cmd, errOut io.Writer) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: g.guard.Process.Pid}
	if g.Foreground() {
		cmd.SysProcAttr.Foreground, cmd.SysProcAttr.Ctty = true, g.fd
	}
	signal.Ignore(unix.SIGTSTP, unix.SIGTTOU) // The command inherits it.
	if g.lends {
		signal.Notify(make(chan os.Signal, 1), unix.SIGTTIN) // It stops the command, and not the plugin.
	} else {
		signal.Ignore(unix.SIGTTIN)
	}
	if err := begin(cmd); err != nil {
		return err
	}
	g.command = cmd.Process.Pid
	_, _ = fmt.Fprintln(g.lifeline, g.command) // If the guard was killed there is none to tell.
	if g.lends {
		g.lend(g.guard.Process.Pid, errOut)
	}
	return nil
}

// Signal sends a signal to the group. Its guard does not mind.
func (g *Group) Signal(s os.Signal) {
	if !g.gone {
		g.send(s)
	}
}

func (g *Group) send(s os.Signal) {
	number, ok := s.(syscall.Signal)
	if !ok {
		return
	}
	for _, id := range g.ids() {
		_ = unix.Kill(-id, number) // A group that has ended needs none.
		if g.waiting() {
			_ = unix.Kill(-id, unix.SIGCONT) // What is stopped would not see it.
		}
	}
}

// ids are the groups that the command may be in.
func (g *Group) ids() []int {
	if g.command == 0 {
		return []int{g.guard.Process.Pid}
	}
	return []int{g.guard.Process.Pid, g.command}
}

// empty reports whether no process is left.
func (g *Group) empty() bool {
	return !slices.ContainsFunc(g.ids(), func(id int) bool { return unix.Kill(-id, 0) == nil })
}

// Terminate asks the processes of the group to end.
func (g *Group) Terminate() {
	g.Signal(unix.SIGTERM)
	g.Signal(unix.SIGCONT) // So that it is seen by what was stopped.
}

// Kill kills the processes of the group.
func (g *Group) Kill() { g.send(unix.SIGKILL) }

// Ended waits for the end of the command, and then of the rest of its group, to which
// signals are passed on; false if that is not before the deadline.
func (g *Group) Ended(command <-chan error, signals <-chan os.Signal, deadline <-chan time.Time) bool {
	for running := true; running; {
		select {
		case <-command: //nolint:errcheck // How it ended does not matter.
			running = false
		case s := <-signals:
			g.Signal(s)
		case <-deadline:
			return false
		}
	}
	// The kernel tells nobody that a group is empty.
	g.dismiss()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for !g.empty() {
		select {
		case <-poll.C:
		case s := <-signals:
			g.send(s)
		case <-deadline:
			g.Kill()
			return true // The command itself has ended in time.
		}
	}
	return true
}

// dismiss ends the guard and nothing else.
func (g *Group) dismiss() {
	if g.gone {
		return
	}
	g.gone = true
	_, _ = fmt.Fprintln(g.lifeline, dismissal) // If the guard was killed there is none to dismiss.
	_ = g.lifeline.Close()
	_ = g.guard.Wait()
}

// Close takes the terminal back, and leaves alone what is left of the group.
func (g *Group) Close() {
	g.takeBack()
	g.dismiss()
}

// SignalOf is the signal that ended a process; 0 if none did.
func SignalOf(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return int(status.Signal())
	}
	return 0
}

// Interrupt does to the plugin's own group, and so to the plugin, what Ctrl-C does to
// one that is in the foreground. It returns where that does not end the plugin: it may have
// been started with SIGINT ignored, or as the first process of a container.
func Interrupt() {
	signal.Reset(unix.SIGINT)
	if err := unix.Kill(0, unix.SIGINT); err == nil {
		<-time.After(time.Second) // It is over sooner where the signal ends the plugin.
	}
}
