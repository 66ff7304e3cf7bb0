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
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// write is a state that a client tried to write.
type write struct{ key, value, why string }

// checkWaiters checks a part of invariant 8: a client that joins or leaves a queue, or renews a hold,
// does not remove or reorder the entries of other clients. It may remove entries that cannot be read.
func (w *world) checkWaiters(old, now protocol.Record) {
	if w.writer == nil || !now.Exists() {
		return
	}
	others := func(texts []string) []string {
		return slices.DeleteFunc(slices.Clone(texts), func(text string) bool {
			waiter, ok := protocol.ParseWaiter(text)
			return !ok || waiter.Identity == w.writer.name
		})
	}
	if was, is := others(old.Waiters), others(now.Waiters); !slices.Equal(was, is) {
		w.violatedLockedf("invariant 8: of the others in the queue %q is left %q", was, is)
	}
}

// checkQueue checks another part of invariant 8: a client that grants the lock to a waiter keeps the
// waiters behind that one, and removes no entry of another client. In a queue of annotations, a waiter
// may have joined in front of the granted one after the writer had read the queue.
func (w *world) checkQueue(old, now protocol.Record) {
	if w.writer == nil || !now.Exists() || now.Holder == nil {
		return
	}
	numbered := w.kind != store.DistributedLocks
	granted := old.Place(func(lockID string) bool { return lockID == now.Holder.LockID })
	if granted == len(old.Waiters) || now.Holder.Identity == w.writer.name || old.HeldBy(now.Holder.LockID, now.Holder.Token) {
		return
	}
	stay := slices.DeleteFunc(slices.Clone(old.Waiters[:granted]), func(text string) bool {
		waiter, ok := protocol.ParseWaiter(text)
		return !ok || old.Holder == nil || waiter.Client() == old.Holder.Client
	})
	if !numbered && len(stay) > 0 {
		w.violatedLockedf("invariant 8: %q were passed over", stay)
	}
	stay = append(stay, old.Waiters[granted+1:]...)
	left := now.Waiters
	if numbered { // Old and new entries of the client that had the lock may be among them.
		done := func(text string) bool { // The network may have delivered a join twice; the writer may have read either entry.
			waiter, ok := protocol.ParseWaiter(text)
			return ok && (waiter.LockID == now.Holder.LockID || old.Holder != nil && waiter.Client() == old.Holder.Client)
		}
		stay, left = slices.DeleteFunc(stay, done), slices.DeleteFunc(slices.Clone(left), done)
		left = common(stay, left)
	}
	if len(left) < len(stay) || !slices.Equal(stay, left[:len(stay)]) {
		w.violatedLockedf("invariant 8: of the queue %q is left %q", old.Waiters, now.Waiters)
	}
}

// common returns the longest beginning of one whose entries are in other, in the same order.
func common(one, other []string) (both []string) {
	for _, text := range other {
		if len(both) < len(one) && one[len(both)] == text {
			both = append(both, text)
		}
	}
	return both
}

// recorded returns the largest token that a lock records: see protocol.NextToken.
func recorded(r protocol.Record) (token int64) {
	if r.Holder != nil {
		token = r.Holder.Token
	}
	if r.LastRelease != nil {
		token = max(token, r.LastRelease.Token)
	}
	return token
}

func tokenOf(r protocol.Record) int64 { return r.Holder.Token }

// checkToken checks invariant 6.
func (w *world) checkToken(h *history, now protocol.Record, recorded, version int64) {
	if w.writer == nil {
		h.lastToken = now.Holder.Token // A manual edit may write any token.
		return
	}
	token := now.Holder.Token
	if token == 0 {
		token = version
	}
	if most := max(version, recorded+1, h.before+1); token <= h.lastToken || token > most {
		w.violatedLockedf("invariant 6: token %d at version %d after %d", token, version, h.lastToken)
	}
	h.lastToken = token
	h.holds++
}

// checkEnd checks invariants 1, 4, 5 and 10: no client and no reaper ends a hold that its owner still
// believes in.
func (w *world) checkEnd(h *history, old protocol.Record) {
	if w.writer == nil {
		h.forced[old.Holder.LockID] = true
	}
	for _, b := range w.beliefs {
		if b.held.ID() != old.Holder.LockID || !w.believes(b) {
			continue
		}
		w.violatedLockedf("invariant 5: %s ends the hold %s of %s, which lasts for %v more", w.writerName(), b.held.ID(), b.owner.name, w.left(b))
	}
}

