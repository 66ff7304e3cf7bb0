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
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// spawn starts the reaper as a process of its own, which takes part in the election in that
// namespace, and returns when it is ready.
func spawn(t *testing.T, config, election, namespace string) *exec.Cmd {
	t.Helper()
	probes := freeAddress(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, 3*patience), self, "--leader-elect", "--leader-election-namespace="+election, "--namespaces="+namespace,
		"--metrics-bind-address=0", "--health-probe-bind-address="+probes)
	cmd.Env = append(os.Environ(), runAsReaper+"=1", "KUBECONFIG="+config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState != nil {
			return
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // The error says that the process was killed.
	})
	eventually(t, "the process is ready", func() bool {
		code, _ := get(t, "http://"+probes+"/readyz", "")
		return code == http.StatusOK
	})
	return cmd
}

// TestKilledLeaderIsReplaced kills the replica that leads, and checks that the other one ends an
// expired hold as soon as the election's lease is over.
func TestKilledLeaderIsReplaced(t *testing.T) {
	t.Parallel()
	if deployed != nil {
		t.Fatal(deployed)
	}
	// The program's defaults: the lease of a leader, and the pause between attempts.
	const lease, retry = 6 * time.Second, 2 * time.Second
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	config := env.Kubeconfig()
	first := spawn(t, config, ns, ns)
	die(t, ns, "before")
	history.Until(patience, "before", "freed", expired) // The first replica leads.
	spawn(t, config, ns, ns)
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := first.Wait(); err == nil {
		t.Fatal("a killed process ended well")
	}
	held := dies(t, "after", kubelock.Config{Namespace: ns, LockDuration: time.Second})
	freed := history.Until(2*patience, "after", "freed", expired)
	t.Logf("freed %v after the leader was killed", freed.Seen.Sub(killed))
	if early := held.Deadline().Sub(freed.Seen); early > 0 {
		t.Errorf("freed %v too early", early)
	}
	// Electors lengthen their pauses by up to a fifth, and a new leader needs some time to start.
	if took, bound := freed.Seen.Sub(killed), lease+2*retry+3*time.Second; took > bound {
		t.Errorf("freed %v after the leader was killed, want at most %v", took, bound)
	}
}

// TestReapersWithoutElectionDoNoHarm lets two reapers work on the same locks. Each expired hold is
// ended once, each lock with waiters is granted to the first of them, and no holder that renews
// loses its lock.
func TestReapersWithoutElectionDoNoHarm(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	for range 2 {
		startReplica(t, account(t), options{
			metricsAddress: "0", probeAddress: "0", namespaces: ns, distributedLocks: true, maxClockSkew: time.Second, concurrency: 4,
		})
	}
	const locks = 20
	alive, err := lockOf(t, "alive", kubelock.Config{Namespace: ns, LockDuration: 2 * time.Second}).
		Acquire(within(t, patience), kubelock.WithAutoRenew())
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for n := range locks {
		name := fmt.Sprintf("lock-%d", n)
		dead := dies(t, name, kubelock.Config{Namespace: ns, LockDuration: time.Second})
		l := lockOf(t, name, kubelock.Config{Namespace: ns})
		all.Go(func() {
			held, err := l.Acquire(within(t, patience))
			if err != nil {
				t.Error(err)
				return
			}
			if held.Token() <= dead.Token() {
				t.Errorf("the token %d follows %d", held.Token(), dead.Token())
			}
			if err := held.Release(within(t, patience)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for n := range locks {
		name := fmt.Sprintf("lock-%d", n)
		die(t, ns, name)
		history.Until(patience, name, "cleared", func(v testenv.Version) bool { return expired(v) && v.Free() })
		cleared := 0
		for _, v := range history.Of(name) {
			if v.Free() && !v.Deleted && v.Spec.LastRelease != nil && v.Spec.LastRelease.Reason == v1alpha1.ReasonExpired {
				cleared++
			}
		}
		if cleared != 1 {
			t.Errorf("%s was cleared %d times", name, cleared)
		}
	}
	if err := alive.Release(within(t, patience)); err != nil || errors.Is(err, kubelock.ErrLost) {
		t.Errorf("the hold that was renewed: %v", err)
	}
}
