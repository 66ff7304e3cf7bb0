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
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestCloseDoesNotWaitForAPause has the API server ask a release, and what takes an entry back, to wait for
// a minute: Close lets them go on for five seconds.
func TestCloseDoesNotWaitForAPause(t *testing.T) {
	t.Parallel()
	busy := func(server *kubelocktest.Server) {
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if req.Method == http.MethodGet {
				return next.RoundTrip(req)
			}
			return answerOf(req, http.StatusTooManyRequests, "60"), nil
		})
	}
	for name, begin := range map[string]func(t *testing.T, server *kubelocktest.Server, c *kubelock.Client) (ended <-chan error){
		"release": func(t *testing.T, server *kubelocktest.Server, c *kubelock.Client) <-chan error {
			t.Helper()
			held, err := kubelock.NewLock[string](c, "k").Acquire(t.Context(), kubelock.WithDuration(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			busy(server)
			ended := make(chan error, 1)
			go func() { ended <- held.Release(t.Context()) }()
			return ended
		},
		"entry": func(t *testing.T, server *kubelocktest.Server, c *kubelock.Client) <-chan error {
			t.Helper()
			if _, err := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "k").Acquire(t.Context(), kubelock.WithDuration(time.Hour)); err != nil {
				t.Fatal(err)
			}
			w := startAcquire(t.Context(), kubelock.NewLock[string](c, "k"), kubelock.WithDuration(time.Hour))
			<-time.After(2 * time.Second)
			busy(server)
			ended := make(chan error, 1)
			go func() { <-w.done; ended <- w.err }()
			return ended
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				c := server.NewClient(t, kubelock.Config{})
				ended := begin(t, server, c)
				synctest.Wait()
				start := time.Now()
				if err := c.Close(); err != nil {
					t.Error(err)
				}
				if took := time.Since(start); took > 6*time.Second {
					t.Errorf("Close took %v", took)
				}
				if err := <-ended; !errors.Is(err, kubelock.ErrClosed) {
					t.Errorf("the call ended with %v, want ErrClosed", err)
				}
			})
		})
	}
}
