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

package kubelocktest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// lead is a program that a user of kubelock could have written: it counts its runs,
// one at a time.
func lead(ctx context.Context, c *kubelock.Client) (int, error) {
	return kubelock.NewLock[int](c, "runs").Do(ctx, func(_ context.Context, runs int) (int, error) { return runs + 1, nil })
}

// TestProgram is how a program is tested.
func TestProgram(t *testing.T) {
	server := kubelocktest.NewServer(t)
	a, b := server.NewClient(t, kubelock.Config{}), server.NewClient(t, kubelock.Config{})
	for want := 1; want < 10; want++ {
		if got, err := lead(t.Context(), []*kubelock.Client{a, b}[want%2]); err != nil || got != want {
			t.Fatalf("run %d gives %d, %v", want, got, err)
		}
	}
}

// TestHolderThatDies is how a test lets time go by: in a bubble, an hour takes none.
func TestHolderThatDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		dead := server.NewClient(t, kubelock.Config{LockDuration: time.Hour})
		if _, err := kubelock.NewLock[int](dead, "runs").Acquire(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if runs, err := lead(t.Context(), server.NewClient(t, kubelock.Config{})); err != nil || runs != 1 {
			t.Fatalf("%d runs, %v", runs, err)
		}
		if took := time.Since(start); took < time.Hour || took > time.Hour+5*time.Second {
			t.Errorf("the next one had the lock after %v, want an hour", took)
		}
	})
}

// TestLostConnection is how a test lets the network fail.
func TestLostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		c := server.NewClient(t, kubelock.Config{LockDuration: time.Minute})
		held, err := kubelock.NewLock[int](c, "runs").Acquire(t.Context(), kubelock.WithAutoRenew())
		if err != nil {
			t.Fatal(err)
		}
		reconnect := server.Disconnect()
		start := time.Now()
		<-held.Context().Done()
		if took := time.Since(start); !errors.Is(context.Cause(held.Context()), kubelock.ErrLost) || took > time.Minute {
			t.Errorf("lost after %v: %v", took, context.Cause(held.Context()))
		}
		reconnect()
		if runs, err := lead(t.Context(), c); err != nil || runs != 1 {
			t.Errorf("after the connection is back: %d runs, %v", runs, err)
		}
	})
}

// TestLostAnswer is how a test makes a fault of its own: the write is done, and its
// answer does not come.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		c := server.NewClient(t, kubelock.Config{})
		lost := 0
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			resp, err := next.RoundTrip(req)
			if req.Method == http.MethodPut && lost == 0 && err == nil {
				lost++
				_ = resp.Body.Close()
				return nil, io.ErrUnexpectedEOF
			}
			return resp, err
		})
		for want := 1; want < 3; want++ {
			if runs, err := lead(t.Context(), c); err != nil || runs != want || lost != 1 {
				t.Errorf("%d runs, %v, %d answers lost", runs, err, lost)
			}
		}
	})
}

// TestWatchesThatEnd checks that waiters get the lock although their watches are cut
// or expire.
func TestWatchesThatEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		server.CreateNamespace("other")
		cfg := kubelock.Config{Namespace: "other", LockDuration: time.Hour}
		for _, end := range []func(){server.CutWatches, server.ExpireWatches} {
			held, err := kubelock.NewLock[int](server.NewClient(t, cfg), "runs").Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			waiter := server.NewClient(t, cfg)
			go func() { _, err := lead(t.Context(), waiter); done <- err }()
			time.AfterFunc(time.Minute, end)
			<-time.After(2 * time.Minute)
			if err := held.Release(t.Context()); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			if err := <-done; err != nil || time.Since(start) > 10*time.Second {
				t.Errorf("the waiter had the lock after %v, %v", time.Since(start), err)
			}
		}
	})
}
