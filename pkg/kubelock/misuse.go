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
	"context"
	"errors"
	"fmt"
)

// A call that waits for the end of a hold, made by the holder itself, waits without end. A context
// tells who calls: that of a hold, and that which Do gives to its function, carry the hold, and
// so does every context that is derived from them.

// underKey is the key of an *under among a context's values.
type underKey struct{}

// under is the holds that the bearer of a context runs under, the innermost first.
type under struct {
	hold  *hold
	outer *under
}

// withHold returns a context that carries h beside the holds that ctx carries.
func withHold(ctx context.Context, h *hold) context.Context {
	u := &h.alone
	if outer, ok := ctx.Value(underKey{}).(*under); ok {
		u = &under{hold: h, outer: outer}
	}
	return context.WithValue(ctx, underKey{}, u)
}

// checkNested returns an error if ctx carries a live hold of the lock by this client. One that has
// ended does not count: no call waits for it any more. Nor does one of another client, whose
// lock of this name may be another.
func (c *Client) checkNested(ctx context.Context, k key) error {
	u, _ := ctx.Value(underKey{}).(*under)
	for ; u != nil; u = u.outer {
		if h := u.hold; h.client == c && h.key.name == k.name && h.remaining() > 0 {
			return fmt.Errorf("%w: %q: the call's context belongs to a hold of this lock (lock ID %s), so the call would wait for its own caller: "+
				"use the hold that there is (in Do, the state that its function gets and returns), call after its end, or "+
				"let other work call with a context of its own", ErrDeadlock, k.name, h.claim.LockID)
		}
	}
	return nil
}

// What a program passes by mistake is an error, and no panic: most of it comes from an error
// that was not looked at, and would otherwise end a program that holds other locks.
var (
	errNoClient  = errors.New("kubelock: this Client is none: use what NewClient returned, after a look at its error")
	errNoLock    = errors.New("kubelock: this Lock is none: use what NewLock returned")
	errNoHold    = errors.New("kubelock: this Held is none: use what Acquire or TryAcquire returned, after a look at its error")
	errNoContext = errors.New("kubelock: the call needs a context, got nil: pass context.Background() if it may take as long as it likes")
)

// noHoldContext is the context of a Held that is none.
var noHoldContext = func() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errNoHold)
	return ctx
}()
