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
	"sync"

	"k8s.io/utils/lru"

	"github.com/kubelock/kubelock/internal/session"
)

const (
	// A client remembers at most so many locks that it has no part in, and so many bytes of their
	// states: what its last release left, to acquire them again with one request, and since when it has
	// seen them as they are. What others keep in such objects is not counted.
	maxRemembered      = 4096
	maxRememberedBytes = 16 << 20
)

// drivers has a driver for each lock that the client has a part in, or remembers.
type drivers struct {
	client *Client

	mu     sync.Mutex // protects the fields below
	byKey  map[string]*driver
	idle   *lru.Cache // *driver by key: those that may be forgotten
	bytes  int        // of the states that those remember
	closed bool
}

func newDrivers(c *Client) *drivers {
	e := &drivers{client: c, byKey: map[string]*driver{}}
	e.idle = lru.NewWithEvictionFunc(maxRemembered, func(_ lru.Key, v any) {
		d := v.(*driver)
		e.bytes -= d.bytes
		if d.users == 0 { // It was not taken out, but is too old.
			delete(e.byKey, d.key.name)
		}
	})
	return e
}

func (e *drivers) enterLocked(d *driver) {
	d.users++
	e.idle.Remove(d.key.name)
}

// enter returns false if d was forgotten.
func (e *drivers) enter(d *driver) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.byKey[d.key.name] != d {
		return false
	}
	e.enterLocked(d)
	return true
}

// leave lets a driver be forgotten, if its session has no part in the lock.
func (e *drivers) leave(d *driver) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d.users--
	if d.users > 0 {
		return
	}
	quiet, bytes := d.quiet() // Only now: it stays so. Without users, its mutex is free.
	if !quiet {
		return
	}
	d.bytes = bytes
	e.idle.Add(d.key.name, d)
	for e.bytes += bytes; e.bytes > maxRememberedBytes; {
		e.idle.RemoveOldest()
	}
}

// Callers is how many callers of the client have or want the key.
func (c *Client) Callers(k Key) int {
	d := c.drivers.driver(k, false)
	if d == nil {
		return 0
	}
	defer c.drivers.leave(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.session.Callers()
}

// Remembered is how many locks the client has a part in or remembers, and how many bytes of states
// it remembers of those that it has no part in.
func (c *Client) Remembered() (locks, bytes int) {
	c.drivers.mu.Lock()
	defer c.drivers.mu.Unlock()
	return len(c.drivers.byKey), c.drivers.bytes
}

// all are the drivers that there are.
func (e *drivers) all() []*driver {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*driver, 0, len(e.byKey))
	for _, d := range e.byKey {
		all = append(all, d)
	}
	return all
}

// close tells all sessions that the client is being closed.
func (e *drivers) close() {
	e.mu.Lock()
	e.closed = true
	e.mu.Unlock()
	e.post(session.Close)
}

// post tells all sessions that something of that kind has happened.
func (e *drivers) post(kind session.EventKind) {
	for _, d := range e.all() {
		d.post(session.Event{Kind: kind})
	}
}

// ask tells the session of a key what a holder wants, and has done called when it is known what became of
// that. A holder that has lost its hold may have another session than it had. ask returns false if the
// client is closed, and has none.
func (e *drivers) ask(k Key, event session.Event, done func(*session.Result)) bool {
	d := e.driver(k, true)
	if d == nil {
		return false
	}
	defer e.leave(d)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ops[event.Op] = done
	d.postLocked(event)
	return true
}
