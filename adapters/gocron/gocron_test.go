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

package gocron_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-co-op/gocron/v2"
	"go.uber.org/goleak"
	"k8s.io/client-go/rest"

	locks "github.com/kubelock/kubelock/adapters/gocron"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	every = time.Minute
	// works is how long a job takes. It is less than apart: if the lock were released at the end of the job, the
	// next scheduler would run the job again.
	works = 100 * time.Millisecond
	// apart is how much later each scheduler starts a job than the scheduler before it.
	apart = 300 * time.Millisecond
	lease = 15 * time.Second
	// tardy is by how much later a client may find that the window is over which has not watched the lock.
	tardy = 3500 * time.Millisecond
)

// replica is a replica of a program with a scheduler of its own.
type replica struct {
	client    *kubelock.Client
	scheduler gocron.Scheduler
	cut       atomic.Bool // whether it is cut off from the API server
	ran       int         // protected by the world's mu
}

// world has three replicas with a job that runs every minute.
type world struct {
	t        *testing.T
	server   *kubelocktest.Server
	replicas [3]*replica

	mu    sync.Mutex // protects the field below, and replica.ran
	ticks map[time.Time]int
	began chan *replica // gets the replica that starts the job
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, server: kubelocktest.NewServer(t), ticks: map[time.Time]int{}, began: make(chan *replica, 100)}
	for i := range w.replicas {
		r := &replica{}
		config := w.server.Config()
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &wire{next, &r.cut} })
		r.client = connect(t, config)
		w.replicas[i] = r
	}
	return w
}

func connect(t *testing.T, config *rest.Config) *kubelock.Client {
	t.Helper()
	c, err := kubelock.NewClient(config, kubelock.Config{Namespace: kubelocktest.Namespace, LockDuration: lease})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// wire is a transport from a replica to the API server, which can be cut.
type wire struct {
	next http.RoundTripper
	cut  *atomic.Bool
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	if w.cut.Load() {
		return nil, kubelocktest.ErrDisconnected
	}
	return w.next.RoundTrip(req)
}

// WrappedRoundTripper lets client-go see what is behind it.
func (w *wire) WrappedRoundTripper() http.RoundTripper { return w.next }

// start starts the scheduler of a replica.
func (w *world) start(r *replica, option gocron.SchedulerOption) {
	w.t.Helper()
	s, err := gocron.NewScheduler(option, gocron.WithLocation(time.UTC))
	if err != nil {
		w.t.Fatal(err)
	}
	_, err = s.NewJob(gocron.CronJob("* * * * *", false), gocron.NewTask(func() { w.work(r) }), gocron.WithName("report"))
	if err != nil {
		w.t.Fatal(err)
	}
	r.scheduler = s
	s.Start()
}

func (w *world) work(r *replica) {
	w.mu.Lock()
	w.ticks[time.Now().Truncate(every)]++
	r.ran++
	w.mu.Unlock()
	w.began <- r
	<-time.After(works)
}

// pass waits for n ticks. It begins and ends in the middle between two ticks.
func (w *world) pass(n int) {
	w.t.Helper()
	<-time.After(time.Duration(n) * every)
	for len(w.began) > 0 {
		<-w.began
	}
}

// crash ends a replica during its job, as if it were killed: it sends nothing more, and runs no further job.
func (w *world) crash(r *replica) {
	w.t.Helper()
	r.cut.Store(true)
	<-time.After(works + lease) // In vain it releases its lock until then: see shutdown.
	w.shutdown(r)
}

// shutdown shuts down a scheduler, also while its job runs. The scheduler's own Shutdown waits for the job in a
// loop without a pause, during which virtual time would stand still.
func (w *world) shutdown(r *replica) {
	w.t.Helper()
	<-time.After(2 * works)
	if err := r.scheduler.Shutdown(); err != nil {
		w.t.Error(err)
	}
}

// check checks that the job ran once at each of the last n ticks.
func (w *world) check(n int) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	last := time.Now().Truncate(every)
	for i := range n {
		if ran := w.ticks[last.Add(-time.Duration(i)*every)]; ran != 1 {
			w.t.Errorf("the tick %d minutes before the last ran %d times", i, ran)
		}
	}
	if len(w.ticks) != n {
		w.t.Errorf("%d ticks ran, want %d", len(w.ticks), n)
	}
}

// late is the locker of a scheduler that is later than the others.
type late struct {
	gocron.Locker

	by time.Duration
}

func (l late) Lock(ctx context.Context, job string) (gocron.Lock, error) {
	<-time.After(l.by)
	return l.Locker.Lock(ctx, job)
}

// TestLockerRunsEachTickOnce has three schedulers share a job. One of them dies while it runs the job.
func TestLockerRunsEachTickOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i, r := range w.replicas {
			l, err := locks.NewLocker(r.client, locks.LockerConfig{Window: 10 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			w.start(r, gocron.WithDistributedLocker(late{l, time.Duration(i) * apart}))
		}
		<-time.After(every / 2)
		w.pass(5)
		w.check(5)
		w.crash(<-w.began) // During the sixth run. The lease of its lock ends before the next run.
		<-time.After(every / 2)
		w.pass(6)
		w.check(12)
		for _, r := range w.replicas {
			if !r.cut.Load() {
				w.shutdown(r)
			}
		}
	})
}

