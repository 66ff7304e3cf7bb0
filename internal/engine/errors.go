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
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kubelock/kubelock/internal/protocol"
	"github.com/kubelock/kubelock/internal/store"
)

// The outcomes of calls: see those of the same names in package kubelock.
var (
	ErrNotAcquired    = errors.New("kubelock: lock not acquired")
	ErrLost           = errors.New("kubelock: lock lost")
	ErrDeadlock       = errors.New("kubelock: deadlock")
	ErrClosed         = errors.New("kubelock: client closed")
	ErrInvalidKey     = errors.New("kubelock: invalid key")
	ErrValueTooLarge  = errors.New("kubelock: value too large")
	ErrUnknownOutcome = errors.New("kubelock: outcome unknown")
	ErrNoContext      = errors.New("kubelock: the call needs a context, got nil: pass context.Background() if it may take as long as it likes")
)

// notAcquiredError says why, and for how long, an acquisition waited in vain.
type notAcquiredError struct {
	key    string
	holder string        // "" when no client was seen to hold the lock
	rest   time.Duration // for how long the lock rests after a hold of that one; 0: it is held
	waited time.Duration // 0 for a call that does not wait
	ahead  int           // callers of the same client that came first
	waiter string        // who is first in the queue for a free lock
	place  int           // in the queue, from 1, as last seen; 0 when it was not in it
	queued int           // the length of that queue
	causes []error       // besides ErrNotAcquired
}

func (e *notAcquiredError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %q", ErrNotAcquired, e.key)
	if e.waited > 0 {
		fmt.Fprintf(&b, " after %v", e.waited.Round(time.Millisecond))
	}
	switch {
	case e.rest > 0:
		fmt.Fprintf(&b, ": it rests for %v after the hold of %q", e.rest, e.holder)
	case e.holder != "":
		fmt.Fprintf(&b, ": held by %q", e.holder)
	}
	if e.waiter != "" {
		fmt.Fprintf(&b, ": %q is the next to have it", e.waiter)
	}
	if e.place > 0 {
		fmt.Fprintf(&b, ", place %d of %d in the queue", e.place, e.queued)
	}
	if e.ahead > 0 {
		fmt.Fprintf(&b, ", with %d earlier caller(s) of this client ahead", e.ahead)
	}
	for _, cause := range e.causes {
		fmt.Fprintf(&b, ": %v", cause)
	}
	return b.String()
}

func (e *notAcquiredError) Unwrap() []error { return append([]error{ErrNotAcquired}, e.causes...) }

// heldBy notes who has the lock in r, or has had it if r rests.
func (e *notAcquiredError) heldBy(r protocol.Record) {
	h := r.Holder
	if h == nil {
		return
	}
	e.holder = h.Identity
	if r.Resting() {
		e.rest = h.Duration
	}
}

// terminating says what keeps an object that is being deleted.
func terminating(r protocol.Record) error {
	if len(r.Finalizers) == 0 {
		return fmt.Errorf("its object %q is being deleted", r.Name)
	}
	return fmt.Errorf("its object %q is being deleted, and exists until whatever set these finalizers removes them: %s",
		r.Name, strings.Join(r.Finalizers, ", "))
}

// explain adds to an error of the API server what a person can do about it. verb
// is the Kubernetes verb of the request, or that of most requests which do this.
func (c *Client) explain(verb string, k Key, err error) error {
	kind := c.store.Kind()
	resource := kind.Resource().GroupResource()
	denied := store.DeniedVerb(err)
	switch {
	case store.NoSuchResource(err):
		return fmt.Errorf("kubelock: the API server does not know %s: install the CustomResourceDefinition with "+
			"\"kubectl apply -k config/crd\" from kubelock's sources: %w", resource, err)
	case store.NoSuchNamespace(err):
		return fmt.Errorf("kubelock: namespace %q does not exist: create it with \"kubectl create namespace %[1]s\", "+
			"or set Config.Namespace to another: %w", c.Namespace, err)
	case denied != "": // Not a quota or a policy, which are Forbidden too.
		if !strings.Contains(verb, denied) {
			verb = denied
		}
		return fmt.Errorf("kubelock: no permission to %s %s in namespace %q: bind the ClusterRole %s, which "+
			"config ships, to this program's service account: %w", verb, resource, c.Namespace, kind.Role(), err)
	case store.TooLarge(err):
		return fmt.Errorf("%w: %q: %w", ErrValueTooLarge, k.name, err)
	default:
		return fmt.Errorf("kubelock: %s %s %s/%s: %w", verb, resource, c.Namespace, k.object, err)
	}
}
