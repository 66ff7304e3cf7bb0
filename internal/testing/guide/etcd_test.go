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

package guide

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/testing/controlplane/assets"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// snapshots runs the commands of the page on a cluster of its own.
type snapshots struct {
	*testenv.Env

	tools, dir string
	// Lines of the page.
	save, restore string
	touch         []string
	restored      int
}

func newSnapshots(t *testing.T) *snapshots {
	t.Helper()
	s := &snapshots{Env: testenv.Another(t), tools: t.TempDir(), dir: t.TempDir()}
	if err := assets.EtcdTools(t.Context(), s.tools); err != nil {
		t.Fatal(err)
	}
	for _, line := range testenv.Page(t, backupPage, "Restoring etcd from a snapshot") {
		switch {
		case strings.HasPrefix(line, "etcdctl "):
			s.save = line
		case strings.HasPrefix(line, "etcdutl "):
			s.restore = line
		default:
			s.touch = append(s.touch, line)
		}
	}
	return s
}

func (s *snapshots) take(t *testing.T) {
	t.Helper()
	testenv.Shell(t, s.dir, s.Kubeconfig(), fmt.Sprintf("rm -f backup.db; ENDPOINT=%s; %s", s.EtcdAddress(), s.save), s.tools)
}

// putBack restores what take has saved, as the page does. raised says whether the revisions are raised, and written
// whether each lock is written once.
func (s *snapshots) putBack(t *testing.T, raised, written bool) {
	t.Helper()
	s.StopServers(t)
	s.restored++
	folder := filepath.Join(s.dir, fmt.Sprintf("restored-%d", s.restored))
	line := s.restore
	if !raised {
		line, _, _ = strings.Cut(line, " --bump-revision")
	}
	testenv.Shell(t, s.dir, s.Kubeconfig(), "FOLDER="+folder+"; "+line, s.tools)
	s.StartServers(t, folder)
	if written {
		for _, line := range s.touch {
			testenv.Shell(t, s.dir, s.Kubeconfig(), line)
		}
	}
}

// TestEtcdIsRestored restores etcd from a snapshot, by the commands of the page, with its revisions raised and as they
// were, with programs stopped and running.
func TestEtcdIsRestored(t *testing.T) {
	s := newSnapshots(t)
	t.Run("stopped, raised", func(t *testing.T) { s.withProgramsStopped(t, true) })
	t.Run("stopped, not raised", func(t *testing.T) { s.withProgramsStopped(t, false) })
	t.Run("running, raised", s.withProgramsRunning)
}

func (s *snapshots) withProgramsStopped(t *testing.T, raised bool) {
	t.Helper()
	key := fmt.Sprintf("stopped-%v", raised)
	newLock := func() (*kubelock.Client, *kubelock.Lock[int]) {
		c := newClient(t, s.Env, "default", kubelock.DistributedLocks)
		return c, kubelock.NewLock[int](c, key)
	}
	program, lock := newLock()
	held := acquire(t, lock, kubelock.WithDuration(20*time.Second))
	save(t, held, 1)
	s.take(t) // While it is held.
	release(t, held, 2)
	last := int64(0)
	for range 5 {
		h := acquire(t, lock)
		last = h.Token()
		release(t, h, 3)
	}
	program.Close()
	s.putBack(t, raised, true)

	_, lock = newLock()
	wantState(t, lock, 1)
	again := acquire(t, lock)
	if again.Value() != 1 || again.Token() <= held.Token() {
		t.Errorf("after the token %d of the snapshot, a client acquires the lock with the token %d and the state %d; want a greater one, and 1",
			held.Token(), again.Token(), again.Value())
	}
	if greater := again.Token() > last; raised && !greater {
		t.Errorf("the token after the restore is %d, before it was %d; want a greater one", again.Token(), last)
	} else {
		t.Logf("tokens: %d in the snapshot, %d before the restore, %d after it", held.Token(), last, again.Token())
	}
	release(t, again, 4)
}

func (s *snapshots) withProgramsRunning(t *testing.T) {
	lock := func(key string) *kubelock.Lock[int] {
		return kubelock.NewLock[int](newClient(t, s.Env, "default", kubelock.DistributedLocks), key)
	}
	kept := acquire(t, lock("kept"), kubelock.WithDuration(time.Hour))
	remembered := lock("remembered")
	release(t, acquire(t, remembered), 1)
	undone := lock("undone")
	release(t, acquire(t, undone), 1)
	s.take(t)
	lost := acquire(t, undone, kubelock.WithDuration(time.Hour))
	save(t, lost, 2)
	last := lost.Token()
	for range 5 {
		h := acquire(t, remembered)
		last = max(last, h.Token())
		release(t, h, 2)
	}
	type acquired struct {
		held *kubelock.Held[int]
		err  error
	}
	waiter, waited := lock("undone"), make(chan acquired, 1)
	go func() {
		h, err := waiter.Acquire(within(t))
		waited <- acquired{h, err}
	}()
	s.putBack(t, true, false)

	if err := kept.Update(5).Save(within(t)); err != nil {
		t.Errorf("a hold that the snapshot has: %v", err)
	}
	if err := lost.Update(3).Save(within(t)); !errors.Is(err, kubelock.ErrLost) {
		t.Errorf("a hold that the snapshot does not have: %v; want ErrLost", err)
	}
	got := <-waited
	if got.err != nil {
		t.Fatalf("the waiter for a lock that is free in the snapshot: %v", got.err)
	}
	again := acquire(t, remembered)
	if got.held.Value() != 1 || again.Value() != 1 {
		t.Errorf("the waiter finds the state %d, and a client that remembers the lock %d; want 1 of the snapshot", got.held.Value(), again.Value())
	}
	t.Logf("tokens: %d before the restore, %d and %d after it", last, got.held.Token(), again.Token())
	release(t, again, 3)
	release(t, got.held, 3)
	for _, l := range []*kubelock.Lock[int]{undone, remembered} {
		second := acquire(t, l)
		if second.Token() <= last {
			t.Errorf("the second token after the restore is %d, before it was %d; want a greater one", second.Token(), last)
		}
		release(t, second, 4)
	}
	release(t, kept, 6)
}
