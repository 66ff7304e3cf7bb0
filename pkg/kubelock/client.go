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
	"errors"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/engine"
	"github.com/kubelock/kubelock/internal/hooks"
)

// Client locks keys in one namespace. Create one for a process with NewClient. It
// is safe for concurrent use.
//
// A Client has its own connections to the API server. It has no goroutine and no
// watch while no caller waits for a lock and no hold is renewed in the background, apart from a
// read some seconds after it has handed a lock over.
type Client struct {
	engine   *engine.Client
	duration time.Duration // of a hold, if not said otherwise
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
	hooks.ClientID = func(client any) string { return client.(*Client).engine.ID() }
}

func newClient(config *rest.Config, cfg Config, now func() time.Time) (*Client, error) {
	if config == nil {
		return nil, errors.New("kubelock: no configuration for the API server: pass what rest.InClusterConfig or clientcmd returns")
	}
	s, duration, err := cfg.settings()
	if err != nil {
		return nil, err
	}
	e, err := engine.New(config, s, now)
	if err != nil {
		return nil, err
	}
	return &Client{engine: e, duration: duration}, nil
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
	c.engine.Close()
	return nil
}

// made reports whether c is what NewClient returned without an error.
func (c *Client) made() bool { return c != nil && c.engine != nil }
