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
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubelock/kubelock/test/chaos/checks"
	"github.com/kubelock/kubelock/test/chaos/cluster"
	"github.com/kubelock/kubelock/test/chaos/external"
	"github.com/kubelock/kubelock/test/chaos/history"
)

const (
	lease = 4 * time.Second
	// bound is how long a waiter may have to wait for a lock after the last fault: for the lease of
	// a dead holder, and a grace of 5 s per dead client that holds a grant or waits in the queue.
	bound = time.Minute
	// The fault schedule alternates: faults for the length of a storm, then none for the length of a
	// calm.
	storm, calm = 40 * time.Second, 20 * time.Second
	// aftermath is how long faults may have effects after the end of a storm.
	aftermath = 8 * time.Second
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
	webhook  *cluster.Webhook
	begun    int64

	mu          sync.Mutex // protects the fields below
	manualEdits []checks.ManualEdit
	calms       []checks.Span
	faultSpans  []checks.Fault
	injected    map[string]int
	failed      map[string]int
	journals    []string
	pause       time.Duration             // for the next client that reads the external store
	dead        map[*cluster.Process]bool // processes that a fault keeps dead
	faultLog    *os.File
}

// member is a client or a reaper, with its link to an API server.
type member struct {
	*cluster.Process
	link *cluster.Link
	gate *cluster.Gate // between the link and the API server; nil for a reaper

	mu     sync.Mutex // protects the fields below
	server int
	killed bool
}

func (r *run) execute(ctx context.Context) (violations []checks.Violation, err error) {
	if err := r.prepare(); err != nil {
		return nil, err
	}
	defer func() { _ = r.faultLog.Close() }()
	defer r.shutDown()
	if err := r.start(ctx); err != nil {
		return nil, err
	}
	r.sayf("All processes run; seed %d, faults for %v; logs and journals are in %s", r.seed, r.length, r.folder)
	supervised, stop := context.WithCancel(ctx)
	var supervisor sync.WaitGroup
	supervisor.Go(func() { r.supervise(supervised) })
	defer func() { stop(); supervisor.Wait() }() // Before shutDown.
	if err := r.runSchedule(ctx); err != nil {
		return nil, err
	}
	ended := history.Now()
	r.sayf("The faults have stopped")
	stuck := r.finalChecks(ctx)
	if ctx.Err() != nil {
		return nil, errors.New("interrupted")
	}
	finished, err := r.collect(ctx, ended)
	if err != nil {
		return nil, err
	}
	violations = slices.Concat(stuck, r.checkAll(finished))
	if len(violations) == 0 && !r.keep {
		stop()
		supervisor.Wait()
		r.shutDown() // Before its folder is removed.
		return nil, os.RemoveAll(r.folder)
	}
	return violations, r.save(finished)
}

func (r *run) prepare() (err error) {
	r.dead = map[*cluster.Process]bool{}
	r.injected, r.failed = map[string]int{}, map[string]int{}
	for _, path := range []*string{&r.out, &r.bin, &r.root, &r.manifests, &r.oldClients, &r.oldReapers, &r.olderAssets} {
		if *path == "" {
			continue
		}
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
	if r.cluster, err = cluster.Start(r.assets, r.olderAssets, r.folder, r.root, users); err != nil {
		return err
	}
	versions, err := r.cluster.Versions()
	if err != nil {
		return err
	}
	r.sayf("The API servers are Kubernetes %s", strings.Join(versions, " and "))
	if r.olderAssets != "" && versions[0] == versions[1] {
		return fmt.Errorf("both API servers are %s: name a folder of another version", versions[0])
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
	r.stores.Reading = r.pauseAfterRead
	if r.webhook, err = r.cluster.Webhook(); err != nil {
		return err
	}
	r.begun = history.Now()
	for i := range reapers {
		m, err := r.member(fmt.Sprintf("reaper-%d", i), reaperUser, i, false, func(kubeconfig string) *exec.Cmd {
			cmd := exec.Command(filepath.Join(cmp.Or(r.oldReapers, r.bin), "reaper"), "--metrics-bind-address=0", "--health-probe-bind-address=0", //nolint:noctx // Ended by clear.
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
		name, incarnation, bin := fmt.Sprintf("client-%d", i), 0, r.bin
		if i%2 == 1 {
			bin = cmp.Or(r.oldClients, r.bin)
		}
		seeds := rand.New(rand.NewPCG(r.seed, uint64(i)))
		m, err := r.member(name, name, i, true, func(kubeconfig string) *exec.Cmd {
			incarnation++
			process := fmt.Sprintf("%s.%d", name, incarnation)
			journal := filepath.Join(r.folder, process+".jsonl")
			r.mu.Lock()
			r.journals = append(r.journals, journal)
			r.mu.Unlock()
			return exec.Command(filepath.Join(bin, "chaos-client"), "--name="+process, "--journal="+journal, "--kubeconfig="+kubeconfig, //nolint:noctx // Ended by clear.
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

func (r *run) member(name, user string, i int, gated bool, command func(kubeconfig string) *exec.Cmd) (_ *member, err error) {
	m := &member{server: i % cluster.Servers}
	upstream := r.cluster.Servers[m.server].Address
	if gated {
		if m.gate, err = r.cluster.Gate(name, upstream); err != nil {
			return nil, err
		}
		upstream = m.gate.Address()
	}
	if m.link, err = r.cluster.Link(name, upstream); err != nil {
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

// move connects a member to another API server.
func (m *member) move(c *cluster.Cluster, server int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.server = server
	if m.gate != nil {
		m.gate.Lead(c.Servers[server].Address)
		return m.link.Cut()
	}
	return m.link.Lead(c.Servers[server].Address)
}

// pauseAfterRead is called when a client has read the external store. If pauseHolder has asked for a
// pause, it stops the client now, between its read and its write.
func (r *run) pauseAfterRead(process string) {
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

// shutDown ends all processes and links that still exist.
func (r *run) shutDown() {
	if r.cluster == nil {
		return
	}
	for _, m := range slices.Concat(r.clients, r.reapers) {
		m.Kill()
		m.link.Close()
		if m.gate != nil {
			m.gate.Close()
		}
	}
	if r.webhook != nil {
		r.webhook.Close()
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

// notef writes a line to the log of faults.
func (r *run) notef(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.faultLog, "%d [%6.1fs] %s\n", history.Now(), time.Since(begun).Seconds(), fmt.Sprintf(format, args...))
}
