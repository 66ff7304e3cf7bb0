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
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kubelock/kubelock/test/bench/subjects"
)

// Serve answers questions until in ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	questions, answers := bufio.NewReader(in), json.NewEncoder(out)
	w := &serving{}
	for {
		line, err := questions.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return w.close()
		}
		if err != nil {
			return err
		}
		var question ask
		if err := json.Unmarshal(line, &question); err != nil { //nolint:musttag // Both ends are this program.
			return err
		}
		answer, err := w.answer(ctx, question)
		if err != nil {
			answer.Error = err.Error()
		}
		if err := answers.Encode(answer); err != nil { //nolint:musttag // Both ends are this program.
			return err
		}
	}
}

// serving is a worker with its client.
type serving struct {
	opened Client
	client subjects.Client
	meter  *subjects.Meter
	// locks has the locks of each caller.
	locks [][]subjects.Lock
	holds []subjects.Hold
	loop  *loop

	background sync.WaitGroup
	cancel     context.CancelFunc // ends the work in the background
	waited     Answer
	failed     error
}

func (w *serving) answer(ctx context.Context, question ask) (Answer, error) {
	switch question.Op {
	case "open":
		return Answer{}, w.open(ctx, *question.Client)
	case "close":
		return Answer{}, w.close()
	case "start":
		w.loop = startLoop(ctx, w.locks, question.Critical)
		return Answer{}, nil
	case "cold":
		return Answer{Cold: w.loop.cold()}, nil
	case "measure":
		answer, err := w.loop.measure(*question.Window, w.meter)
		w.loop = nil
		return answer, err
	case "acquire":
		ctx, cancel := context.WithTimeout(ctx, question.Patience)
		defer cancel()
		return w.acquire(ctx)
	case "wait":
		waiting, cancel := context.WithTimeout(ctx, question.Patience)
		w.cancel = cancel
		w.background.Go(func() { w.waited, w.failed = w.acquire(waiting) })
		return Answer{}, nil
	case "await":
		w.background.Wait()
		return w.waited, w.failed
	case "end":
		return w.end(ctx)
	case "release":
		var errs []error
		for _, h := range w.holds {
			errs = append(errs, h.Release(ctx))
		}
		w.holds = nil
		return Answer{}, errors.Join(errs...)
	case "counts":
		return Answer{Counts: w.meter.Counts()}, nil
	case "stats":
		return w.stats()
	}
	return Answer{}, fmt.Errorf("there is no question %q", question.Op)
}

// open opens a client, and runs one cycle on a separate key, so that its connections exist.
func (w *serving) open(ctx context.Context, c Client) error {
	if err := w.close(); err != nil {
		return err
	}
	s, err := subjects.Named(c.Subject)
	if err != nil {
		return err
	}
	w.opened, w.meter = c, &subjects.Meter{}
	if w.client, err = s.Open(ctx, c.Servers, w.meter, c.Options); err != nil {
		return err
	}
	warm, err := w.client.Lock(ctx, fmt.Sprintf("warm-%d-%d", os.Getpid(), Now()))
	if err != nil {
		return err
	}
	held, err := warm.Acquire(ctx)
	if err != nil {
		return err
	}
	if err := held.Release(ctx); err != nil {
		return err
	}
	callers := max(c.Callers, 1)
	w.locks = make([][]subjects.Lock, callers)
	if len(c.Keys) < callers { // All callers use the first key.
		for i := range callers {
			if err := w.openFor(ctx, i, c.Keys[:1]); err != nil {
				return err
			}
		}
		return nil
	}
	var all sync.WaitGroup
	errs, keys := make([]error, callers), make([][]string, callers)
	for i, key := range c.Keys {
		keys[i%callers] = append(keys[i%callers], key)
	}
	for i := range callers {
		all.Go(func() { errs[i] = w.openFor(ctx, i, keys[i]) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// openFor opens the locks of one caller.
func (w *serving) openFor(ctx context.Context, caller int, keys []string) error {
	for _, key := range keys {
		lock, err := w.client.Lock(ctx, key)
		if err != nil {
			return err
		}
		w.locks[caller] = append(w.locks[caller], lock)
	}
	return nil
}

func (w *serving) close() error {
	if w.cancel != nil {
		w.cancel()
	}
	w.background.Wait()
	if w.loop != nil {
		_, _ = w.loop.stop() // Its cycles are not measured.
		w.loop = nil
	}
	w.cancel, w.holds, w.locks = nil, nil, nil
	if w.client == nil {
		return nil
	}
	err := w.client.Close()
	w.client = nil
	return err
}

// acquire acquires the keys of all callers. Each caller acquires its own keys one after the other.
func (w *serving) acquire(ctx context.Context) (Answer, error) {
	var callers sync.WaitGroup
	errs, holds := make([]error, len(w.locks)), make([][]subjects.Hold, len(w.locks))
	for i, locks := range w.locks {
		callers.Go(func() {
			for _, l := range locks {
				held, err := l.Acquire(ctx)
				if err != nil {
					errs[i] = err
					return
				}
				holds[i] = append(holds[i], held)
			}
		})
	}
	callers.Wait()
	answer := Answer{Acquired: Now()}
	for _, h := range holds {
		w.holds = append(w.holds, h...)
	}
	return answer, errors.Join(errs...)
}

func (w *serving) end(ctx context.Context) (Answer, error) {
	if len(w.holds) == 0 {
		return Answer{}, errors.New("nothing is held")
	}
	end, err := w.holds[0].End(ctx)
	return Answer{End: At(end)}, err
}

// stats returns the memory and the processor time of the process.
func (w *serving) stats() (Answer, error) {
	answer := Answer{Held: len(w.holds)}
	for _, h := range w.holds {
		if h.Lost() {
			answer.Lost++
		}
	}
	if w.meter != nil {
		answer.Counts = w.meter.Counts()
	}
	var err error
	if answer.CPU, err = cpu(); err != nil {
		return answer, err
	}
	for range 2 { // The second collection frees objects that had a finalizer.
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	answer.Heap = m.HeapAlloc + m.StackInuse
	answer.RSS, err = rss()
	return answer, err
}

// cpu returns the processor time that this process has used so far.
func cpu() (time.Duration, error) {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0, err
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()), nil
}

// rss returns the resident memory of this process. Without /proc it returns 0, and the benchmark does
// not report it.
func rss() (uint64, error) {
	status, err := os.ReadFile("/proc/self/statm")
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(status))
	if len(fields) < 2 {
		return 0, fmt.Errorf("/proc/self/statm has %q", status)
	}
	pages, err := strconv.ParseUint(fields[1], 10, 64)
	return pages * uint64(os.Getpagesize()), err //nolint:gosec // Positive.
}