// TestElectorRunsEachTickOnce has the leader of three schedulers die, and the next one stop.
func TestElectorRunsEachTickOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		type candidate struct {
			elector *locks.Elector
			stop    context.CancelFunc
			ended   chan error
		}
		candidates := map[*replica]*candidate{}
		for _, r := range w.replicas {
			ctx, stop := context.WithCancel(t.Context())
			c := &candidate{locks.NewElector(r.client, "jobs"), stop, make(chan error, 1)}
			go func() { c.ended <- c.elector.Run(ctx) }()
			candidates[r] = c
			w.start(r, gocron.WithDistributedElector(c.elector))
		}
		<-time.After(every / 2)
		w.pass(5)
		dead := <-w.began
		w.crash(dead)
		w.pass(2)
		next := <-w.began
		if next == dead {
			t.Fatal("the dead leader runs jobs")
		}
		if err := candidates[next].elector.IsLeader(t.Context()); err != nil {
			t.Errorf("IsLeader on the leader returned %v", err)
		}
		if err := candidates[dead].elector.IsLeader(t.Context()); !errors.Is(err, locks.ErrNotLeader) || !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Errorf("IsLeader on the dead leader returned %v", err)
		}
		w.shutdown(next)
		token := candidates[next].elector.Held().Token()
		candidates[next].stop()
		last := <-w.began
		if got := candidates[last].elector.Held().Token(); last == next || got <= token || candidates[next].elector.Held() != nil {
			t.Errorf("after the second leader the token is %d, was %d", got, token)
		}
		<-time.After(every / 2)
		w.check(10)
		if w.replicas[0].ran+w.replicas[1].ran+w.replicas[2].ran != 10 || last.ran != 1 {
			t.Errorf("the last leader ran the job %d times", last.ran)
		}
		w.shutdown(last)
		for _, c := range candidates {
			c.stop()
			if err := <-c.ended; !errors.Is(err, context.Canceled) {
				t.Errorf("Run ended with %v", err)
			}
		}
	})
}

// TestLockerWindow checks when a run's lock is free again: whatever becomes of the program that ran it.
func TestLockerWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		client := connect(t, server.Config())
		l, err := locks.NewLocker(client, locks.LockerConfig{Window: 10 * time.Second, Prefix: "jobs/"})
		if err != nil {
			t.Fatal(err)
		}
		state := func() kubelock.Snapshot[struct{}] {
			t.Helper()
			s, err := kubelock.NewLock[struct{}](connect(t, server.Config()), "jobs/report").Get(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		ctx, cancel := context.WithCancel(t.Context())
		lock, err := l.Lock(ctx, "report")
		if err != nil {
			t.Fatal(err)
		}
		if held := l.Held("report"); held == nil || held.Token() != state().Token && state().Token != 0 || held.Context().Err() != nil {
			t.Errorf("in the run it is %v", held)
		}
		if _, err := l.Lock(ctx, "report"); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Errorf("a second run gets %v, want ErrNotAcquired", err)
		}
		<-time.After(2 * time.Second)
		cancel() // As gocron does at Shutdown.
		if err := lock.Unlock(ctx); err != nil {
			t.Error(err)
		}
		if l.Held("report") != nil {
			t.Error("after the run there is a hold of it")
		}
		<-time.After(7900 * time.Millisecond)
		if !state().Resting {
			t.Error("in the window the lock is free, or held")
		}
		<-time.After(tardy)
		if state().Held {
			t.Error("after the window the lock is held")
		}

		if lock, err = l.Lock(t.Context(), "report"); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute) // Longer than the lease and the window.
		if err := lock.Unlock(t.Context()); err != nil || state().Held {
			t.Errorf("a run that is longer than the window ended with %v, and held: %v", err, state().Held)
		}

		begun := time.Now()
		if lock, err = l.Lock(t.Context(), "report"); err != nil {
			t.Fatal(err)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := client.Close(); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Until(begun.Add(10*time.Second - time.Millisecond)))
		if s := state(); !s.Resting {
			t.Errorf("after its client was closed the lock is %+v, want it to rest", s)
		}
		<-time.After(tardy)
		if s := state(); s.Held {
			t.Errorf("after the window the lock is %+v", s)
		}
		if _, err := l.Lock(t.Context(), "report"); !errors.Is(err, kubelock.ErrClosed) {
			t.Errorf("a locker whose client is closed gives %v", err)
		}
	})
}

// TestLostRun checks a run whose lock is lost: the context of Held ends, and Unlock returns an error.
func TestLostRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		l, err := locks.NewLocker(connect(t, server.Config()), locks.LockerConfig{Window: time.Second, LockDuration: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		lock, err := l.Lock(t.Context(), "report")
		if err != nil {
			t.Fatal(err)
		}
		reconnect := server.Disconnect()
		before := time.Now()
		<-l.Held("report").Context().Done()
		if took := time.Since(before); took > 5*time.Second {
			t.Errorf("it was lost after %v, want LockDuration", took)
		}
		reconnect()
		if err := lock.Unlock(t.Context()); !errors.Is(err, kubelock.ErrLost) {
			t.Errorf("Unlock returned %v, want ErrLost", err)
		}
	})
}

func TestWrongConfiguration(t *testing.T) {
	_, err := locks.NewLocker(nil, locks.LockerConfig{LockDuration: -1})
	for _, want := range []string{"client is nil", "Window must be positive", "LockDuration"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewLocker returned %v, want %q", err, want)
		}
	}
	if err := locks.NewElector(nil, "jobs").Run(t.Context()); err == nil || !strings.Contains(err.Error(), "NewClient") {
		t.Errorf("Run without a client returned %v", err)
	}
	if err := locks.NewElector(nil, "jobs").IsLeader(t.Context()); !errors.Is(err, locks.ErrNotLeader) {
		t.Errorf("without Run, IsLeader returned %v", err)
	}
}
