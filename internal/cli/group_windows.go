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

package cli

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

// guardArgument is that of a guard, which only Unix has.
const guardArgument = "__guard"

func guard(string) int { return exitUsage }

// passedOn are the signals that a command gets which are sent to the plugin.
func passedOn() []os.Signal { return ending() }

// group is a job: the command with all that it starts. The system ends a job when its last
// handle is closed, and so when the plugin is killed. There are no signals here but that which
// kills.
type group struct {
	command *exec.Cmd
	job     windows.Handle
}

func newGroup(string) (*group, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, fmt.Errorf("creating a job for the command: %w", err)
	}
	g := &group{job: job}
	if err := g.limit(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE); err != nil {
		_ = windows.CloseHandle(job) // It is empty.
		return nil, fmt.Errorf("creating a job for the command: %w", err)
	}
	return g, nil
}

// limit says what the system does to the job.
func (g *group) limit(flags uint32) error {
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: flags},
	}
	_, err := windows.SetInformationJobObject(g.job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	return err
}

// start starts the command in the job. The command is suspended until it is there, so that all that it starts is
// in the job, too. If the plugin is killed before that, a process is left that has done nothing.
func (g *group) start(cmd *exec.Cmd, _ io.Writer) error {
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
func (g *group) assign(cmd *exec.Cmd) (err error) {
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

// signal does nothing: what the console sends, it sends to the command, too.
func (g *group) signal(os.Signal) {}

func (g *group) terminate() { g.kill() }

func (g *group) kill() {
	_ = windows.TerminateJobObject(g.job, 1) // It may have ended.
}

func (g *group) ended(command <-chan error, _ <-chan os.Signal, deadline <-chan time.Time) bool {
	select {
	case <-command:
		return true
	case <-deadline:
		return false
	}
}

// close leaves alone what the command has left in the background.
func (g *group) close() {
	_ = g.limit(0) // Otherwise that ends with the handle.
	_ = windows.CloseHandle(g.job)
}

func (g *group) foreground() bool { return false }

// interrupt does nothing: the console has told every program of it.
func interrupt() {}

func signalOf(*os.ProcessState) int { return 0 }
