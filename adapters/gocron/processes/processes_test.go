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
	every = 10 * time.Second
	// window is how long a job's lock stays taken. A process that is later than that runs the job again.
	window = 5 * time.Second
	lease  = 5 * time.Second
	// tardy is by how much later than its end a client may find that a lease, or a window, is over.
	tardy = 3 * time.Second
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
	var (
		option gocron.SchedulerOption
		held   func() *kubelock.Held[struct{}] // for the current run
	)
	if kind == "elector" {
		e := locks.NewElector(client, "leader")
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		go func() { _ = e.Run(ctx) }() // Until the process ends.
		option, held = gocron.WithDistributedElector(e), e.Held
	} else {
		l, err := locks.NewLocker(client, locks.LockerConfig{Window: window})
		if err != nil {
			return err
		}
		option, held = gocron.WithDistributedLocker(l), func() *kubelock.Held[struct{}] { return l.Held("report") }
	}
	s, err := gocron.NewScheduler(option)
	if err != nil {
		return err
	}
	task := gocron.NewTask(func() {
		now := time.Now()
		tick := now.Truncate(every)
		fmt.Println("run", tick.Unix(), now.Sub(tick).Milliseconds(), held().Token())
		<-time.After(works)
	})
	if _, err := s.NewJob(gocron.CronJob("*/10 * * * * *", true), task, gocron.WithName("report")); err != nil {
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
	replica int
	tick    time.Time
	late    time.Duration // after the tick
	token   int64
}

// TestEachTickRunsOnce has three processes with a scheduler each share a job. The one that runs it is killed in its
// run. No tick runs twice, and none is left out, but those which the test says may be: see left.
func TestEachTickRunsOnce(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	env.NeedsControlPlane(t)
	for _, kind := range []string{"locker", "elector"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			w := &watcher{t: t, kind: kind, lines: make(chan run), dead: -1}
			ns := env.Namespace(t)
			var replicas [3]*exec.Cmd
			for i := range replicas {
				replicas[i] = w.start(kind, ns, i)
			}
			first := w.next()
			w.until(first.tick.Add(3 * every))
			last := w.next()
			w.dead, w.killed = last.replica, time.Now()
			if err := replicas[last.replica].Process.Kill(); err != nil {
				t.Fatal(err)
			}
			w.until(w.killed.Add(lease + tardy + 3*every))
			w.check()
		})
	}
}

// watcher collects the runs of all replicas.
type watcher struct {
	t      *testing.T
	kind   string
	lines  chan run
	runs   []run // in the order of their lines
	dead   int   // the replica that was killed, or -1
	killed time.Time
}

// next waits for a run.
func (w *watcher) next() run {
	w.t.Helper()
	select {
	case r := <-w.lines:
		if r.replica == w.dead && r.tick.After(w.killed) {
			w.t.Errorf("replica %d, which is dead, runs the job at %v", r.replica, r.tick)
		}
		w.runs = append(w.runs, r)
		return r
	case <-time.After(patience):
		w.t.Fatalf("no tick has run for %v, after %d", patience, len(w.runs))
		return run{}
	}
}

// until waits for a run at that time or later.
func (w *watcher) until(end time.Time) {
	w.t.Helper()
	for w.next().tick.Before(end) {
	}
}

// check checks that each tick from the first to the last has run once, and under a greater token than those before.
func (w *watcher) check() {
	w.t.Helper()
	for i, r := range w.runs[1:] {
		before := w.runs[i]
		if r.token < before.token || r.token == before.token && (w.kind == "locker" || r.replica != before.replica) {
			w.t.Errorf("replica %d runs the job with the token %d, after replica %d with %d", r.replica, r.token, before.replica, before.token)
		}
		if !r.tick.After(before.tick) {
			w.t.Errorf("the tick %v has run on replica %d, %v late, and before on replica %d, %v late", r.tick, r.replica, r.late, before.replica, before.late)
		}
		for tick := before.tick.Add(every); tick.Before(r.tick); tick = tick.Add(every) {
			if why := w.left(before, r, tick); why != "" {
				w.t.Logf("the tick %v was left out: %s", tick, why)
			} else {
				w.t.Errorf("the tick %v was left out, between those of replica %d, %v late, and of replica %d, %v late",
					tick, before.replica, before.late, r.replica, r.late)
			}
		}
	}
	w.t.Logf("%d ticks have run", len(w.runs))
}

// left says why no replica may have run a tick between two runs: the lock was not known to be free, by what the
// runs say of themselves. It is empty if a replica had to run that tick.
func (w *watcher) left(before, next run, tick time.Time) string {
	free := before.tick.Add(before.late + window + tardy) // Of a Locker: then the next replica finds the lock free.
	switch {
	case before.replica == w.dead && tick.After(w.killed) && tick.Before(w.killed.Add(lease+tardy)):
		return "the replica that held the lock was killed, and its lease may not have ended"
	case w.kind == "locker" && tick.Before(free):
		return fmt.Sprintf("the run before was %v late, so its window may not have ended", before.late)
	case w.kind == "elector" && next.token != before.token && before.replica != w.dead && tick.Before(before.tick.Add(every+lease+tardy)):
		return "the leader lost its lease, and none was elected yet"
	}
	return ""
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
			var tick, late, token int64
			if n, _ := fmt.Sscanf(line, "run %d %d %d", &tick, &late, &token); n != 3 {
				continue // Of a log.
			}
			select {
			case w.lines <- run{i, time.Unix(tick, 0), time.Duration(late) * time.Millisecond, token}:
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
