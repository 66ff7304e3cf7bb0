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
package kubelock_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/servertime"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestServerTellsItsTime checks on a real API server what internal/servertime relies on: that
// it stamps its time into a review, and into each hold that is begun, renewed, queued for or
// ended, also where the Date of its answers says something else.
func TestServerTellsItsTime(t *testing.T) {
	t.Parallel()
	clock := &servertime.Clock{}
	client, err := rest.HTTPClientFor(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	asker, err := servertime.NewAsker(env.Config, client, clock, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if err := asker.Ask(t.Context()); err != nil {
		t.Fatal(err)
	}
	lower, upper, ok := clock.Reading().ToldBounds(time.Now())
	if now := time.Now(); !ok || lower.After(now) || upper.Before(now) {
		t.Errorf("the server's time is told as [%v, %v), %v; want now", lower, upper, ok)
	}

	ns := env.Namespace(t)
	for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
		var rec recorder
		var off atomic.Int64
		off.Store(int64(-time.Hour))
		rec.on(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if err == nil {
				if resp.Header.Get("Audit-Id") == "" {
					t.Errorf("the answer %s to a %s has no Audit-Id", resp.Status, verbOf(req))
				}
				resp.Header.Set("Date", time.Now().Add(time.Duration(off.Load())).UTC().Format(http.TimeFormat))
			}
			return resp, err
		})
		l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, Backend: backend}), "told")
		held := acquire(t, l)
		if got := rec.taken(); got != "get create patch" { // The stamp of the first write is by a Date an hour behind.
			t.Errorf("%s: a first acquisition behind a wrong clock sent %q, want one more write", backend, got)
		}
		for range 3 {
			if err := held.Renew(t.Context()); err != nil {
				t.Fatal(err)
			}
			release(t, held.Update(strings.Repeat("x", 10)))
			held = acquire(t, l)
		}
		if got := rec.taken(); got != strings.TrimSpace(strings.Repeat("patch update update ", 3)) {
			t.Errorf("%s: cycles behind a wrong clock sent %q, want no more than others", backend, got)
		}
		release(t, held)
	}
}
