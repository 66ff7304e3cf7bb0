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
	"sync"
	"time"

	"k8s.io/utils/lru"

	"github.com/kubelock/kubelock/internal/protocol"
)

const (
	// Of at most so many locks, and so many bytes of their states, a client remembers
	// what its last release left, to acquire them again with one request. What others keep
	// in such objects is not counted.
	maxRemembered      = 1024
	maxRememberedBytes = 16 << 20
	// For so long a client relies on having handed a lock to another client: the queue that
	// it joins then is soon another, and its place would be that of an earlier time.
	heldRemembered = 100 * time.Millisecond
	// Of at most so many locks a client remembers since when it has seen them as they are.
	maxSeen = 4096
)

// sights are since when a client has seen locks as they are, whichever of its calls has seen them:
// it outlives the calls that look, so that one who looks each minute for a moment judges as
// well as one who waits. It is safe for concurrent use.
type sights struct {
	mu   sync.Mutex // protects seen
	seen *lru.Cache // protocol.Observation, by key
}

func newSights() *sights { return &sights{seen: lru.New(maxSeen)} }

// see takes in a version of a lock that others have or wait for, and returns since when it
// has been seen like that, by the caller, who knows before, or by others. An old version that
// is seen late makes that later, and never earlier than it was so.
func (s *sights) see(name string, before protocol.Observation, r protocol.Record, now time.Time) protocol.Observation {
	s.mu.Lock()
	defer s.mu.Unlock()
	own := before.Observe(r, now)
	if r.Holder == nil && len(r.Waiters) == 0 { // No client will judge by it.
		s.seen.Remove(name)
		return own
	}
	if v, ok := s.seen.Get(name); ok {
		if others := v.(protocol.Observation).Observe(r, now); others.Since.Before(own.Since) {
			own = others
		}
	}
	s.seen.Add(name, own)
	return own
}

// memory has the records that releases left, the last ones. It is safe for concurrent use.
type memory struct {
	mu      sync.Mutex // protects the fields below
	records *lru.Cache // remembered by key
	bytes   int        // of all states
}

// remembered is the record that a release left, and when that was.
type remembered struct {
	record protocol.Record
	at     time.Time
}

func (m remembered) bytes() int {
	if m.record.Value == nil {
		return 0
	}
	return len(*m.record.Value)
}

func newMemory() *memory {
	m := &memory{}
	m.records = lru.NewWithEvictionFunc(maxRemembered, func(_ lru.Key, v any) { m.bytes -= v.(remembered).bytes() })
	return m
}

// put keeps the record that a release left at that time.
func (m *memory) put(name string, r protocol.Record, at time.Time) {
	entry := remembered{r, at}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records.Remove(name)
	m.records.Add(name, entry)
	for m.bytes += entry.bytes(); m.bytes > maxRememberedBytes; {
		m.records.RemoveOldest()
	}
}

// take returns what is kept, once.
func (m *memory) take(name string) (remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.records.Get(name)
	if !ok {
		return remembered{}, false
	}
	m.records.Remove(name)
	return v.(remembered), true
}

// remember keeps the record that a release left, whichever client has the lock by it.
func (c *Client) remember(k key, r protocol.Record) { c.known.put(k.name, r, c.now()) }

// recall returns the record that the last release left, once, if it is of use.
func (c *Client) recall(k key) (protocol.Record, bool) {
	last, ok := c.known.take(k.name)
	return last.record, ok && (last.record.Holder == nil || c.now().Sub(last.at) < heldRemembered)
}
