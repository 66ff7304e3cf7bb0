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
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// between separates the parts that calls of Apply have added to a state.
const between = "+"

var errLeftOut = errors.New("this change is left out")

// apply adds a unique part to the state by Apply. One call in eight makes no change.
func (c *caller) apply(ctx context.Context, l *kubelock.Lock[string], key string) {
	ctx, cancel := c.patient(ctx)
	defer cancel()
	v, leftOut := c.value(), c.rand.IntN(8) == 0
	_, err := l.Apply(ctx, func(state string) (string, error) {
		if leftOut {
			return state + between + v, errLeftOut
		}
		return state + between + v, nil
	})
	c.wrote(key, v, err, c.name+": Apply")
	switch {
	case c.node.isDead() || ctx.Err() != nil:
	case leftOut && !isOneOf(err, errLeftOut, kubelock.ErrClosed, kubelock.ErrUnknownOutcome):
		c.violatedf("%s: Apply whose change is left out: %v", c.name, err)
	case !leftOut && err != nil && !isOneOf(err, kubelock.ErrUnknownOutcome, kubelock.ErrLost, kubelock.ErrValueTooLarge):
		c.unexpected("Apply", err)
	}
}

func isOneOf(err error, known ...error) bool {
	return slices.ContainsFunc(known, func(k error) bool { return errors.Is(err, k) })
}

// applies reports whether a write begins and ends a hold of its writer, on a free lock without waiters.
func (w *world) applies(old, now protocol.Record) bool {
	before := int64(0)
	if old.UID == now.UID {
		before = old.Transitions
	}
	return (old.Holder == nil || old.UID != now.UID) && now.Holder == nil && (len(old.Waiters) == 0 || old.UID != now.UID) && !old.Terminating &&
		now.LastRelease != nil && now.LastRelease.Identity == w.writer.name && now.LastRelease.Reason == protocol.Released &&
		now.Transitions == before+1
}

// checkApplied checks invariant 6 for a hold that begins and ends in one write.
func (w *world) checkApplied(h *history, now protocol.Record, version int64) {
	token := now.LastRelease.Token
	if token == 0 {
		token = version
	}
	if token <= h.lastToken {
		w.violatedLockedf("invariant 6: token %d of an applied change at version %d after %d", token, version, h.lastToken)
	}
	h.lastToken = token
}

// added returns what a write has put into the state: the parts that calls of Apply have added to it, or
// the whole state.
func added(old, now protocol.Record) []string {
	is := strings.Trim(*now.Value, `"`)
	if old.Exists() && old.UID == now.UID && old.Value != nil {
		is = strings.TrimPrefix(is, strings.Trim(*old.Value, `"`)+between)
	}
	return strings.Split(strings.TrimPrefix(is, between), between)
}
