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

// tally counts what the workers say.
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

// play is the story. Every promise that it does not see kept is an error.
func (s *stage) play(ctx context.Context) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	kubeconfig, err := s.kubeconfig(ctx, namespace, "worker")
	if err != nil {
		return err
	}
	counts := &tally{acks: map[string]int{}, stuck: make(chan struct{})}
	names := []string{"worker-1", "worker-2", "worker-3"}
	say("Starting %d worker processes that add to one counter through Lock.Do", len(names))
	var (
		victim  *process
		command io.Writer
		workers []*process
		heard   sync.WaitGroup
	)
	for _, name := range names {
		r, w := io.Pipe()
		heard.Go(func() { counts.listen(name, r) })
		p, stdin, err := s.worker(kubeconfig, name, w)
		if err != nil {
			return err
		}
		go func() { <-p.ended; w.Close() }()
		victim, command = p, stdin
		workers = append(workers, p)
	}
	if err := until(ctx, func() (bool, error) { return counts.sum() >= 30, nil }); err != nil {
		return fmt.Errorf("the workers do not count: %w", err)
	}
	say("Before: %d increments acknowledged", counts.sum())
	if err := s.show(ctx, "get", "distributedlocks", "-n", namespace); err != nil {
		return err
	}

	fmt.Fprintln(command, "hang")
	select {
	case <-counts.stuck:
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return errors.New("worker-3 did not get the lock to hang with")
	}
	if err := victim.Process.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-victim.ended
	killed, before := time.Now(), counts.sum()
	say("During: worker-3 holds two locks and was killed with SIGKILL; the others wait for its lease of %v to end", lease)
	if err := s.show(ctx, "get", "distributedlocks", "-n", namespace); err != nil {
		return err
	}
	if lock, err := s.lock(ctx, c, "counter"); err != nil || lock.Spec.Holder == nil || lock.Spec.Holder.Identity != "worker-3" {
		return fmt.Errorf("worker-3 was to hold the counter when it died (%v)", err)
	}

	if err := until(ctx, func() (bool, error) { return counts.sum() > before, nil }); err != nil {
		return fmt.Errorf("nobody got the dead worker's lock: %w", err)
	}
	say("After: the next worker had the counter %.1f s after the kill", time.Since(killed).Seconds())
	if err := until(ctx, func() (bool, error) {
		lock, err := s.lock(ctx, c, "report")
		if err != nil {
			return false, err
		}
		last := lock.Spec.LastRelease
		return lock.Spec.Holder == nil && last != nil && last.Identity == "worker-3" && last.Reason == v1alpha1.ReasonExpired, nil
	}); err != nil {
		return fmt.Errorf("the reaper did not free the dead worker's other lock: %w", err)
	}
	say("After: the reaper freed the other lock, which nobody waited for")
	if err := s.show(ctx, "get", "distributedlocks", "-n", namespace); err != nil {
		return err
	}

	say("Stopping the workers with SIGTERM")
	for _, p := range workers[:2] {
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
	}
	heard.Wait()
	lock, err := s.lock(ctx, c, "counter")
	if err != nil {
		return err
	}
	var state counter
	if lock.Spec.Value == nil || json.Unmarshal([]byte(*lock.Spec.Value), &state) != nil {
		return errors.New("the counter has no state")
	}
	say("Acknowledged: %d (%v). The counter in the lock: %d", counts.sum(), counts.acks, state.Count)
	if state.Count != counts.sum() {
		return errors.New("the count is not that of the acknowledged increments")
	}

	say("Waiting for the report's object to be collected: its objectExpiry is %v", lease)
	if err := until(ctx, func() (bool, error) {
		_, err := s.lock(ctx, c, "report")
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return false, err
	}); err != nil {
		return fmt.Errorf("the unused object was not collected: %w", err)
	}
	if err := s.show(ctx, "get", "distributedlocks", "-n", namespace, "-o", "wide"); err != nil {
		return err
	}
	if err := until(ctx, func() (bool, error) {
		out, err := s.kubectl(ctx, "get", "events", "-n", namespace, "-o", "custom-columns=R:.reason,O:.involvedObject.name")
		return strings.Contains(out, "HolderExpired") && strings.Contains(out, "ObjectExpired"), err
	}); err != nil {
		return fmt.Errorf("the reaper's events are missing: %w", err)
	}
	say("What the reaper did:")
	if err := s.show(ctx, "get", "events", "-n", namespace, "-o", "custom-columns=REASON:.reason,LOCK:.involvedObject.name,MESSAGE:.message"); err != nil {
		return err
	}
	say("All as promised: no increment lost or doubled, the dead holder reaped, the unused object collected")
	return nil
}

func (s *stage) client() (client.Client, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	return client.New(s.config, client.Options{Scheme: scheme})
}

func (s *stage) lock(ctx context.Context, c client.Client, name string) (*v1alpha1.DistributedLock, error) {
	lock := &v1alpha1.DistributedLock{}
	return lock, c.Get(ctx, types.NamespacedName{Namespace: namespace, Name: name}, lock)
}

// until returns when done says so, or with an error after a time that nothing here
// should take.
func until(ctx context.Context, done func() (bool, error)) error {
	return wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return done() })
}
