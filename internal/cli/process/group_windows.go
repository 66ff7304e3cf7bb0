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
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// GuardArgument is that of a guard, which only Unix has.
const GuardArgument = "__guard"

func Guard(string) int { return usage }

// PassedOn are the signals that a command gets which are sent to the plugin.
func PassedOn() []os.Signal { return Ending() }

// Group is a job: the command with all that it starts. The system ends a job when its last
// handle is closed, and so when the plugin is killed. There are no signals here but that which
// kills.
type Group struct {
	command *exec.Cmd
	job     windows.Handle
}

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

// Start starts the command, and puts it into the job before it can have started anything.
func (g *Group) Start(cmd *exec.Cmd, _ io.Writer) error {
	if err := begin(cmd); err != nil {
		return err
	}
	g.command = cmd
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(cmd.Process.Pid))
	if err == nil {
		err = windows.AssignProcessToJobObject(g.job, process)
		_ = windows.CloseHandle(process) // The command has one of its own.
	}
	if err == nil {
		return nil
	}
	if exited(cmd) {
		return nil // It was over before; the caller waits for it.
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return fmt.Errorf("putting the command into a job: %w", err)
}

// exited reports whether a command has ended of which no note was taken yet.
func exited(cmd *exec.Cmd) (ended bool) {
	_ = cmd.Process.WithHandle(func(handle uintptr) {
		event, err := windows.WaitForSingleObject(windows.Handle(handle), 0)
		ended = err == nil && event == windows.WAIT_OBJECT_0
	})
	return ended
}

// Signal does nothing: what the console sends, it sends to the command, too.
func (g *Group) Signal(os.Signal) {}

func (g *Group) Terminate() { g.Kill() }

func (g *Group) Kill() {
	_ = windows.TerminateJobObject(g.job, 1) // It may have ended.
}

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

func (g *Group) Foreground() bool { return false }

// Interrupt does nothing: the console has told every program of it.
func Interrupt() {}

func SignalOf(*os.ProcessState) int { return 0 }
