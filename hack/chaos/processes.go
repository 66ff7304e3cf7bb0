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

	"github.com/kubelock/kubelock/hack/chaos/cluster"
)

// Faults of processes: they die, or stand still.

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
	if !r.down(s.Process, true) {
		return s.Name, errDead
	}
	defer r.down(s.Process, false)
	s.Kill()
	sleep(ctx, p.lasts/2)
	// As a load balancer does when it has noticed.
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
	if !r.down(m.Process, true) {
		return m.Name, errDead
	}
	defer r.down(m.Process, false)
	m.Kill()
	sleep(ctx, d)
	return fmt.Sprintf("%s for %v", m.Name, d), m.Start()
}

// down notes whether a process is to be dead. It returns false if that was so already.
func (r *run) down(p *cluster.Process, is bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead[p] == is {
		return false
	}
	r.dead[p] = is
	return true
}

// supervise starts what has ended by itself, as a kubelet does: an API server that does not
// reach etcd for too long, and a reaper that has lost its election or does not find the CRD.
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

// stop stops a process for a time. It does so in full even if the run is to end.
func stop(m *member, d time.Duration) {
	m.Signal(syscall.SIGSTOP)
	time.AfterFunc(d, func() { m.Signal(syscall.SIGCONT) })
}

// pauseHolder has the next client stopped that has read the external store and not yet
// written it.
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
	return "", errors.New("nobody used the external store")
}

// compact takes etcd's history away up to now, and every second time restarts an API
// server after it, whose cache then begins here: watches that would go on before that
// get the answer 410 Gone.
func compact(ctx context.Context, r *run, p planned) (string, error) {
	revision := r.recorder.Seen()
	if _, err := r.cluster.Keys.Compact(ctx, revision, clientv3.WithCompactPhysical()); err != nil {
		return "", err
	}
	what := fmt.Sprintf("up to revision %d", revision)
	if p.dice%2 == 0 {
		killed, err := killServer(ctx, r, p)
		return what + ", and restarted " + killed, err
	}
	return what, nil
}
