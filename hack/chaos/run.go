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
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/kubelock/kubelock/hack/chaos/checks"
	"github.com/kubelock/kubelock/hack/chaos/cluster"
	"github.com/kubelock/kubelock/hack/chaos/external"
	"github.com/kubelock/kubelock/hack/chaos/history"
)

const (
	lease = 4 * time.Second
	// bound is within what every waiter has the lock when the faults have stopped: the
	// lease of a dead holder, and a grace of 5 s for each dead client that was given the
	// lock or queues for it.
	bound = time.Minute
	// Faults come in storms, with calm in between.
	storm, calm = 40 * time.Second, 20 * time.Second
	// settling is how long the last faults may be felt in a calm.
	settling = 8 * time.Second
	// reapers is how many replicas the reaper has.
	reapers = 2
)

// run is one run.
type run struct {
	options
	folder   string
	cluster  *cluster.Cluster
	stores   *external.Stores
	recorder *history.Recorder
	clients  []*member
	reapers  []*member
	begun    int64

	mu       sync.Mutex // protects the fields below
	hands    []checks.Hand
	calms    []checks.Span
	injected map[string]int
	failed   map[string]int
	journals []string
	pause    time.Duration             // for the next client that reads the external store
	dead     map[*cluster.Process]bool // that are to be
	faultLog *os.File
}

// member is a client or a reaper, and its way to an API server.
type member struct {
	*cluster.Process
	link *cluster.Link

	mu     sync.Mutex // protects the fields below
	server int
	killed bool
}

func (r *run) all(ctx context.Context) (violations []checks.Violation, err error) {
	if err := r.prepare(); err != nil {
		return nil, err
	}
	defer func() { _ = r.faultLog.Close() }()
	defer r.clear()
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	r.sayf("Everything runs; seed %d, %v of storms and calms; everything is noted in %s", r.seed, r.length, r.folder)
	supervised, stop := context.WithCancel(ctx)
	var supervisor sync.WaitGroup
	supervisor.Go(func() { r.supervise(supervised) })
	defer func() { stop(); supervisor.Wait() }() // Before clear.
	if err := r.weather(ctx); err != nil {
		return nil, err
	}
	ended := history.Now()
	r.sayf("The faults have stopped")
	stuck := r.settle(ctx)
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	finished, err := r.finish(ctx, ended)
	if err != nil {
		return nil, err
	}
	violations = slices.Concat(stuck, r.checkAll(finished))
	if len(violations) == 0 && !r.keep {
		stop()
		supervisor.Wait()
		r.clear() // Before the folder.
		return nil, os.RemoveAll(r.folder)
	}
	return violations, r.dump(finished)
}

func (r *run) prepare() (err error) {
	r.dead = map[*cluster.Process]bool{}
	r.injected, r.failed = map[string]int{}, map[string]int{}
	for _, path := range []*string{&r.out, &r.bin, &r.root} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(r.out, 0o755); err != nil {
		return err
	}
	if r.folder, err = os.MkdirTemp(r.out, fmt.Sprintf("seed-%d-", r.seed)); err != nil {
		return err
	}
	r.faultLog, err = os.Create(filepath.Join(r.folder, "faults.log"))
	return err
}

func (r *run) start(ctx context.Context) (err error) {
	users := make([]string, 0, 1+r.options.clients)
	users = append(users, reaperUser)
	for i := range r.options.clients {
		users = append(users, fmt.Sprintf("client-%d", i))
	}
	r.sayf("Starting three etcd members and two API servers")
	if r.cluster, err = cluster.Start(r.assets, r.folder, r.root, users); err != nil {
		return err
	}
	if err := r.install(ctx); err != nil {
		return err
	}
	if r.recorder, err = history.Record(ctx, r.cluster.Keys); err != nil {
		return err
	}
	if r.stores, err = external.Open(); err != nil {
		return err
	}
	r.stores.Reading = r.read
	r.begun = history.Now()
	for i := range reapers {
		m, err := r.member(fmt.Sprintf("reaper-%d", i), reaperUser, i, func(kubeconfig string) *exec.Cmd {
			cmd := exec.Command(filepath.Join(r.bin, "reaper"), "--metrics-bind-address=0", "--health-probe-bind-address=0", //nolint:noctx // Ended by clear.
				"--leader-elect", "--leader-election-namespace=kubelock-system", "--leases", "--configmaps")
			cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
			return cmd
		})
		if err != nil {
			return err
		}
		r.reapers = append(r.reapers, m)
	}
	for i := range r.options.clients {
		name, incarnation := fmt.Sprintf("client-%d", i), 0
		seeds := rand.New(rand.NewPCG(r.seed, uint64(i)))
		m, err := r.member(name, name, i, func(kubeconfig string) *exec.Cmd {
			incarnation++
			process := fmt.Sprintf("%s.%d", name, incarnation)
			journal := filepath.Join(r.folder, process+".jsonl")
			r.mu.Lock()
			r.journals = append(r.journals, journal)
			r.mu.Unlock()
			return exec.Command(filepath.Join(r.bin, "chaos-client"), "--name="+process, "--journal="+journal, "--kubeconfig="+kubeconfig, //nolint:noctx // Ended by clear.
				"--stores="+r.stores.URL, fmt.Sprintf("--seed=%d", seeds.Uint64()), "--lease="+lease.String(), "--bound="+bound.String(),
				fmt.Sprintf("--begun=%d", r.begun), fmt.Sprintf("--wrong-clock=%v", i%2 == 1))
		})
		if err != nil {
			return err
		}
		r.clients = append(r.clients, m)
	}
	return nil
}

func (r *run) member(name, user string, i int, command func(kubeconfig string) *exec.Cmd) (*member, error) {
	m := &member{server: i % cluster.Servers}
	var err error
	if m.link, err = r.cluster.Link(name, r.cluster.Servers[m.server].Address); err != nil {
		return nil, err
	}
	kubeconfig, err := r.cluster.Kubeconfig(name, m.link.Address(), user)
	if err != nil {
		return nil, err
	}
	m.Process = &cluster.Process{
		Name: name, Logs: filepath.Join(r.folder, name+".log"),
		Command: func() *exec.Cmd { return command(kubeconfig) },
	}
	if err := m.Start(); err != nil {
		return nil, err
	}
	return m, nil
}

// move leads a member to an API server.
func (m *member) move(c *cluster.Cluster, server int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.server = server
	return m.link.Lead(c.Servers[server].Address)
}

// read is called when a client has read the external store: if a pause is due, the
// client is stopped now, between its read and its write.
func (r *run) read(process string) {
	r.mu.Lock()
	d := r.pause
	r.pause = 0
	r.mu.Unlock()
	if d == 0 {
		return
	}
	for _, c := range r.clients {
		if name, _, _ := cutLast(process); name == c.Name {
			r.notef("%s is stopped in its critical section for %v", process, d)
			stop(c, d)
		}
	}
}

// clear ends everything that is still there.
func (r *run) clear() {
	if r.cluster == nil {
		return
	}
	for _, m := range slices.Concat(r.clients, r.reapers) {
		m.Kill()
		m.link.Close()
	}
	if r.stores != nil {
		_ = r.stores.Close()
	}
	r.cluster.Stop()
	r.cluster = nil
}

var begun = time.Now()

func (r *run) sayf(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	fmt.Printf("[%6.1fs] %s\n", time.Since(begun).Seconds(), text)
	r.notef("%s", text)
}

// notef writes to the log of faults.
func (r *run) notef(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.faultLog, "%d [%6.1fs] %s\n", history.Now(), time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
}
