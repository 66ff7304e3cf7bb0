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
	"context"
	"fmt"
)

// A call that waits for the end of a hold, made by the holder itself, waits without end. A context
// tells who calls: that of a hold, and that which Do gives to its function, carry the hold, and
// so does every context that is derived from them.

// underKey is the key of an *under among a context's values.
type underKey struct{}

// under is the holds that the bearer of a context runs under, the innermost first.
type under struct {
	hold  *Hold
	outer *under
}

// WithHold returns a context that carries h beside the holds that ctx carries.
func WithHold(ctx context.Context, h *Hold) context.Context {
	u := &h.alone
	if outer, ok := ctx.Value(underKey{}).(*under); ok {
		u = &under{hold: h, outer: outer}
	}
	return context.WithValue(ctx, underKey{}, u)
}

// checkNested returns an error if ctx carries a live hold of the lock by this client. One that has
// ended does not count: no call waits for it any more. Nor does one of another client, whose
// lock of this name may be another.
func (c *Client) checkNested(ctx context.Context, k Key) error {
	u, _ := ctx.Value(underKey{}).(*under)
	for ; u != nil; u = u.outer {
		if h := u.hold; h.client == c && h.key.name == k.name && h.remaining() > 0 {
			return fmt.Errorf("%w: %q: the call's context belongs to a hold of this lock (lock ID %s), so the call would wait for its own caller: "+
				"use the hold that there is (in Do, the state that its function gets and returns), call after its end, or "+
				"let other work call with a context of its own", ErrDeadlock, k.name, h.lockID)
		}
	}
	return nil
}
