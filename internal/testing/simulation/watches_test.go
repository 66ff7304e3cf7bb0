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

package simulation

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"time"
)

// laggingWatch is a watch whose events are delayed, until the watch is cut.
type laggingWatch struct {
	node   *node
	body   io.ReadCloser
	cancel func() bool

	mu     sync.Mutex // protects the fields below
	frames []byte
	err    error
	signal chan struct{}
}

// lag returns the body of a watch with delayed events. It cuts the watch at a random time.
func (n *node) lag(ctx context.Context, body io.ReadCloser, f fate) io.ReadCloser {
	watch := &laggingWatch{node: n, body: body, signal: make(chan struct{}, 1)}
	watch.cancel = context.AfterFunc(ctx, func() { watch.end(context.Cause(ctx)) })
	n.mu.Lock()
	n.watches = append(n.watches, watch)
	n.mu.Unlock()
	cut := time.AfterFunc(f.cut, func() { watch.end(io.EOF) })
	n.inFlight.Go(func() {
		defer cut.Stop()
		watch.pump(f)
	})
	return watch
}

// pump passes the events on in order.
func (l *laggingWatch) pump(f fate) {
	var buffer []byte
	chunk := make([]byte, 16<<10)
	for {
		size, err := l.body.Read(chunk)
		buffer = append(buffer, chunk[:size]...)
		for {
			frame, after, ok := bytes.Cut(buffer, []byte("\n"))
			if !ok {
				break
			}
			buffer = after
			d := delay(f.rand)
			if f.rand.Float64() < 0.05*l.node.world.level() {
				d += f.stallsEvents + span(f.rand, 100*time.Millisecond, 3*time.Second)
			}
			l.node.wait(d)
			l.put(append(bytes.Clone(frame), '\n'))
		}
		if err != nil {
			if !l.ended() {
				pass(delay(f.rand)) // Watches that are cut at the same time do not end at the same instant.
			}
			l.end(err)
			return
		}
	}
}

// Read implements io.Reader.
func (l *laggingWatch) Read(p []byte) (int, error) {
	for {
		l.mu.Lock()
		n, err := copy(p, l.frames), l.err
		l.frames = l.frames[n:]
		if n > 0 && len(l.frames) > 0 || n > 0 && err != nil {
			l.wake()
		}
		l.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case err != nil:
			return 0, err
		}
		<-l.signal
	}
}

// Close implements io.Closer.
func (l *laggingWatch) Close() error {
	l.cancel()
	l.end(errors.New("closed"))
	l.node.mu.Lock()
	l.node.watches = slices.DeleteFunc(l.node.watches, func(other *laggingWatch) bool { return other == l })
	l.node.mu.Unlock()
	return nil
}
