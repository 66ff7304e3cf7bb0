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

package controllers_test

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// requests is a transport that records all requests but lists and watches.
type requests struct {
	next http.RoundTripper

	mu   sync.Mutex // protects seen
	seen []string   // method, and the path behind the namespace
}

func (r *requests) RoundTrip(req *http.Request) (*http.Response, error) {
	_, path, namespaced := strings.Cut(req.URL.Path, "/namespaces/")
	parts := strings.Split(path, "/") // Namespace, resource, name.
	if req.Method != http.MethodGet || namespaced && len(parts) == 3 {
		r.mu.Lock()
		r.seen = append(r.seen, strings.Join(append([]string{req.Method}, parts[min(1, len(parts)):]...), " "))
		r.mu.Unlock()
	}
	return r.next.RoundTrip(req)
}

// WrappedRoundTripper lets client-go find the transport below.
func (r *requests) WrappedRoundTripper() http.RoundTripper { return r.next }

func (r *requests) taken() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.seen
	r.seen = nil
	return seen
}

// TestIdleLocksCostNothing checks that the reaper sends requests only for locks on which an action
// is due: one request reads the lock, one writes it, and one writes the Event.
func TestIdleLocksCostNothing(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	history := env.Watch(t, ns)
	counted := &requests{}
	reaper{namespaces: []string{ns}, wrap: func(next http.RoundTripper) http.RoundTripper {
		counted.next = next
		return counted
	}}.start(t)
	release(t, acquire(t, newLock(t, "free", kubelock.Config{Namespace: ns})))
	release(t, acquire(t, newLock(t, "free-for-a-day", kubelock.Config{Namespace: ns, ObjectExpiry: 24 * time.Hour})))
	held := acquire(t, newLock(t, "held", kubelock.Config{Namespace: ns, LockDuration: time.Hour}))
	renewed := acquire(t, newLock(t, "renewed", kubelock.Config{Namespace: ns, LockDuration: 4 * time.Second}), kubelock.WithAutoRenew())

	for _, name := range []string{"orders", "invoices"} {
		die(t, ns, name, 2*time.Second)
		history.Until(patience, name, "freed", expired)
		env.Event(t, patience, ns, name, "HolderExpired")
		got := counted.taken()
		slices.Sort(got)
		if want := []string{"GET distributedlocks " + name, "POST events", "PUT distributedlocks " + name}; !slices.Equal(got, want) {
			t.Errorf("reaping one lock of five took %q, want %q", got, want)
		}
	}
	if versions := history.Of("renewed"); len(versions) < 3 {
		t.Errorf("the renewed hold has %d versions only", len(versions))
	}
	release(t, held)
	release(t, renewed)
}