// checkValue checks invariant 2.
func (w *world) checkValue(h *history, old, now protocol.Record, version int64) {
	if !now.Exists() {
		return
	}
	same := old.Exists() && (old.Value == nil) == (now.Value == nil) && (old.Value == nil || *old.Value == *now.Value)
	if same || !old.Exists() && now.Value == nil || w.writer == nil {
		return
	}
	if now.Value != nil {
		for _, part := range added(old, now) {
			part = fmt.Sprintf("%q", part)
			if _, again := h.values[part]; again && !h.wiped[part] {
				w.violatedLockedf("invariant 2: %s writes %s again, by the state %s over %s", w.writerName(), part, *now.Value, textOf(old.Value))
			}
			h.values[part] = w.writer.name
		}
	}
	if w.applies(old, now) {
		w.checkApplied(h, now, version)
		return
	}
	if old.Holder == nil || old.Holder.Identity != w.writer.name {
		w.violatedLockedf("invariant 2: %s writes the state while %+v holds the lock", w.writerName(), old.Holder)
	}
}

// lastRelease matches the lock ID and the token of the last release in the body of a request.
var lastRelease = regexp.MustCompile(`(?s)last-?[rR]elease.{0,24}?\{"lockID":"([^"]+)","identity":"[^"]*","token":([0-9]+)`)

// checkRequest checks invariant 10: a client sends a release only after the hold's context has ended.
// It compares tokens, too, because a late copy of a request may belong to an earlier hold with the same
// lock ID. A request that was sent before the client had the lock is no release of that hold: it may be a change by
// Apply, which would have begun and ended a hold of that token, if its version had not changed.
func (w *world) checkRequest(n *node, req *http.Request, body []byte, sent time.Time) {
	if req.Method != http.MethodPut && req.Method != http.MethodPatch {
		return
	}
	ended := lastRelease.FindSubmatch(bytes.ReplaceAll(body, []byte(`\"`), []byte(`"`))) // Annotations have JSON within a JSON string.
	if ended == nil {
		return
	}
	ends := func(b *belief) bool {
		return b.held.ID() == string(ended[1]) && strconv.FormatInt(b.held.Token(), 10) == string(ended[2])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.beliefs {
		if b.owner == n && ends(b) && !b.begun.After(sent) && b.held.Context().Err() == nil && !n.isDead() {
			w.violatedLockedf("invariant 10: the release of %s was sent before its context was over", b.held.ID())
		}
	}
}

// wrote checks the result of an operation: without an error its value must have been stored, and with an
// error, unless the outcome is unknown, the value must never be stored.
func (w *world) wrote(key, value string, err error, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sayLockedf("%s of %s: %s", what, value, outcome(err))
	stored := fmt.Sprintf("%q", value)
	done := w.hasStored(key, stored)
	switch {
	case err == nil && !done && (w.locks[key] == nil || !w.locks[key].undone[stored]):
		w.violatedLockedf("invariant 7: %s of %s says that it was done", what, value)
	case err == nil, errors.Is(err, kubelock.ErrUnknownOutcome), errors.Is(err, kubelock.ErrClosed):
	default:
		w.forbidden = append(w.forbidden, write{key, stored, fmt.Sprintf("%s: %v", what, err)})
	}
}

// hasStored reports whether a state was stored in a lock at any time.
func (w *world) hasStored(key, value string) bool {
	h := w.locks[key]
	if h == nil {
		return false
	}
	_, done := h.values[value]
	return done
}

// outcome returns the text of the sentinel error that err is. The text of err itself may name one of
// several causes by chance, and transcripts must be reproducible.
func outcome(err error) string {
	for _, known := range []error{kubelock.ErrUnknownOutcome, kubelock.ErrLost, kubelock.ErrNotAcquired, kubelock.ErrClosed} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprint(err)
}

// finish checks at the end of the simulation that no forbidden write was stored.
func (w *world) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, f := range w.forbidden {
		if w.hasStored(f.key, f.value) {
			w.violatedLockedf("invariant 7: %s was written, but %s", f.value, f.why)
		}
	}
}
