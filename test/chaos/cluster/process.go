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

// Package cluster runs a control plane as processes, with a proxy on each link between them. Each
// process can be killed and stopped separately.
package cluster

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is a child process that can be killed and started again.
type Process struct {
	Name string
	// Command returns a new command for each start.
	Command func() *exec.Cmd
	// Logs is the file that its output is appended to.
	Logs string

	mu    sync.Mutex // protects the fields below
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}
	// err is the error with which the last command ended.
	err error
}

// Start starts the process.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		return fmt.Errorf("%s is running", p.Name)
	}
	logs, err := os.OpenFile(p.Logs, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }() // The child has a descriptor of its own.
	cmd := p.Command()
	cmd.Stdout, cmd.Stderr = logs, logs
	// The child has a process group of its own, so that Ctrl-C reaches only the run, which then ends
	// the child in order. The kernel kills the child if the run dies.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := startOnKeptThread(cmd); err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	ended := make(chan struct{})
	p.cmd, p.stdin, p.ended = cmd, stdin, ended
	go func() {
		err := cmd.Wait()
		p.mu.Lock()
		p.cmd, p.err = nil, err
		p.mu.Unlock()
		close(ended)
	}()
	return nil
}

// Signal sends a signal to the process, if it runs.
func (p *Process) Signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // The process may have ended already.
	}
}

// Say writes a line to the standard input of the process.
func (p *Process) Say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_, _ = io.WriteString(p.stdin, line+"\n") // The process may have ended already.
	}
}

// Kill kills the process, and returns when it has ended.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.Ended()
}

// Stop asks the process to end, and kills it if it does not within patience.
func (p *Process) Stop(patience time.Duration) {
	p.Signal(syscall.SIGCONT)
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.Ended():
	case <-time.After(patience):
		p.Kill()
	}
}

// Ended returns a channel that is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended == nil {
		ended := make(chan struct{})
		close(ended)
		return ended
	}
	return p.ended
}

// Running reports whether the process runs.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// Err returns the error with which the process ended.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
