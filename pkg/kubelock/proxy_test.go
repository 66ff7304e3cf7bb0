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

package kubelock_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// proxy passes TCP connections on to the API server, and can let those that are open
// go dead without closing them, as a network does that drops packets.
type proxy struct {
	target string
	mu     sync.Mutex // protects dead and conns
	dead   chan struct{}
	conns  []net.Conn
	wg     sync.WaitGroup
}

func newProxy(t *testing.T, host string) *proxy {
	t.Helper()
	u, err := url.Parse(host)
	if err != nil {
		t.Fatal(err)
	}
	target := u.Host
	if target == "" {
		target = host
	}
	p := &proxy{target: target, dead: make(chan struct{})}
	t.Cleanup(func() {
		p.mu.Lock()
		for _, c := range p.conns {
			c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

// config returns a configuration whose connections go through the proxy.
func (p *proxy) config(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		server, err := (&net.Dialer{}).DialContext(ctx, network, p.target)
		if err != nil {
			return nil, err
		}
		near, far := net.Pipe()
		p.mu.Lock()
		p.conns = append(p.conns, near, far, server)
		dead := p.dead
		p.mu.Unlock()
		p.wg.Go(func() { pass(server, far, dead) })
		p.wg.Go(func() { pass(far, server, dead) })
		return near, nil
	}
	return config
}

// freeze makes the connections that are open swallow what is sent on them.
func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.dead)
	p.dead = make(chan struct{})
}

func pass(to io.WriteCloser, from io.Reader, dead <-chan struct{}) {
	defer func() { _ = to.Close() }()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-dead: // Swallowed.
			continue
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// TestDeadConnectionIsReplaced checks that a connection on which nothing is answered
// any more does not cost a lock that is renewed.
func TestDeadConnectionIsReplaced(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	proxy := newProxy(t, env.Config.Host)
	config := proxy.config(env.Config)
	l := kubelock.NewLock[string](newClientFor(t, config, kubelock.Config{Namespace: ns, LockDuration: 4 * time.Second}), "connection")
	held := acquire(t, l, kubelock.WithAutoRenew())
	proxy.freeze() // What was sent so far is swallowed from now on; new connections work.
	before := held.Deadline()
	for !held.Deadline().After(before.Add(2 * time.Second)) {
		select {
		case <-held.Context().Done():
			t.Fatalf("the lock was lost: %v", context.Cause(held.Context()))
		case <-time.After(50 * time.Millisecond):
		}
	}
	release(t, held)
}
