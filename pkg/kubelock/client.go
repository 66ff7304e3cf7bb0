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

package kubelock

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/hooks"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/retry"
	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/store"
)

const (
	// requestTimeout bounds each read, and a write that is not tried again.
	requestTimeout = retry.FirstRequest
	// closeTimeout bounds how long Close lets go on what calls have begun.
	closeTimeout = 5 * time.Second
)

// Client locks keys in one namespace. Create one for a process with NewClient. It
// is safe for concurrent use.
//
// A Client has its own connections to the API server. It has no goroutine and no
// watch while nobody waits for a lock and no hold is renewed in the background, but for a
// read some seconds after it has handed a lock on.
type Client struct {
	settings
	id      string        // of this instance
	holds   atomic.Uint64 // numbers the lock IDs
	took    atomic.Int64  // how long the last write took that was committed
	store   store.Store
	conns   *connections
	access  *access
	server  *servertime.Clock
	asker   *servertime.Asker
	now     func() time.Time
	turns   *turns
	watches *watches
	own     *ownLocks
	// handOffs are the locks that this client has handed on just now.
	handOffs *handOffs
	known    *memory
	sights   *sights
	metrics  *metrics
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

// NewClient returns a client for the API server of config. It does no I/O: whether
// the server can be reached, and whether this program may lock there, shows at the
// first call.
//
// Of config, NewClient keeps the address, the credentials, the dialer, the wrappers of
// the transport and the handler of warnings, which gets each text once. The client has
// connections of its own, its own user agent, no rate limit on its side, and a
// timeout for each request. An error lists everything that is wrong with cfg.
//
// Credentials may be replaced while the client is in use. A token file is read again each minute and
// when the API server refuses its token; the request that was refused is then sent once more. The
// files of a client certificate are read every five minutes and for each new connection; connections
// with an old certificate are closed. A plugin (exec) is asked as by any client of client-go.
func NewClient(config *rest.Config, cfg Config) (*Client, error) {
	return newClient(config, cfg, time.Now)
}

func init() {
	hooks.NewClientAt = func(config *rest.Config, cfg any, now func() time.Time) (any, error) {
		return newClient(config, cfg.(Config), now)
	}
	hooks.ClientID = func(client any) string { return client.(*Client).id }
}

func newClient(config *rest.Config, cfg Config, now func() time.Time) (*Client, error) {
	if config == nil {
		return nil, errors.New("kubelock: no configuration for the API server: pass what rest.InClusterConfig or clientcmd returns")
	}
	s, err := cfg.settle()
	if err != nil {
		return nil, err
	}
	server := &servertime.Clock{}
	access := newAccess()
	conns, err := newConnections(config, server, access, now, s.log)
	if err != nil {
		return nil, err
	}
	st, err := s.kind.Open(conns.config, conns.http, s.namespace)
	if err != nil {
		return nil, fmt.Errorf("kubelock: the API server's configuration: %w", err)
	}
	asker, err := servertime.NewAsker(conns.config, conns.http, server, now)
	if err != nil {
		return nil, fmt.Errorf("kubelock: the API server's configuration: %w", err)
	}
	m, err := newMetrics(cfg.Metrics)
	if err != nil {
		return nil, err
	}
	c := &Client{
		settings: s,
		id:       strings.ToLower(rand.Text()),
		store:    st,
		conns:    conns,
		access:   access,
		server:   server,
		asker:    asker,
		now:      now,
		turns:    newTurns(now),
		own:      newOwnLocks(),
		handOffs: newHandOffs(),
		known:    newMemory(),
		sights:   newSights(),
		metrics:  m,
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.writes, c.cancelWrites = context.WithCancel(context.Background())
	c.watches = newWatches(c)
	return c, nil
}

// Close ends the client: calls that wait return ErrClosed, and so do all later
// ones. It returns when the client's goroutines have ended; nil, unless the Client is
// not one that NewClient has made.
//
// Calls that have ended without the lock leave nothing behind: Close takes their
// places in queues back. That, and releases that are under way, go on for five seconds
// at most if the API server does not answer; then others have to do without: a waiter
// that is gone is passed over after a grace. A program that ends without Close may
// leave such a place, also within a moment after its last release: a client whose
// callers come back for a lock again and again queues for the next one with the release.
//
// Holds are not released. They are not renewed any more, end at their deadlines,
// and expire for others. Release what is held before Close. Close does not wait for functions that
// Do runs. Their contexts end, with the cause ErrClosed, and Do returns ErrClosed when the function
// has returned: its state is not written, and the lock stays held until its lease ends.
func (c *Client) Close() error {
	if !c.made() {
		return errNoClient
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.cancel()
	bound := time.AfterFunc(closeTimeout, c.end)
	c.turns.close()
	c.handOffs.close()
	c.calls.Wait() // After the bound they are quick.
	bound.Stop()
	c.end()
	c.goroutines.Wait()
	c.conns.close()
	return nil
}

// made reports whether c is what NewClient returned without an error.
func (c *Client) made() bool { return c != nil && c.turns != nil }

// end ends what Close has let go on.
func (c *Client) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.cancelWrites()
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

// finish runs f in a goroutine, to end well what a call has begun: Close lets it go on
// for a time. It returns false, and does not run f, if that is over, or if the client
// was closed and this is not part of a call. f ends soon after c.writes does.
func (c *Client) finish(inCall bool, f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended || c.closed && !inCall {
		return false
	}
	c.calls.Add(1)
	c.goroutines.Go(func() {
		defer c.calls.Done()
		f()
	})
	return true
}

// begin binds a call's context to the client's life: the context that it returns
// ends with the cause ErrClosed when the client is closed.
func (c *Client) begin(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if ctx == nil {
		return nil, nil, errNoContext
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

// stamp is the time to write now. Take the time from which a deadline counts before
// it.
func (c *Client) stamp() protocol.Stamp { return c.server.Stamp(c.now()) }

// newLockID returns a lock ID that no hold has had.
func (c *Client) newLockID() string { return protocol.LockID(c.id, c.holds.Add(1)) }

// read reads the lock's object once, and checks that it is k's.
func (c *Client) read(ctx context.Context, k key, timeout time.Duration) (protocol.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, min(timeout, requestTimeout))
	defer cancel()
	sent := c.now()
	r, err := c.store.Get(ctx, k.object)
	if err != nil {
		c.doubt(ctx, sent)
		return protocol.Record{}, k.unusable(err)
	}
	c.access.grant(verbGet, sent) // That there is no object is an error only of the request.
	return r, k.check(r)
}

// readOnce reads the lock's object once.
func (c *Client) readOnce(ctx context.Context, k key) (protocol.Record, error) {
	r, err := c.read(ctx, k, requestTimeout)
	if err != nil && !errors.Is(err, ErrInvalidKey) {
		return r, c.explain("get", k, err)
	}
	return r, err
}

// readUntil reads the lock's object, again and again while the API server cannot
// be reached, or denies what it has granted before, until ctx ends. Each attempt may take at
// most timeout. It returns an error that retrying would not mend, or, at the end of ctx, the
// last one.
func (c *Client) readUntil(ctx context.Context, k key, timeout time.Duration) (protocol.Record, error) {
	return c.readBy(ctx, c.attempts(), k, timeout)
}

func (c *Client) readBy(ctx context.Context, tries *retry.Attempts, k key, timeout time.Duration) (protocol.Record, error) {
	for {
		r, err := c.read(ctx, k, timeout)
		if err == nil || errors.Is(err, ErrInvalidKey) {
			return r, err
		}
		if tries.Read(err) == store.Rejected {
			return r, c.explain("get", k, err)
		}
		c.log.V(1).Info("Could not read a lock, will retry", "key", k.name, "err", err)
		if tries.Pause(ctx) != nil {
			return r, c.explain("get", k, err)
		}
	}
}

// answer is how a request ended.
type answer struct {
	record protocol.Record
	err    error
}

// write sends one request. It does not end with its caller's context, but only after
// timeout or with the client: what a write did is worth knowing also for callers
// that went away.
func (c *Client) write(timeout time.Duration, request func(ctx context.Context) (protocol.Record, error)) answer {
	ctx, cancel := context.WithTimeout(c.writes, timeout)
	defer cancel()
	sent := c.now()
	record, err := request(ctx)
	c.told(record, err, sent)
	if err != nil {
		c.doubt(ctx, sent)
		if store.OutcomeOf(err) == store.Stale {
			c.metrics.conflicts.Inc()
		}
	} else {
		c.took.Store(int64(c.now().Sub(sent)))
	}
	return answer{record, err}
}

// doubt suspects the connections if ctx, a single request's, has timed out.
func (c *Client) doubt(ctx context.Context, sent time.Time) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		c.conns.suspect(sent)
	}
}
