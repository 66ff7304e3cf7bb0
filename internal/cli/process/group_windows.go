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
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// GuardArgument is that of a guard, which only Unix has.
const GuardArgument = "__guard"

// Guard returns the exit code of wrong usage (EX_USAGE): there are no guards here.
func Guard(string) int { return 64 }

// PassedOn are the signals that a command gets which are sent to the plugin.
func PassedOn() []os.Signal { return Ending() }

// Group is a job: the command with all that it starts. The system ends a job when its last
// handle is closed, and so when the plugin is killed. There are no signals here but that which
// kills.
type Group struct {
	command *exec.Cmd
	job     windows.Handle
}

// NewGroup makes an empty job.
func NewGroup(string) (*Group, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("creating a job for the command: %w", err)
	}
	g := &Group{job: job}
	if err := g.limit(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE); err != nil {
		_ = windows.CloseHandle(job) // It is empty.
		return nil, fmt.Errorf("creating a job for the command: %w", err)
	}
	return g, nil
}

// limit says what the system does to the job.
func (g *Group) limit(flags uint32) error {
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: flags},
	}
	_, err := windows.SetInformationJobObject(g.job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	return err
}

// Start starts the command in the job. The command is suspended until it is there, so that all that it starts is
// in the job, too. If the plugin is killed before that, a process is left that has done nothing.
func (g *Group) Start(cmd *exec.Cmd, _ io.Writer) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_SUSPENDED}
	if err := begin(cmd); err != nil {
		return err
	}
	g.command = cmd
	err := g.assign(cmd)
	if err == nil {
		err = resume(uint32(cmd.Process.Pid)) //nolint:gosec // Windows has no others.
	}
	if err == nil {
		return nil
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return fmt.Errorf("starting the command in a job: %w", err)
}

// assign puts the process of a command into the job.
func (g *Group) assign(cmd *exec.Cmd) (err error) {
	const access = windows.PROCESS_SET_QUOTA | windows.PROCESS_TERMINATE
	process, err := windows.OpenProcess(access, false, uint32(cmd.Process.Pid)) //nolint:gosec // Windows has no others.
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(process) }() // The command has one of its own.
	return windows.AssignProcessToJobObject(g.job, process)
}

// resume lets a process run that was started suspended. It has one thread, whose handle os/exec has closed.
func resume(process uint32) error {
	threads, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(threads) }() // It was only read.
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(threads, &entry); err == nil; err = windows.Thread32Next(threads, &entry) {
		if entry.OwnerProcessID != process {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return err
		}
		_, err = windows.ResumeThread(thread)
		_ = windows.CloseHandle(thread) // The thread goes on without.
		return err
	}
	return fmt.Errorf("its thread was not found: %w", err)
}

// Signal does nothing: what the console sends, it sends to the command, too.
func (g *Group) Signal(os.Signal) {}

// Terminate is Kill.
func (g *Group) Terminate() { g.Kill() }

// Kill ends all processes of the job.
func (g *Group) Kill() {
	_ = windows.TerminateJobObject(g.job, 1) // It may have ended.
}

// Ended waits for the end of the command; false if that is not before the deadline.
func (g *Group) Ended(command <-chan error, _ <-chan os.Signal, deadline <-chan time.Time) bool {
	select {
	case <-command:
		return true
	case <-deadline:
		return false
	}
}

// Close leaves alone what the command has left in the background.
func (g *Group) Close() {
	_ = g.limit(0) // Otherwise that ends with the handle.
	_ = windows.CloseHandle(g.job)
}

// Foreground reports false: there are no process groups here.
func (g *Group) Foreground() bool { return false }

// Interrupt does nothing: the console has told every program of it.
func Interrupt() {}

func SignalOf(*os.ProcessState) int { return 0 }
