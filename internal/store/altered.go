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
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// AlteredError says that a write was committed, and that the object does not show what was
// written: something between the client and the store has changed it.
type AlteredError struct {
	Field     string // of the lock
	Want, Got string // what was written, and what is there
	// Missing is the path of the field where the object does not have it, and the reason may be
	// that its CustomResourceDefinition does not; otherwise it is empty.
	Missing string
}

func (e *AlteredError) Error() string {
	const most = 200 // Of a state.
	text := fmt.Sprintf("the API server has stored something else than was written: %s is %.*q, not %.*q; ", e.Field, most, e.Got, most, e.Want)
	if e.Missing != "" {
		text += fmt.Sprintf("if the CustomResourceDefinition of distributedlocks is older than this program and has no %s, upgrade it, otherwise ", e.Missing)
	}
	return text + "look for an admission webhook or policy that changes it"
}

// comparison looks for a field in which what is stored is not what was written.
type comparison struct{ err *AlteredError }

// text compares a field; without is what it is where there is none at path.
func (c *comparison) text(field, path, want, got, without string) {
	if c.err != nil || want == got {
		return
	}
	c.err = &AlteredError{Field: field, Want: want, Got: got}
	if got == without {
		c.err.Missing = path
	}
}

func (c *comparison) time(field, path string, want, got time.Time) {
	if !want.Equal(got) {
		c.text(field, path, want.Format(time.RFC3339Nano), got.Format(time.RFC3339Nano), time.Time{}.Format(time.RFC3339Nano))
	}
}

func (c *comparison) holder(want, got *protocol.Holder) {
	name := func(h *protocol.Holder) string {
		if h == nil {
			return "nobody"
		}
		return h.LockID
	}
	c.text("the holder's lock ID", "spec.holder", name(want), name(got), name(nil))
	if want == nil || got == nil {
		return
	}
	c.text("the holder's identity", "spec.holder.identity", want.Identity, got.Identity, "")
	c.text("the holder's client", "spec.holder.client", want.Client, got.Client, "")
	c.text("the holder's token", "spec.holder.token", strconv.FormatInt(want.Token, 10), strconv.FormatInt(got.Token, 10), "0")
	c.text("the holder's duration", "spec.holder.duration", want.Duration.String(), got.Duration.String(), "0s")
	c.time("the holder's renewal time", "spec.holder.renewTime", want.RenewTime, got.RenewTime)
}

func (c *comparison) lastRelease(want, got *protocol.LastRelease) {
	if want == nil {
		return
	}
	if got == nil {
		c.text("the last release's lock ID", "spec.lastRelease", want.LockID, "", "")
		return
	}
	c.text("the last release's lock ID", "spec.lastRelease.lockID", want.LockID, got.LockID, "")
	c.text("the last release's reason", "spec.lastRelease.reason", string(want.Reason), string(got.Reason), "")
	c.time("the last release's time", "spec.lastRelease.time", want.Time, got.Time)
}

func (c *comparison) value(want, got *string) {
	text := func(value *string) string {
		if value == nil {
			return "nothing"
		}
		return *value
	}
	c.text("the state", "spec.value", text(want), text(got), text(nil))
}

func (c *comparison) waiters(want, got []string) {
	for _, entry := range want {
		if !slices.Contains(got, entry) {
			c.text("the queue", "spec.waiters", entry, strings.Join(got, ", "), "")
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
	c.text("the key", "spec.key", cmp.Or(written.Key, written.Name), got.Key, written.Name)
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
