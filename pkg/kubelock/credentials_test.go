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
	"context"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestTokenFileIsReplaced checks a token that is refused from the moment at which its file has another,
// with leases shorter than the minute after which client-go reads the file again: no call fails and
// no hold is lost, and what was refused is sent once more and not more often.
func TestTokenFileIsReplaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			mu      sync.Mutex
			valid   = "1"
			refused int
		)
		file := filepath.Join(t.TempDir(), "token")
		rotate := func(token string) {
			t.Helper()
			<-time.After(time.Millisecond) // Since the last was read.
			mu.Lock()
			defer mu.Unlock()
			if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			valid = token
		}
		server := kubelocktest.NewServer(t)
		server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			mu.Lock()
			ok := req.Header.Get("Authorization") == "Bearer "+valid
			if !ok {
				refused++
			}
			mu.Unlock()
			if !ok {
				return answerOf(req, http.StatusUnauthorized, ""), nil
			}
			return next.RoundTrip(req)
		})
		rotate("1")
		config := server.Config()
		config.BearerToken, config.BearerTokenFile = "of the start", file
		l := kubelock.NewLock[int](newClientFor(t, config, kubelock.Config{Namespace: kubelocktest.Namespace}), "k")

		held := acquire(t, l, kubelock.WithAutoRenew())
		for n := 2; n < 6; n++ {
			rotate(strconv.Itoa(n))
			<-time.After(45 * time.Second)
			if err := held.Context().Err(); err != nil {
				t.Fatalf("after rotation %d the hold is lost", n)
			}
		}
		rotate("save")
		if err := held.Update(1).Save(t.Context()); err != nil {
			t.Errorf("Save: %v", err)
		}
		rotate("release")
		if err := held.Update(2).Release(t.Context()); err != nil {
			t.Errorf("Release: %v", err)
		}
		rotate("do")
		if n, err := l.Do(t.Context(), func(_ context.Context, n int) (int, error) {
			rotate("done")
			return n + 1, nil
		}); err != nil || n != 3 {
			t.Errorf("Do: %d, %v", n, err)
		}
		mu.Lock()
		if refused > 8 {
			t.Errorf("%d requests were refused in 8 rotations", refused)
		}
		refused, valid = 0, "elsewhere"
		mu.Unlock()
		if _, err := l.TryAcquire(t.Context()); !apierrors.IsUnauthorized(err) {
			t.Errorf("with a token that is refused: %v", err)
		}
	})
}

// TestWarnings checks that what the API server warns of at each write is reported once, by whichever way the
// program listens.
func TestWarnings(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for _, way := range []string{"logger", "handler", "both"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
					resp, err := next.RoundTrip(req)
					if err == nil && req.Method != http.MethodGet {
						resp.Header.Add("Warning", `299 - "locks need a team"`)
						resp.Header.Add("Warning", `299 - "and a `+req.Method+`"`)
					}
					return resp, err
				})
				var mu sync.Mutex
				var logged, handled []string
				config := server.Config()
				if way != "logger" {
					config.WarningHandler = handlerFunc(func(text string) {
						mu.Lock()
						defer mu.Unlock()
						handled = append(handled, text)
					})
				}
				cfg := kubelock.Config{Namespace: kubelocktest.Namespace}
				if way != "handler" {
					cfg.Logger = funcr.New(func(_, args string) {
						mu.Lock()
						defer mu.Unlock()
						logged = append(logged, args)
					}, funcr.Options{})
				}
				l := kubelock.NewLock[int](newClientFor(t, config, cfg), "k")
				for range 3 {
					held := acquire(t, l, kubelock.WithAutoRenew())
					<-time.After(10 * time.Minute)
					release(t, held)
				}
				mu.Lock()
				defer mu.Unlock()
				told, silent := handled, logged
				if way == "logger" {
					told, silent = logged, handled
				}
				if len(silent) > 0 {
					t.Errorf("it was told twice: %q", silent)
				}
				for _, text := range []string{"locks need a team", "and a POST", "and a PUT", "and a PATCH"} {
					if i := slices.IndexFunc(told, func(s string) bool { return strings.Contains(s, text) }); i < 0 {
						t.Errorf("nobody was told %q: %q", text, told)
					}
				}
				if len(told) != 4 {
					t.Errorf("it was told %d times: %q", len(told), told)
				}
			})
		})
	}
}

type handlerFunc func(text string)

func (f handlerFunc) HandleWarningHeader(_ int, _, text string) { f(text) }

var _ rest.WarningHandler = handlerFunc(nil)
