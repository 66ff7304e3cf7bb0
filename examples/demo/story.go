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

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
)

// tally counts the messages of the workers.
type tally struct {
	mu    sync.Mutex // protects the fields below
	acks  map[string]int
	total int
	stuck chan struct{}
}

// listen reads a worker's output until it ends.
func (t *tally) listen(name string, out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		switch word, _, _ := strings.Cut(lines.Text(), " "); word {
		case acknowledged:
			t.mu.Lock()
			t.acks[name]++
			t.total++
			t.mu.Unlock()
		case stuck:
			close(t.stuck)
		}
	}
}

func (t *tally) sum() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.total
}

// story is the sequence of the demo's steps on a stage.
type story struct {
	*stage
	locks   client.Client
	counts  *tally
	heard   sync.WaitGroup // ends when all output of the workers has been read
	workers []*process
	victim  *process
	command io.Writer // the victim's standard input
}

// play runs the steps of the demo. It returns an error for each promise that was not kept.
func (s *stage) play(ctx context.Context) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	story := &story{stage: s, locks: c, counts: &tally{acks: map[string]int{}, stuck: make(chan struct{})}}
	for _, chapter := range []func(context.Context) error{story.count, story.kill, story.recover, story.compare, story.collect} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	sayf("All as promised: no increment lost or doubled, the dead holder reaped, the unused object collected")
	return nil
}

// count starts the workers and waits until they are busy.
func (s *story) count(ctx context.Context) error {
	kubeconfig, err := s.kubeconfig(ctx, namespace, "worker")
	if err != nil {
		return err
	}
	names := []string{"worker-1", "worker-2", "worker-3"}
	sayf("Starting %d worker processes that add to one counter through Lock.Do", len(names))
	for _, name := range names {
		r, w := io.Pipe()
		s.heard.Go(func() { s.counts.listen(name, r) })
		p, stdin, err := s.worker(kubeconfig, name, w)
		if err != nil {
			return err
		}
		go func() {
			<-p.ended
			_ = w.Close() // Close of a pipe never fails.
		}()
		s.workers = append(s.workers, p)
		s.victim, s.command = p, stdin
	}
	if err := until(ctx, func() (bool, error) { return s.counts.sum() >= 30, nil }); err != nil {
		return fmt.Errorf("the workers do not count: %w", err)
	}
	sayf("Before: %d increments acknowledged", s.counts.sum())
	return s.showLocks(ctx)
}

// kill kills a worker while it holds two locks.
func (s *story) kill(ctx context.Context) error {
	fmt.Fprintln(s.command, "hang")
	select {
	case <-s.counts.stuck:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return errors.New("worker-3 did not get the lock to hang with")
	}
	if err := s.victim.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-s.victim.ended
	sayf("During: worker-3 holds two locks and was killed with SIGKILL; the others wait for its lease of %v to end", lease)
	if err := s.showLocks(ctx); err != nil {
		return err
	}
	lock, err := s.lock(ctx, "counter")
	if err != nil {
		return err
	}
	if lock.Spec.Holder == nil || lock.Spec.Holder.Identity != "worker-3" {
		return errors.New("worker-3 was to hold the counter when it died")
	}
	return nil
}

// recover waits until another worker has one of the dead worker's locks, and the reaper has freed the other
// lock.
func (s *story) recover(ctx context.Context) error {
	killed, before := time.Now(), s.counts.sum()
	if err := until(ctx, func() (bool, error) { return s.counts.sum() > before, nil }); err != nil {
		return fmt.Errorf("no worker got the dead worker's lock: %w", err)
	}
	sayf("After: the next worker had the counter %.1f s after the kill", time.Since(killed).Seconds())
	if err := until(ctx, func() (bool, error) {
		lock, err := s.lock(ctx, "report")
		if err != nil {
			return false, err
		}
		last := lock.Spec.LastRelease
		return lock.Spec.Holder == nil && last != nil && last.Identity == "worker-3" && last.Reason == v1alpha1.ReasonExpired, nil
	}); err != nil {
		return fmt.Errorf("the reaper did not free the dead worker's other lock: %w", err)
	}
	sayf("After: the reaper freed the other lock, which no worker waited for")
	return s.showLocks(ctx)
}

// compare stops the workers, and compares the acknowledged increments with the counter.
func (s *story) compare(ctx context.Context) error {
	sayf("Stopping the workers with SIGTERM")
	for _, p := range s.workers {
		if p != s.victim {
			if err := p.Process.Signal(syscall.SIGTERM); err != nil {
				return err
			}
		}
	}
	s.heard.Wait()
	lock, err := s.lock(ctx, "counter")
	if err != nil {
		return err
	}
	var state counter
	if lock.Spec.Value == nil || json.Unmarshal([]byte(*lock.Spec.Value), &state) != nil {
		return errors.New("the counter has no state")
	}
	sayf("Acknowledged: %d (%v). The counter in the lock: %d", s.counts.sum(), s.counts.acks, state.Count)
	if state.Count != s.counts.sum() {
		return errors.New("the count is not that of the acknowledged increments")
	}
	return nil
}

// collect waits until the reaper has deleted the dead worker's other lock.
func (s *story) collect(ctx context.Context) error {
	sayf("Waiting for the report's object to be collected: its objectExpiry is %v", lease)
	if err := until(ctx, func() (bool, error) {
		_, err := s.lock(ctx, "report")
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	}); err != nil {
		return fmt.Errorf("the unused object was not collected: %w", err)
	}
	if err := s.showLocks(ctx, "-o", "wide"); err != nil {
		return err
	}
	events := []string{"get", "events", "-n", namespace, "-o", "custom-columns=REASON:.reason,LOCK:.involvedObject.name,MESSAGE:.message"}
	if err := until(ctx, func() (bool, error) {
		out, err := s.kubectl(ctx, events...)
		return strings.Contains(out, "HolderExpired") && strings.Contains(out, "ObjectExpired"), err
	}); err != nil {
		return fmt.Errorf("the reaper's events are missing: %w", err)
	}
	sayf("What the reaper did:")
	return s.show(ctx, events...)
}

func (s *story) showLocks(ctx context.Context, args ...string) error {
	return s.show(ctx, append([]string{"get", "distributedlocks", "-n", namespace}, args...)...)
}

func (s *stage) client() (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.New(s.config, client.Options{Scheme: scheme})
}

func (s *story) lock(ctx context.Context, name string) (*v1alpha1.DistributedLock, error) {
	lock := &v1alpha1.DistributedLock{}
	return lock, s.locks.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, lock)
}

// until polls until done returns true. It returns an error after a time that is longer than any step should
// take.
func until(ctx context.Context, done func() (bool, error)) error {
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return done() })
}
