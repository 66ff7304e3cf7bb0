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

// Package engine drives sessions: it has all goroutines, timers, requests, watches and connections of a
// client, and decides nothing about the protocol.
//
//	who starts it                 goroutine                     who ends it, and waits for it
//	a session's effect (Send)     a request (driver.go)         its timeout, Client.ctx or Client.writes; Close
//	a session that listens        an informer (watch.go)        ten seconds after its last user, Client.ctx; Close
//	an informer with a handler    its first sync (watch.go)     the sync, the informer's end; Close
//	the first call of Apply       an applier (applier.go)       the end of all calls of Apply that wait; Close
//	a driver                      a timer (driver.go)           the session has nothing to wake up for
package engine

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/retry"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/session"
	"github.com/kubelock/kubelock/internal/store"
)

const (
	// requestTimeout bounds a read that is no session's.
	requestTimeout = session.FirstRequest
	// closeTimeout bounds how long Close lets go on what calls have begun.
	closeTimeout = 5 * time.Second
)

// Settings are what does not change in the life of a client. All of them are checked.
type Settings struct {
	Namespace    string
	Kind         store.Kind // of the objects that locks are kept in
	ObjectExpiry time.Duration
	Identity     string
	Pod          protocol.Pod
	Log          logr.Logger
	MaxClockSkew time.Duration
	Metrics      prometheus.Registerer // nil: there is none
	Tracing      trace.TracerProvider  // nil: there is none
	// Labels and Annotations are those of the objects that the client creates, besides the protocol's.
	Labels, Annotations map[string]string
}

// Client drives the sessions of one program: its requests, watches and timers. It has its own
// connections to the API server. It has no goroutine and no watch while no caller waits for a lock and
// no hold is renewed in the background, but for a read some seconds after it has handed a lock over. It
// is safe for concurrent use.
type Client struct {
	Settings

	id      string        // of this instance
	seed    uint64        // of what is drawn to spread requests
	numbers atomic.Uint64 // of calls and events; lock IDs are made of them
	store   store.Store
	conns   *connections
	access  *access
	server  *servertime.Clock
	asker   *servertime.Asker
	now     func() time.Time
	drivers *drivers
	watches *watches
	metrics *metrics
	tracing *tracing // nil: there is none
	// unlabeled is done when it was said that labels of locks are removed.
	unlabeled sync.Once

	ctx    context.Context // ends when Close is called; no call stores its own
	cancel context.CancelFunc
	// writes ends when Close returns, so that what calls have begun can be ended well.
	writes       context.Context
	cancelWrites context.CancelFunc

	mu         sync.Mutex // protects closed and ended, and that nothing starts after they are set
	closed     bool       // Close was called
	ended      bool       // Close waits for nothing but the end of all goroutines
	calls      sync.WaitGroup
	goroutines sync.WaitGroup
}

// New returns a client whose time is now's.
func New(config *rest.Config, s Settings, now func() time.Time) (*Client, error) {
	server := &servertime.Clock{}
	access := newAccess()
	conns, err := newConnections(config, server, access, now, s.Log)
	if err != nil {
		return nil, err
	}
	st, err := s.Kind.Open(conns.config, conns.http, s.Namespace)
	if err != nil {
		return nil, fmt.Errorf("kubelock: the API server's configuration: %w", err)
	}
	asker, err := servertime.NewAsker(conns.config, conns.http, server, now)
	if err != nil {
		return nil, fmt.Errorf("kubelock: the API server's configuration: %w", err)
	}
	m, err := newMetrics(s.Metrics)
	if err != nil {
		return nil, err
	}
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // It never fails.
	c := &Client{
		Settings: s,
		seed:     binary.NativeEndian.Uint64(seed[:]),
		id:       strings.ToLower(rand.Text()),
		store:    st,
		conns:    conns,
		access:   access,
		server:   server,
		asker:    asker,
		now:      now,
		metrics:  m,
		tracing:  newTracing(s.Tracing, s.Namespace),
	}
	c.drivers = newDrivers(c)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.writes, c.cancelWrites = context.WithCancel(context.Background())
	c.watches = newWatches(c)
	return c, nil
}

