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
	"slices"
	"syscall"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/kubelock/kubelock/test/chaos/cluster"
)

// Faults of processes: they are killed, or stopped for a time.

func (r *run) client(p planned) *member { return r.clients[p.target%len(r.clients)] }

func killClient(ctx context.Context, r *run, p planned) (string, error) {
	return killMember(ctx, r.client(p), p.lasts)
}

func killReaper(ctx context.Context, r *run, p planned) (string, error) {
	return killMember(ctx, r.reapers[p.target%len(r.reapers)], p.lasts)
}

func killMember(ctx context.Context, m *member, d time.Duration) (string, error) {
	m.mu.Lock()
	if m.killed {
		m.mu.Unlock()
		return m.Name, errDead
	}
	m.killed = true
	m.mu.Unlock()
	m.Kill()
	sleep(ctx, d)
	err := m.Start()
	m.mu.Lock()
	m.killed = false
	m.mu.Unlock()
	return fmt.Sprintf("%s for %v", m.Name, d), err
}

func killServer(ctx context.Context, r *run, p planned) (string, error) {
	i := p.target % len(r.cluster.Servers)
	s := r.cluster.Servers[i]
	if !r.setDead(s.Process, true) {
		return s.Name, errDead
	}
	defer r.setDead(s.Process, false)
	s.Kill()
	sleep(ctx, p.lasts/2)
	// Move the members to the other API server, as a load balancer would.
	other := (i + 1) % len(r.cluster.Servers)
	for _, m := range slices.Concat(r.clients, r.reapers) {
		m.mu.Lock()
		here := m.server == i
		m.mu.Unlock()
		if here {
			if err := m.move(r.cluster, other); err != nil {
				return s.Name, err
			}
		}
	}
	if err := r.cluster.Admin.Lead(r.cluster.Servers[other].Address); err != nil {
		return s.Name, err
	}
	sleep(ctx, p.lasts/2)
	return fmt.Sprintf("%s for %v", s.Name, p.lasts), s.Start()
}

func killEtcd(ctx context.Context, r *run, p planned) (string, error) {
	return killMemberOfEtcd(ctx, r, r.cluster.Etcd[p.target%len(r.cluster.Etcd)], p.lasts)
}

func killLeader(ctx context.Context, r *run, p planned) (string, error) {
	m := r.cluster.Leader(ctx)
	if m == nil {
		return "", errors.New("etcd has no leader")
	}
	return killMemberOfEtcd(ctx, r, m, p.lasts)
}

func killMemberOfEtcd(ctx context.Context, r *run, m *cluster.Member, d time.Duration) (string, error) {
	if !r.setDead(m.Process, true) {
		return m.Name, errDead
	}
	defer r.setDead(m.Process, false)
	m.Kill()
	sleep(ctx, d)
	return fmt.Sprintf("%s for %v", m.Name, d), m.Start()
}

// setDead records whether a fault keeps a process dead. It returns false if that was recorded
// already.
func (r *run) setDead(p *cluster.Process, is bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead[p] == is {
		return false
	}
	r.dead[p] = is
	return true
}

// sameVersions checks in a run with two versions that each API server is still of its own, after all restarts.
func (r *run) sameVersions() error {
	if r.olderAssets == "" {
		return nil
	}
	versions, err := r.cluster.Versions()
	if err == nil && !slices.Equal(versions, r.versions) {
		err = fmt.Errorf("the API servers were Kubernetes %v, and are %v now", r.versions, versions)
	}
	return err
}

// supervise restarts processes that have ended by themselves, as a kubelet does. An API server ends
// if it does not reach etcd for too long; a reaper ends if it loses its election or finds no CRD.
func (r *run) supervise(ctx context.Context) {
	for sleep(ctx, time.Second) {
		for _, s := range r.cluster.Servers {
			r.mu.Lock()
			meant := r.dead[s.Process]
			r.mu.Unlock()
			if !meant && !s.Running() && s.Start() == nil {
				r.notef("%s had ended and was started again", s.Name)
			}
		}
		for _, m := range r.reapers {
			m.mu.Lock()
			meant := m.killed
			m.mu.Unlock()
			if !meant && !m.Running() && m.Start() == nil {
				r.notef("%s had ended and was started again", m.Name)
			}
		}
	}
}

func pauseClient(_ context.Context, r *run, p planned) (string, error) {
	c := r.client(p)
	stop(c, p.lasts)
	return fmt.Sprintf("%s for %v", c.Name, p.lasts), nil
}

// stop stops a process, and continues it after d, even if the run ends earlier.
func stop(m *member, d time.Duration) {
	m.Signal(syscall.SIGSTOP)
	time.AfterFunc(d, func() { m.Signal(syscall.SIGCONT) })
}

// pauseHolder stops the next client that has read the external store, before it writes to the store.
func pauseHolder(ctx context.Context, r *run, p planned) (string, error) {
	r.mu.Lock()
	r.pause = p.lasts
	r.mu.Unlock()
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline) && sleep(ctx, 20*time.Millisecond); {
		r.mu.Lock()
		met := r.pause == 0
		r.mu.Unlock()
		if met {
			sleep(ctx, p.lasts)
			return fmt.Sprintf("for %v", p.lasts), nil
		}
	}
	r.mu.Lock()
	r.pause = 0
	r.mu.Unlock()
	return "", errors.New("no client used the external store")
}

// compact compacts etcd's history up to now. Every second time it then restarts an API server, whose
// cache begins at that revision: watches that would continue from an older one get 410 Gone.
func compact(ctx context.Context, r *run, p planned) (string, error) {
	revision := r.recorder.Seen()
	if _, err := r.cluster.Keys.Compact(ctx, revision, clientv3.WithCompactPhysical()); err != nil {
		return "", err
	}
	what := fmt.Sprintf("up to revision %d", revision)
	if p.random%2 == 0 {
		killed, err := killServer(ctx, r, p)
		return what + ", and restarted " + killed, err
	}
	return what, nil
}
