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

// Package cluster runs a control plane as processes that can be killed and stopped one
// by one, with a proxy on each way between them.
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
	// Command makes what is started, anew for each start.
	Command func() *exec.Cmd
	// Logs is the file that its output is appended to.
	Logs string

	mu    sync.Mutex // protects the fields below
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}
	// Code is how the last one ended.
	err error
}

// Start starts it.
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
	defer func() { _ = logs.Close() }() // The child has its own.
	cmd := p.Command()
	cmd.Stdout, cmd.Stderr = logs, logs
	// Of its own group, so that Ctrl-C reaches only the run, which ends it in order; and
	// it does not outlive the run, however that ends.
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

// Signal sends it a signal, if it runs.
func (p *Process) Signal(s os.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // It may have ended.
	}
}

// Say writes a line to its standard input.
func (p *Process) Say(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_, _ = io.WriteString(p.stdin, line+"\n") // It may have ended.
	}
}

// Kill kills it, and returns when it is gone.
func (p *Process) Kill() {
	p.Signal(syscall.SIGKILL)
	<-p.Ended()
}

// Stop asks it to end, and kills it if it does not within patience.
func (p *Process) Stop(patience time.Duration) {
	p.Signal(syscall.SIGCONT)
	p.Signal(syscall.SIGTERM)
	select {
	case <-p.Ended():
	case <-time.After(patience):
		p.Kill()
	}
}

// Ended is closed when it has ended.
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

// Running reports whether it runs.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd != nil
}

// Err is how it ended.
func (p *Process) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}
