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

package worker

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Process is the benchmark's side of a worker. It asks one question at a time.
type Process struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
}

// Start starts a worker.
func Start() (*Process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &Process{command: exec.Command(self, "worker")} //nolint:noctx // Stop and Kill end it.
	p.command.Stderr = os.Stderr
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C must reach only the benchmark, which then stops the worker.
	if p.in, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	return p, p.command.Start()
}

// Stop ends the worker in order.
func (p *Process) Stop() error {
	return errors.Join(p.in.Close(), p.command.Wait())
}

// Kill kills the worker, as a crash would end it.
func (p *Process) Kill() error {
	if err := p.command.Process.Kill(); err != nil {
		return err
	}
	_ = p.command.Wait() // The error says that it was killed.
	return nil
}

func (p *Process) ask(a ask) (Answer, error) {
	var answer Answer
	line, err := json.Marshal(a) //nolint:musttag // Both ends are this program.
	if err != nil {
		return answer, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return answer, fmt.Errorf("a worker has ended: %w", err)
	}
	line, err = p.out.ReadBytes('\n')
	if err != nil {
		return answer, fmt.Errorf("a worker has ended: %w", err)
	}
	if err := json.Unmarshal(line, &answer); err != nil { //nolint:musttag // As above.
		return answer, err
	}
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}

// Open opens a client.
func (p *Process) Open(c Client) error {
	_, err := p.ask(ask{Op: "open", Client: &c})
	return err
}

// Close closes the client, even while its callers run.
func (p *Process) Close() error {
	_, err := p.ask(ask{Op: "close"})
	return err
}

// Start makes the client's callers repeat their cycle: acquire, stay in the critical section, change the
// state, release.
func (p *Process) Start(critical time.Duration) error {
	_, err := p.ask(ask{Op: "start", Critical: critical})
	return err
}

// Cold asks how many cycles the callers still need until each is warm.
func (p *Process) Cold() (Answer, error) { return p.ask(ask{Op: "cold"}) }

// Measure measures the callers' cycles in a window. The callers stop at its end.
func (p *Process) Measure(w Window) (Answer, error) { return p.ask(ask{Op: "measure", Window: &w}) }

// Acquire acquires all keys.
func (p *Process) Acquire(patience time.Duration) (Answer, error) {
	return p.ask(ask{Op: "acquire", Patience: patience})
}

// Wait starts to acquire the keys, and returns at once.
func (p *Process) Wait(patience time.Duration) error {
	_, err := p.ask(ask{Op: "wait", Patience: patience})
	return err
}

// Await waits until the acquisition that Wait has started has ended.
func (p *Process) Await() (Answer, error) { return p.ask(ask{Op: "await"}) }

// End asks when the lease of the first key ends if the worker is killed now.
func (p *Process) End() (Answer, error) { return p.ask(ask{Op: "end"}) }

// Stats asks for the memory of the process, after a garbage collection, and for its processor time.
func (p *Process) Stats() (Answer, error) { return p.ask(ask{Op: "stats"}) }

// Counts asks for the client's counts so far.
func (p *Process) Counts() (Answer, error) { return p.ask(ask{Op: "counts"}) }

// Release releases all keys.
func (p *Process) Release() error {
	_, err := p.ask(ask{Op: "release"})
	return err
}

// Each calls do for all workers concurrently.
func Each(workers []*Process, do func(i int, p *Process) error) error {
	errs := make([]error, len(workers))
	var all sync.WaitGroup
	for i, p := range workers {
		all.Go(func() { errs[i] = do(i, p) })
	}
	all.Wait()
	return errors.Join(errs...)
}
