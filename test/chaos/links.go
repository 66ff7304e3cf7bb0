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
	"time"

	"github.com/kubelock/kubelock/test/chaos/cluster"
)

// Faults of the network.

func partitionClient(ctx context.Context, r *run, p planned) (string, error) {
	return partition(ctx, p, r.client(p).link)
}

func partitionReaper(ctx context.Context, r *run, p planned) (string, error) {
	return partition(ctx, p, r.reapers[p.target%len(r.reapers)].link)
}

func partitionServer(ctx context.Context, r *run, p planned) (string, error) {
	s := r.cluster.Servers[p.target%len(r.cluster.Servers)]
	links := s.Etcd
	if p.random%4 > 0 {
		links = s.Etcd[p.random%uint64(len(s.Etcd)):][:1]
	}
	return partition(ctx, p, links...)
}

func partitionPeers(ctx context.Context, r *run, p planned) (string, error) {
	return partition(ctx, p, r.cluster.Etcd[p.target%len(r.cluster.Etcd)].Peers)
}

// partition drops everything on the links in one direction, or in both.
func partition(ctx context.Context, p planned, links ...*cluster.Link) (string, error) {
	directions := [][]cluster.Direction{{cluster.Upstream}, {cluster.Downstream}, {cluster.Upstream, cluster.Downstream}}[p.random>>8%3]
	return upset(ctx, p, "timeout", directions, map[string]any{"timeout": 0}, links...)
}

func upset(ctx context.Context, p planned, toxic string, directions []cluster.Direction, attributes map[string]any, links ...*cluster.Link) (what string, err error) {
	var undos []func()
	defer func() {
		for _, undo := range undos {
			undo()
		}
	}()
	for _, l := range links {
		what += l.Name + " "
		for _, d := range directions {
			undo, err := l.Upset(toxic, d, attributes)
			if err != nil {
				return what, err
			}
			undos = append(undos, undo)
		}
	}
	sleep(ctx, p.lasts)
	return fmt.Sprintf("%s%v %v for %v", what, directions, attributes, p.lasts), nil
}

// cutAnswers drops the answers to requests that the server has received, and then closes the
// connection.
func cutAnswers(ctx context.Context, r *run, p planned) (string, error) {
	return upset(ctx, p, "timeout", []cluster.Direction{cluster.Downstream}, map[string]any{"timeout": 50 + p.random%500}, r.client(p).link)
}

func slowLink(ctx context.Context, r *run, p planned) (string, error) {
	links := []*cluster.Link{r.client(p).link}
	if p.random%4 == 0 {
		links = r.cluster.Servers[p.target%len(r.cluster.Servers)].Etcd
	}
	direction := []cluster.Direction{cluster.Upstream, cluster.Downstream}[p.random>>8%2]
	latency := 100 + p.random>>16%3000
	return upset(ctx, p, "latency", []cluster.Direction{direction}, map[string]any{"latency": latency, "jitter": latency / 3}, links...)
}

// lateRequests delays a client's requests for longer than its leases, and delivers them while the
// client is stopped and cannot cancel them.
func lateRequests(ctx context.Context, r *run, p planned) (string, error) {
	c := r.client(p)
	undo, err := c.link.Upset("latency", cluster.Upstream, map[string]any{"latency": time.Hour.Milliseconds()})
	if err != nil {
		return c.Name, err
	}
	sleep(ctx, 200*time.Millisecond+time.Duration(p.random%800)*time.Millisecond) // In this time the client sends requests.
	const longer = 500 * time.Millisecond
	stop(c, p.lasts+longer)
	sleep(ctx, p.lasts)
	undo()
	sleep(ctx, longer)
	return fmt.Sprintf("%s for %v", c.Name, p.lasts), nil
}

func cutWatches(_ context.Context, r *run, p planned) (string, error) {
	c := r.client(p)
	return c.Name, c.link.Cut()
}

// stallWatches keeps connections open, and delivers nothing on them any more.
func stallWatches(ctx context.Context, r *run, p planned) (string, error) {
	return upset(ctx, p, "timeout", []cluster.Direction{cluster.Downstream}, map[string]any{"timeout": 0}, r.client(p).link)
}

func moveClient(_ context.Context, r *run, p planned) (string, error) {
	c := r.client(p)
	c.mu.Lock()
	to := (c.server + 1) % len(r.cluster.Servers)
	c.mu.Unlock()
	if !r.cluster.Servers[to].Running() {
		return c.Name, errors.New("there is no other API server")
	}
	return fmt.Sprintf("%s to %d", c.Name, to), c.move(r.cluster, to)
}
