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

package store

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// AlteredError says that a write was committed, and that the object does not show what was
// written: something between the client and the store has changed it.
type AlteredError struct {
	Field     string // of the lock
	Want, Got string // what was written, and what is there
}

func (e *AlteredError) Error() string {
	const most = 200 // Of a state.
	return fmt.Sprintf("the API server has stored something else than was written: %s is %.*q, not %.*q; "+
		"look for an admission webhook or policy that changes it", e.Field, most, e.Got, most, e.Want)
}

// comparison looks for a field in which what is stored is not what was written.
type comparison struct{ err *AlteredError }

func (c *comparison) text(field, want, got string) {
	if c.err == nil && want != got {
		c.err = &AlteredError{field, want, got}
	}
}

func (c *comparison) time(field string, want, got time.Time) {
	if !want.Equal(got) {
		c.text(field, want.Format(time.RFC3339Nano), got.Format(time.RFC3339Nano))
	}
}

func (c *comparison) holder(want, got *protocol.Holder) {
	name := func(h *protocol.Holder) string {
		if h == nil {
			return "nobody"
		}
		return h.LockID
	}
	c.text("the holder's lock ID", name(want), name(got))
	if want == nil || got == nil {
		return
	}
	c.text("the holder's identity", want.Identity, got.Identity)
	c.text("the holder's client", want.Client, got.Client)
	c.text("the holder's token", strconv.FormatInt(want.Token, 10), strconv.FormatInt(got.Token, 10))
	c.text("the holder's duration", want.Duration.String(), got.Duration.String())
	c.time("the holder's renewal time", want.RenewTime, got.RenewTime)
}

func (c *comparison) lastRelease(want, got *protocol.LastRelease) {
	if want == nil {
		return
	}
	if got == nil {
		got = &protocol.LastRelease{}
	}
	c.text("the last release's lock ID", want.LockID, got.LockID)
	c.text("the last release's reason", string(want.Reason), string(got.Reason))
	c.time("the last release's time", want.Time, got.Time)
}

func (c *comparison) value(want, got *string) {
	text := func(value *string) string {
		if value == nil {
			return "nothing"
		}
		return *value
	}
	c.text("the state", text(want), text(got))
}

func (c *comparison) waiters(want, got []string) {
	for _, entry := range want {
		if !slices.Contains(got, entry) {
			c.text("the queue", entry, "")
		}
	}
}

// result is the error to return.
func (c *comparison) result() error {
	if c.err == nil {
		return nil
	}
	return c.err
}

// altered compares what a write of the whole lock has left with what was written. Compared is
// what decides who holds the lock and what its state is, and by which its writer knows it again.
func altered(written, got protocol.Record) error {
	var c comparison
	c.holder(written.Holder, got.Holder)
	c.value(written.Value, got.Value)
	c.lastRelease(written.LastRelease, got.LastRelease)
	c.waiters(written.Waiters, got.Waiters)
	return c.result()
}

// alteredFrom is altered for a write that changes only what makes to of from. The rest may
// have been changed by others before.
func alteredFrom(from, to, got protocol.Record) error {
	var c comparison
	c.holder(to.Holder, got.Holder)
	if (from.Value == nil) != (to.Value == nil) || from.Value != nil && *from.Value != *to.Value {
		c.value(to.Value, got.Value)
	}
	if from.LastRelease != to.LastRelease {
		c.lastRelease(to.LastRelease, got.LastRelease)
	}
	_, come := queueChange(from.Waiters, to.Waiters)
	c.waiters(come, got.Waiters)
	return c.result()
}

// enqueued is altered for an entry that joins a queue.
func enqueued(entry string, got protocol.Record) error {
	var c comparison
	c.waiters([]string{entry}, got.Waiters)
	return c.result()
}
