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
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/client-go/rest"
)

// Cluster is a control plane of three etcd members and two API servers.
type Cluster struct {
	Assets string // the folder of the programs
	Older  string // the folder of the first API server, if that is of another version
	Folder string // of data, logs and credentials
	Root   string // of the project

	Etcd    []*Member
	Servers []*Server
	// Keys reads and writes etcd directly, without a proxy.
	Keys *clientv3.Client
	// Admin is the link of kubectl to the API servers.
	Admin *Link

	links     *links
	ca        []byte
	processes []*Process
	admin     string // kubeconfig
}

// Start starts a cluster, and creates credentials for those users. older may be empty.
func Start(assets, older, folder, root string, users []string) (*Cluster, error) {
	c := &Cluster{Assets: assets, Older: older, Folder: folder, Root: root, links: newLinks()}
	if err := c.startEtcd(); err != nil {
		return c, err
	}
	if err := c.startServers(users); err != nil {
		return c, err
	}
	var err error
	if c.Admin, err = c.Link("admin", c.Servers[0].Address); err != nil {
		return c, err
	}
	c.admin, err = c.Kubeconfig("admin", c.Admin.Address(), "admin")
	return c, err
}

// Link opens a link to an API server.
func (c *Cluster) Link(name, upstream string) (*Link, error) {
	return c.links.open(name, "127.0.0.1:0", upstream)
}

// AdminConfig returns the configuration of an administrator.
func (c *Cluster) AdminConfig() *rest.Config { return c.config(c.Admin.Address(), "admin") }

// Kubectl runs kubectl as an administrator.
func (c *Cluster) Kubectl(ctx context.Context, environment []string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.Assets+"/kubectl", args...)
	cmd.Dir = c.Root
	cmd.Env = append(append(os.Environ(), "KUBECONFIG="+c.admin, "KUBECACHEDIR="+c.file("cache")), environment...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Stop ends all processes and proxies.
func (c *Cluster) Stop() {
	if c.Keys != nil {
		_ = c.Keys.Close()
	}
	for _, p := range slices.Backward(c.processes) { // etcd last.
		p.Kill()
	}
	if c.Admin != nil {
		c.Admin.proxy.Stop()
	}
	for _, s := range c.Servers {
		for _, l := range s.Etcd {
			l.proxy.Stop()
		}
	}
	for _, m := range c.Etcd {
		m.Peers.proxy.Stop()
	}
}

// Close closes a link.
func (l *Link) Close() { l.proxy.Stop() }

// freeAddresses returns local addresses with free ports.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // It does not block.
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// until calls condition until it returns nil or ctx ends.
func until(ctx context.Context, what string, condition func(context.Context) error) error {
	for {
		one, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := condition(one)
		cancel()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