// ID is that of this instance, which its entries in queues begin with.
func (c *Client) ID() string { return c.id }

// Limit is how much state fits.
func (c *Client) Limit() store.Limit { return c.Kind.Limit() }

// Closing returns a context that ends when Close is called.
func (c *Client) Closing() context.Context { return c.ctx }

// Close ends the client: see kubelock.Client.Close.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	bound := time.AfterFunc(closeTimeout, c.end)
	c.drivers.close()
	c.calls.Wait() // After the bound they are quick.
	bound.Stop()
	c.end()
	c.goroutines.Wait()
	c.tracing.close()
	c.conns.close()
}

// end ends what Close has let go on.
func (c *Client) end() {
	c.mu.Lock()
	again := c.ended
	c.ended = true
	c.mu.Unlock()
	c.cancelWrites()
	if !again {
		c.drivers.post(session.End)
	}
}

// start runs f in a goroutine that Close waits for. It returns false, and does not
// run f, once the client is closed. f ends soon after c.ctx or c.writes does.
func (c *Client) start(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.goroutines.Go(f)
	return true
}

// launch runs a request in a goroutine. It returns false, and does not run it, once the client is
// closed, or, for one that ends well what was begun, when Close does not wait any more. A request
// ends soon after c.ctx or c.writes does.
func (c *Client) launch(closing bool, request func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.closed && !closing {
		return false
	}
	c.goroutines.Go(request)
	return true
}

// expect lets Close wait until c.calls.Done is called. It returns false, and does not, once
// Close was called, if this is not part of a call.
func (c *Client) expect(inCall bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed && !inCall {
		return false
	}
	c.calls.Add(1)
	return true
}

// begin binds a call's context to the client's life: the context that it returns
// ends with the cause ErrClosed when the client is closed.
func (c *Client) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if ctx == nil {
		return nil, nil, ErrNoContext
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, nil, ErrClosed
	}
	c.calls.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(c.ctx, func() { cancel(ErrClosed) })
	return ctx, func() { stop(); cancel(nil); c.calls.Done() }, nil
}

// number is another one for each call of the client.
func (c *Client) number() int { return int(c.numbers.Add(1)) } //nolint:gosec // It will not overflow.

// fetch reads the lock's object, by a request that is sent at sent, and checks that it is k's.
func (c *Client) fetch(ctx context.Context, k Key, sent time.Time) (protocol.Record, error) {
	r, err := c.store.Get(ctx, k.object)
	if err != nil {
		return protocol.Record{}, k.unusable(err)
	}
	c.access.grant(verbGet, sent) // That there is no object is an error only of the request.
	return r, k.check(r)
}

// read reads the lock's object once.
func (c *Client) read(ctx context.Context, k Key) (protocol.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	sent := c.now()
	r, err := c.fetch(ctx, k, sent)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.conns.suspect(sent)
	}
	return r, err
}

// readOnce reads the lock's object once.
func (c *Client) readOnce(ctx context.Context, k Key) (protocol.Record, error) {
	r, err := c.read(ctx, k)
	if err != nil && !errors.Is(err, ErrInvalidKey) {
		return r, c.explain("get", k, err)
	}
	return r, err
}

// readUntil reads the lock's object, again and again while the API server cannot
// be reached, or denies what it has granted before, until ctx ends. It returns an error that retrying
// would not mend, or, at the end of ctx, the last one.
func (c *Client) readUntil(ctx context.Context, k Key) (protocol.Record, error) {
	tries := retry.New(c.now, c.access)
	for {
		r, err := c.read(ctx, k)
		if err == nil || errors.Is(err, ErrInvalidKey) {
			return r, err
		}
		if tries.Read(err) == store.Rejected {
			return r, c.explain(verbGet, k, err)
		}
		c.Log.V(1).Info("Could not read a lock, will retry", "key", k.name, "err", err)
		if tries.Pause(ctx) != nil {
			return r, c.explain(verbGet, k, err)
		}
	}
}
