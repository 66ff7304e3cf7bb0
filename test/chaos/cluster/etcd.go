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

package cluster

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
)

// Members is the number of members of etcd.
const Members = 3

// Member is one member of etcd. It syncs its writes to the disk.
type Member struct {
	*Process
	address string // of its clients
	Peers   *Link  // the link of the other members to it
}

func (c *Cluster) startEtcd() error {
	type addresses struct{ client, peer string }
	var all []addresses
	var initial []string
	for i := range Members {
		free, err := freeAddresses(2)
		if err != nil {
			return err
		}
		// Each member has one address for all others. So there is one proxy per member, and not one
		// per pair of members.
		link, err := c.links.open(fmt.Sprintf("etcd-peers-%d", i), "127.0.0.1:0", free[1])
		if err != nil {
			return err
		}
		all = append(all, addresses{free[0], free[1]})
		c.Etcd = append(c.Etcd, &Member{address: free[0], Peers: link})
		initial = append(initial, fmt.Sprintf("etcd-%d=http://%s", i, link.Address()))
	}
	var clients []string
	for i, m := range c.Etcd {
		name := fmt.Sprintf("etcd-%d", i)
		m.Process = &Process{Name: name, Logs: filepath.Join(c.Folder, name+".log"), Command: func() *exec.Cmd {
			return exec.Command(filepath.Join(c.Assets, "etcd"), //nolint:noctx // Ended by Stop.
				"--name="+name, "--data-dir="+filepath.Join(c.Folder, name), "--log-level=warn",
				"--listen-client-urls=http://"+all[i].client, "--advertise-client-urls=http://"+all[i].client,
				"--listen-peer-urls=http://"+all[i].peer, "--initial-advertise-peer-urls=http://"+m.Peers.Address(),
				"--initial-cluster="+strings.Join(initial, ","), "--initial-cluster-token=chaos",
				"--watch-progress-notify-interval=1s")
		}}
		c.processes = append(c.processes, m.Process)
		if err := m.Start(); err != nil {
			return err
		}
		clients = append(clients, "http://"+m.address)
	}
	var err error
	c.Keys, err = clientv3.New(clientv3.Config{
		Endpoints: clients, DialTimeout: 2 * time.Second, DialKeepAliveTime: 2 * time.Second, DialKeepAliveTimeout: 2 * time.Second,
		PermitWithoutStream: true, Logger: zap.NewNop(), MaxCallRecvMsgSize: 1 << 30,
		DialOptions: []grpc.DialOption{grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 2 * time.Second})},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return until(ctx, "etcd", func(ctx context.Context) error {
		_, err := c.Keys.Get(ctx, "health")
		return err
	})
}

// Leader returns the member that leads etcd, or nil if it finds none.
func (c *Cluster) Leader(ctx context.Context) *Member {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for _, m := range c.Etcd {
		if !m.Running() {
			continue
		}
		if status, err := c.Keys.Status(ctx, "http://"+m.address); err == nil && status.Leader == status.Header.MemberId {
			return m
		}
	}
	return nil
}
