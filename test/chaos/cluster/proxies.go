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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// Direction is one of the two directions of a connection.
type Direction string

// Upstream is the direction to the server, Downstream the direction from it.
const (
	Upstream   Direction = "upstream"
	Downstream Direction = "downstream"
)

// Link is a connection path between two processes, through a proxy.
type Link struct {
	Name  string
	proxy *toxiproxy.Proxy

	mu     sync.Mutex // protects the fields below
	toxics int
	upset  map[Direction]bool
}

// links creates proxies.
type links struct{ server *toxiproxy.ApiServer }

func newLinks() *links {
	return &links{toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

// open opens a link to upstream. listen is an address; with the port 0 the system chooses one.
func (l *links) open(name, listen, upstream string) (*Link, error) {
	proxy := toxiproxy.NewProxy(l.server, name, listen, upstream)
	if err := proxy.Start(); err != nil {
		return nil, fmt.Errorf("the proxy %s: %w", name, err)
	}
	return &Link{Name: name, proxy: proxy, upset: map[Direction]bool{}}, nil
}

// Address returns the address of the proxy.
func (l *Link) Address() string { return l.proxy.Listen }

// Lead connects the link to another server, and closes its connections.
func (l *Link) Lead(upstream string) error {
	return l.proxy.Update(&toxiproxy.Proxy{Listen: l.proxy.Listen, Upstream: upstream, Enabled: true})
}

// Cut closes the connections of the link.
func (l *Link) Cut() error {
	l.proxy.Stop()
	return l.proxy.Start()
}

// ErrUpset says that the link has a toxic already. Toxiproxy does not work reliably if several are
// added and removed while connections open and close.
var ErrUpset = errors.New("is upset already")

// Upset adds a toxic to the link. undo removes it.
func (l *Link) Upset(kind string, direction Direction, attributes map[string]any) (undo func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.upset[direction] {
		return nil, ErrUpset
	}
	l.toxics++
	name := fmt.Sprintf("%s-%d", kind, l.toxics)
	text, err := json.Marshal(map[string]any{"name": name, "type": kind, "stream": direction, "toxicity": 1, "attributes": attributes})
	if err != nil {
		return nil, err
	}
	if _, err := l.proxy.Toxics.AddToxicJson(bytes.NewReader(text)); err != nil {
		return nil, err
	}
	l.upset[direction] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.upset[direction] = false
		_ = l.proxy.Toxics.RemoveToxic(context.Background(), name) // The toxic exists, so this does not fail.
	}, nil
}
