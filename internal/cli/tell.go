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

package cli

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/kubelock/kubelock/internal/cli/view"
	"github.com/kubelock/kubelock/internal/hooks"
	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

const (
	// tellInterval is how often it is looked at whether there is something to tell.
	tellInterval = 200 * time.Millisecond
	// lookInterval is how often a lock is read so that a person sees who holds it.
	lookInterval = 2 * time.Second
)

// telling tells on standard error what a command waits for: an API server that does not
// answer, once for each reason; on a terminal also who holds the lock, in one line that
// is drawn again and again.
type telling struct {
	*options
	key    string
	client string // in the queue; empty if the command does not queue
	status view.StatusLine
	said   map[string]bool

	mu    sync.Mutex // protects the fields below
	lock  protocol.Record
	now   func() time.Time // the API server's
	known bool
}

// tell begins to tell of what c does for a lock. After stop nothing is written any more, and
// the line is gone.
func (o *options) tell(ctx context.Context, key string, c *kubelock.Client) (stop func()) {
	if o.quiet {
		return func() {}
	}
	t := &telling{options: o, key: key, said: map[string]bool{}, client: hooks.ClientID(c)}
	if f, ok := o.ErrOut.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.status.Terminal = f
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	running.Go(func() { t.run(ctx) })
	if t.status.Terminal != nil {
		running.Go(func() { t.look(ctx) })
	}
	return func() {
		cancel()
		running.Wait()
	}
}

func (t *telling) run(ctx context.Context) {
	ticks := time.NewTicker(tellInterval)
	defer ticks.Stop()
	defer t.status.Clear()
	for {
		select {
		case <-ctx.Done():
			t.tellTrouble() // That it is over, too.
			return
		case <-ticks.C:
			t.tellTrouble()
			t.draw()
		}
	}
}

// tellTrouble says what is wrong with the API server, if that was not said before.
func (t *telling) tellTrouble() {
	trouble := t.server.trouble()
	switch {
	case trouble == "" && len(t.said) > 0:
		t.status.Clear()
		clear(t.said)
		fmt.Fprintf(t.ErrOut, "the API server %s answers again\n", t.server.name())
	case trouble != "" && !t.said[trouble]:
		t.status.Clear()
		t.said[trouble] = true
		fmt.Fprintf(t.ErrOut, "waiting for the API server %s: %s\n", t.server.name(), trouble)
	}
}

// look reads the lock from time to time.
func (t *telling) look(ctx context.Context) {
	l, err := t.options.lock(t.key)
	if err != nil {
		return // The command says so.
	}
	for wait := unwell; ; wait = lookInterval {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if r, err := l.read(ctx); err == nil {
			t.mu.Lock()
			t.lock, t.now, t.known = r, l.now, true
			t.mu.Unlock()
		}
	}
}

// draw draws the line of who holds the lock.
func (t *telling) draw() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known || len(t.said) > 0 {
		return
	}
	t.status.Draw(t.waiting(t.lock).Text(t.now()))
}

// waiting is who holds the lock, and the place in the queue.
func (t *telling) waiting(r protocol.Record) view.Waiting {
	w := view.Waiting{Key: t.key}
	if h := r.Holder; h != nil {
		w.Held, w.Holder, w.HeldSince = true, h.Identity, h.AcquireTime
	}
	for _, text := range r.Waiters {
		if waiter, ok := protocol.ParseWaiter(text); ok {
			w.Queued++
			if waiter.Client() == t.client {
				w.Place = w.Queued
			}
		}
	}
	return w
}

// closed closes a client, and waits for what that leaves well; but not long for an API server
// that does not answer.
func (o *options) closed(c *kubelock.Client) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Close()
	}()
	bound := time.NewTimer(unwell / 2)
	defer bound.Stop()
	for {
		select {
		case <-done:
			return
		case <-bound.C:
			if o.server.trouble() != "" {
				return // The goroutine ends with the program.
			}
			bound.Reset(tellInterval)
		}
	}
}
