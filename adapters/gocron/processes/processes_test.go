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

// Package processes runs schedulers in processes of their own, on a real API server.
package processes

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-co-op/gocron/v2"
	"k8s.io/client-go/tools/clientcmd"

	locks "github.com/kubelock/kubelock/adapters/gocron"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

const (
	every = 6 * time.Second
	// window is how long a job's lock stays taken. A process that is later than that runs the job again.
	window = 4 * time.Second
	lease  = 4 * time.Second
	// works is how long a job takes: long enough to be killed in it.
	works = 500 * time.Millisecond
	// patience is how long the test waits for what must happen, on a busy machine.
	patience = 2 * time.Minute
)

var env *testenv.Env

// TestMain makes the test's program the replica of a program, too.
func TestMain(m *testing.M) {
	if kind := os.Getenv("REPLICA"); kind != "" {
		if err := replica(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(testenv.MainOrMemory(m, func(e *testenv.Env) { env = e }))
}

// replica runs a job in a scheduler of that kind, and writes a line for each run, until SIGTERM.
func replica(kind string) (err error) {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	// There is one API server, so its clock is no other's.
	client, err := kubelock.NewClient(config, kubelock.Config{Namespace: os.Getenv("NAMESPACE"), LockDuration: lease, MaxClockSkew: time.Millisecond})
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // Never fails.
	var option gocron.SchedulerOption
	if kind == "elector" {
		e := locks.NewElector(client, "leader")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { _ = e.Run(ctx) }() // Until the process ends.
		option = gocron.WithDistributedElector(e)
	} else {
		l, err := locks.NewLocker(client, locks.LockerConfig{Window: window})
		if err != nil {
			return err
		}
		option = gocron.WithDistributedLocker(l)
	}
	s, err := gocron.NewScheduler(option)
	if err != nil {
		return err
	}
	task := gocron.NewTask(func() {
		fmt.Println(time.Now().Truncate(every).Unix())
		<-time.After(works)
	})
	if _, err := s.NewJob(gocron.CronJob("*/6 * * * * *", true), task, gocron.WithName("report")); err != nil {
		return err
	}
	s.Start()
	fmt.Println("started")
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	return s.Shutdown()
}

// run is a run of the job at a tick, by a replica.
type run struct {
	tick    int64
	replica int
}

// TestEachTickRunsOnce has three processes with a scheduler each share a job. The one that runs it is killed. No tick
// runs twice, and the others go on. How many ticks are left out depends on the machine, so it is not checked that none is.
func TestEachTickRunsOnce(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	env.NeedsControlPlane(t)
	for _, kind := range []string{"locker", "elector"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := &watcher{t: t, runs: make(chan run), ticks: map[int64]int{}}
			ns := env.Namespace(t)
			var replicas [3]*exec.Cmd
			for i := range replicas {
				replicas[i] = w.start(kind, ns, i)
			}
			w.collect(3, -1)
			last := w.collect(1, -1)
			if err := replicas[last.replica].Process.Kill(); err != nil { // In its run.
				t.Fatal(err)
			}
			w.collect(3, last.replica)
		})
	}
}

// watcher collects the runs of all replicas.
type watcher struct {
	t     *testing.T
	runs  chan run
	ticks map[int64]int
}

// start starts a replica.
func (w *watcher) start(kind, namespace string, i int) *exec.Cmd {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(os.Environ(), "REPLICA="+kind, "KUBECONFIG="+env.Kubeconfig(), "NAMESPACE="+namespace)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	started, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			line := strings.TrimSpace(lines.Text())
			if line == "started" {
				close(started)
				continue
			}
			tick, err := strconv.ParseInt(line, 10, 64)
			if err != nil {
				continue // Of a log.
			}
			select {
			case w.runs <- run{tick, i}:
			case <-ctx.Done():
			}
		}
	}()
	w.t.Cleanup(func() {
		cancel()
		<-ended
		_ = cmd.Wait() // It was killed.
	})
	select {
	case <-started:
	case <-time.After(patience):
		w.t.Fatalf("replica %d has not started", i)
	}
	return cmd
}

// collect waits for so many ticks that run, and returns the last run. None is of the replica dead, or of a tick that
// has run.
func (w *watcher) collect(n, dead int) (last run) {
	w.t.Helper()
	for range n {
		select {
		case last = <-w.runs:
		case <-time.After(patience):
			w.t.Fatalf("no tick has run for %v, after %d", patience, len(w.ticks))
		}
		w.ticks[last.tick]++
		if w.ticks[last.tick] > 1 || last.replica == dead {
			w.t.Errorf("replica %d runs the job at %d, which has run %d times, and %d is dead", last.replica, last.tick, w.ticks[last.tick], dead)
		}
	}
	return last
}
