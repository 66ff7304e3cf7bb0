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

package policy_test

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// disguise sends requests with another user agent.
type disguise struct {
	next  http.RoundTripper
	agent func() string
}

func (d disguise) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", d.agent())
	return d.next.RoundTrip(req)
}

func (d disguise) WrappedRoundTripper() http.RoundTripper { return d.next }

// TestUserAgentIsReplaced runs programs whose user agent a proxy removes or replaces. The API server
// takes the name in the managed fields from it, and by managed fields the policies tell when
// a lease ended: whatever the name is, programs lock, hand over, and take dead holders' locks.
func TestUserAgentIsReplaced(t *testing.T) {
	t.Parallel()
	for name, agent := range map[string]func(n int64) string{
		"none":    func(int64) string { return "" },
		"other":   func(int64) string { return "proxy/1.2 (gateway)" },
		"changes": func(n int64) string { return fmt.Sprintf("proxy-%d/1", n%3) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := namespace(t, "programs")
			var n atomic.Int64
			config := env.ServiceAccount(t, ns, "programs")
			config.Wrap(func(next http.RoundTripper) http.RoundTripper {
				return disguise{next, func() string { return agent(n.Add(1)) }}
			})
			lock := func(config *rest.Config) (*kubelock.Client, *kubelock.Lock[int]) {
				c := program(t, config, kubelock.Config{Namespace: ns, Identity: testenv.AccountUser(ns, "programs")})
				return c, kubelock.NewLock[int](c, "orders")
			}
			c, dying := lock(config)
			held, err := dying.Acquire(within(t), kubelock.WithDuration(5*time.Second))
			if err != nil {
				t.Fatal(err)
			}
			if err := held.Update(1).Save(within(t)); err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			_, a := lock(config)
			_, b := lock(config)
			got := make(chan error, 2)
			for _, l := range []*kubelock.Lock[int]{a, b} {
				go func() {
					var err error
					for range 3 {
						if _, err = l.Do(within(t), func(_ context.Context, n int) (int, error) { return n + 1, nil }); err != nil {
							break
						}
					}
					got <- err
				}()
			}
			for range cap(got) {
				if err := <-got; err != nil {
					t.Error(err)
				}
			}
			// A caller that was expected and did not come may have the lock for a moment still.
			last, err := a.Acquire(within(t))
			if err != nil {
				t.Fatal(err)
			}
			if last.Value() != 7 {
				t.Errorf("the state is %d, want 7", last.Value())
			}
			if err := last.Release(within(t)); err != nil {
				t.Error(err)
			}
			for _, f := range orders(t, ns).ManagedFields {
				t.Logf("%q has written %s", f.Manager, f.FieldsV1.GetRawString())
			}
		})
	}
}
