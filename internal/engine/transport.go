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

package engine

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"

	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/internal/version"
)

// fieldManager is the name under which the object's managed fields list what the
// library writes.
const fieldManager = "kubelock"

// connections is a client's own set of connections to the API server. They are
// not shared with the program's other traffic, so that renewals do not queue
// behind it, and so that dead ones can be closed without harm to other users.
type connections struct {
	config  *rest.Config
	http    *http.Client
	dialer  *connrotation.Dialer
	answers *lastAnswer
}

// lastAnswer is when the last response came.
//
// NB: the wrapper of the transport refers to it, and not to connections: client-go's goroutine
// that watches the files of a client certificate refers to the wrapper, and ends when the transport is
// garbage.
type lastAnswer struct {
	access *access
	now    func() time.Time
	start  time.Time
	after  atomic.Int64 // start, in nanoseconds
}

// before reports whether the last response came before t.
func (a *lastAnswer) before(t time.Time) bool {
	return a.start.Add(time.Duration(a.after.Load())).Before(t)
}

// newConnections derives the client's way to the API server from the program's
// configuration. Of that it keeps who it is and how the server is reached; rate
// limits and timeouts are its own.
func newConnections(config *rest.Config, server *servertime.Clock, access *access, now func() time.Time, log logr.Logger) (*connections, error) {
	answers := &lastAnswer{access: access, now: now, start: now()}
	c := &connections{config: rest.CopyConfig(config), answers: answers}
	c.config.UserAgent = userAgent()
	// No limit on the client's side: it would delay renewals behind other requests
	// until leases are lost. The protocol bounds the requests, and the API server has
	// priority and fairness.
	c.config.QPS, c.config.RateLimiter = -1, nil
	// Each request has its own deadline. One for all would also cut watches.
	c.config.Timeout = 0
	c.config.WarningHandlerWithContext, c.config.WarningHandler = newWarnings(c.config, log), nil

	dial := c.config.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	c.dialer = connrotation.NewDialer(dial)
	c.config.Dial = c.dialer.DialContext
	c.config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return server.Transport(&answerWatcher{next: next, answers: answers}, now)
	})

	if err := authenticateByFile(c.config); err != nil {
		return nil, err
	}
	var err error
	if c.http, err = rest.HTTPClientFor(c.config); err != nil {
		return nil, fmt.Errorf("kubelock: the API server's configuration: %w", err)
	}
	return c, nil
}

// suspect takes in that a request sent at sent was not answered in time. If nothing
// at all was answered since, the connection is taken for dead and replaced: the
// network may swallow what is sent on it for many minutes before an error says so.
func (c *connections) suspect(sent time.Time) {
	if c.answers.before(sent) {
		c.dialer.CloseAll()
	}
}

func (c *connections) close() {
	c.dialer.CloseAll()
	utilnet.CloseIdleConnectionsFor(c.http.Transport)
}

type answerWatcher struct {
	next    http.RoundTripper
	answers *lastAnswer
}

// RoundTrip implements http.RoundTripper.
func (w *answerWatcher) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(req)
	if err == nil {
		at := w.answers.now()
		w.answers.after.Store(int64(at.Sub(w.answers.start)))
		w.answers.access.answered(req, resp.StatusCode, at)
	}
	return resp, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (w *answerWatcher) WrappedRoundTripper() http.RoundTripper { return w.next }

// userAgent names the library and the program in the API server's audit log. Its beginning
// is also the field manager that the API server notes: to name that with each write would
// cost the client a seventh of what a write allocates.
func userAgent() string {
	return fmt.Sprintf(fieldManager+"/%s (%s/%s) %s", version.Version, runtime.GOOS, runtime.GOARCH, filepath.Base(os.Args[0]))
}
