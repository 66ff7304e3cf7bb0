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

package subjects

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"k8s.io/client-go/rest"
)

// Meter counts the requests of a client and the events that it gets.
type Meter struct {
	reads, writes, watches, conflicts, events, watchBytes atomic.Int64
}

// Counts has the values of a Meter at one moment.
type Counts struct {
	Reads, Writes, Watches, Conflicts, Events, WatchBytes int64
}

// Requests returns the number of requests, including those that open a watch.
func (c Counts) Requests() int64 { return c.Reads + c.Writes + c.Watches }

// Counts returns the counts so far.
func (m *Meter) Counts() Counts {
	return Counts{
		m.reads.Load(), m.writes.Load(), m.watches.Load(),
		m.conflicts.Load(), m.events.Load(), m.watchBytes.Load(),
	}
}

// Minus returns the difference of the counts.
func (c Counts) Minus(before Counts) Counts {
	return Counts{
		c.Reads - before.Reads, c.Writes - before.Writes, c.Watches - before.Watches,
		c.Conflicts - before.Conflicts, c.Events - before.Events, c.WatchBytes - before.WatchBytes,
	}
}

// Plus returns the sum of the counts.
func (c Counts) Plus(other Counts) Counts { return c.Minus(Counts{}.Minus(other)) }

// counted returns a copy of config whose requests the meter counts.
func (m *Meter) counted(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &counter{next, m} })
	return config
}

type counter struct {
	next  http.RoundTripper
	meter *Meter
}

// RoundTrip implements http.RoundTripper.
func (c *counter) RoundTrip(req *http.Request) (*http.Response, error) {
	m, watch := c.meter, req.URL.Query().Get("watch") != ""
	resp, err := c.next.RoundTrip(req)
	switch { // Count after the answer: then the request has been executed.
	case watch:
		m.watches.Add(1)
	case req.Method == http.MethodGet:
		m.reads.Add(1)
	default:
		m.writes.Add(1)
	}
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusConflict || resp.StatusCode == http.StatusUnprocessableEntity {
		m.conflicts.Add(1)
	}
	if watch {
		json := strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json")
		resp.Body = &events{ReadCloser: resp.Body, meter: m, lines: json}
	}
	return resp, nil
}

// WrappedRoundTripper lets client-go find the transport below.
func (c *counter) WrappedRoundTripper() http.RoundTripper { return c.next }

// events counts the events of a watch. Each event is a line in JSON, and a frame in protobuf.
type events struct {
	io.ReadCloser

	meter *Meter
	lines bool
	frame frame
}

// Read implements io.Reader.
func (e *events) Read(p []byte) (int, error) {
	n, err := e.ReadCloser.Read(p)
	e.meter.watchBytes.Add(int64(n))
	if e.lines {
		e.meter.events.Add(int64(bytes.Count(p[:n], []byte("\n"))))
	} else {
		e.meter.events.Add(e.frame.count(p[:n]))
	}
	return n, err
}

// frame records how much of a frame has been read. A frame is four bytes with a length, followed by
// that many bytes.
type frame struct {
	header []byte
	rest   uint32
}

// count returns how many frames begin in p, the next bytes of the stream.
func (f *frame) count(p []byte) (begun int64) {
	for len(p) > 0 {
		if f.rest > 0 {
			n := min(uint32(len(p)), f.rest) //nolint:gosec // A read is far below 4 GiB.
			f.rest, p = f.rest-n, p[n:]
			continue
		}
		n := min(len(p), 4-len(f.header))
		f.header, p = append(f.header, p[:n]...), p[n:]
		if len(f.header) == 4 {
			f.rest, f.header = binary.BigEndian.Uint32(f.header), f.header[:0]
			begun++
		}
	}
	return begun
}
