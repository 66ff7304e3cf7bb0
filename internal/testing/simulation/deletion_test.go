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
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
)

// Deletions that finalizers delay, as foreground deletions are.

// deletions reports whether the seed has such deletions.
func (w *world) deletions() bool {
	return w.harsh > 0 && rand.New(rand.NewPCG(w.seed, 1<<24)).IntN(4) == 0
}

// deleteSlowly deletes locks with a finalizer by hand, and removes the finalizer some time later.
func (w *world) deleteSlowly(p plan, stop <-chan struct{}) {
	r := rand.New(rand.NewPCG(w.seed, 1<<24+1))
	for {
		select {
		case <-stop:
			return
		case <-time.After(span(r, 500*time.Millisecond, 30*time.Second)):
		}
		if time.Now().After(w.calm) {
			return
		}
		key := p.keys[r.IntN(len(p.keys))]
		w.sayf("finalizer set by hand: %s", key)
		w.byHand(http.MethodPatch, key, `{"metadata":{"finalizers":["example.com/keeps"]}}`)
		if r.IntN(4) > 0 { // Otherwise only a client deletes it, if one does.
			pass(span(r, 0, time.Second))
			w.sayf("deleted by hand, kept by its finalizer: %s", key)
			w.byHand(http.MethodDelete, key, "")
		}
		pass(span(r, 100*time.Millisecond, 20*time.Second))
		w.sayf("finalizer removed by hand: %s", key)
		w.byHand(http.MethodPatch, key, `{"metadata":{"finalizers":null}}`)
	}
}

// checkTerminating checks invariant 11: in an object that is being deleted, holds only end. It needs
// w.mu.
func (w *world) checkTerminating(old, now protocol.Record, began bool) {
	if w.writer == nil || !old.Terminating || now.UID != old.UID {
		return
	}
	name := w.writer.name
	switch {
	case began:
		w.violatedLockedf("invariant 11: %s begins a hold in an object that is being deleted", name)
	case textOf(old.Value) != textOf(now.Value):
		w.violatedLockedf("invariant 11: %s writes state into an object that is being deleted", name)
	case slices.ContainsFunc(now.Waiters, func(text string) bool { return !slices.Contains(old.Waiters, text) }):
		w.violatedLockedf("invariant 11: %s queues in an object that is being deleted", name)
	}
}

// stored returns the newest version of the lock.
func (w *world) stored(key string) protocol.Record {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h := w.locks[key]; h != nil {
		return h.record
	}
	return protocol.Record{}
}

// deleted checks that a deletion which was reported as done has not left the state in an object that
// finalizers keep. before is the lock before the deletion.
func (w *world) deleted(name, key string, before protocol.Record) {
	now := w.stored(key)
	if now.Terminating && now.UID == before.UID && before.Value != nil && textOf(now.Value) == *before.Value {
		w.violatedf("invariant 11: %s has deleted %s, whose object and state finalizers keep", name, key)
	}
}
