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
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// TestApplyOutlastsAFailingWebhook has a webhook fail for each write, while the API server answers reads: for longer than
// a few minutes. A call of Apply waits until that ends, as one of Do does.
func TestApplyOutlastsAFailingWebhook(t *testing.T) {
	t.Parallel()
	const outage = 10 * time.Minute
	for name, call := range map[string]func(ctx context.Context, l *kubelock.Lock[int]) (int, error){
		"Apply": func(ctx context.Context, l *kubelock.Lock[int]) (int, error) { return l.Apply(ctx, add(1)) },
		"Do": func(ctx context.Context, l *kubelock.Lock[int]) (int, error) {
			return l.Do(ctx, func(_ context.Context, n int) (int, error) { return n + 1, nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(m memory) {
				t := m.T
				l := kubelock.NewLock[int](m.newClient(), "counter")
				release(t, acquire(t, l))
				began := time.Now()
				m.server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
					if verb := verbOf(req); verb == "get" || verb == "watch" || time.Since(began) > outage {
						return next.RoundTrip(req)
					}
					return answerOf(req, http.StatusInternalServerError, ""), nil
				})
				n, err := call(t.Context(), l)
				if err != nil || n != 1 {
					t.Errorf("after %v it gives %d, %v; want that it waits for %v", time.Since(began), n, err, outage)
				}
				if err != nil && strings.Contains(err.Error(), "%!") {
					t.Errorf("the error's text is malformed: %v", err)
				}
			})
		})
	}
}

// TestApplyThatHasTheLockIsNotOvertaken has a program write into the lock's object, ten times per second, what is no part of the lock.
// A function that takes longer than that to compute is called once for the turn of its caller: nothing of the state has changed.
func TestApplyThatHasTheLockIsNotOvertaken(t *testing.T) {
	eachBackend(t, func(t *testing.T, k *terminating) {
		t.Helper()
		k.made(t)
		held := acquire(t, k.lock(t))
		l := k.lock(t)
		var calls atomic.Int32
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() {
			_, err := l.Apply(ctx, func(s string) (string, error) {
				calls.Add(1)
				<-time.After(150 * time.Millisecond) // It computes.
				return s + "x", nil
			})
			if err != nil {
				t.Errorf("after %d calls of its function Apply gives %v", calls.Load(), err)
			}
		})
		<-time.After(2 * time.Second)
		all.Go(func() {
			for i := 0; calls.Load() == 0 || ctx.Err() == nil; i++ {
				k.patch(t, `{"metadata":{"annotations":{"example.com/seen":"`+strconv.Itoa(i)+`"}}}`)
				<-time.After(100 * time.Millisecond)
				if i > 100 {
					return
				}
			}
		})
		release(t, held)
		all.Wait()
		if n := calls.Load(); n > 2 {
			t.Errorf("its function was called %d times, for one state", n)
		}
	})
}

// TestApplyWhoseCreationIsLost has the creation of the lock's object get no answer, and the context end: the creation carries
// no change, so nothing was changed.
func TestApplyWhoseCreationIsLost(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t := m.T
		m.server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if verbOf(req) == "create" {
				<-req.Context().Done()
				return nil, req.Context().Err()
			}
			return next.RoundTrip(req)
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := kubelock.NewLock[int](m.newClient(), "counter").Apply(ctx, add(1))
		if !errors.Is(err, kubelock.ErrNotAcquired) || errors.Is(err, kubelock.ErrUnknownOutcome) {
			t.Errorf("Apply gives %v, and no write has carried its change", err)
		}
	})
}

// TestTokensAfterAnElector has a Lease be copied from a cluster whose versions are far above those of this one, and an elector lead by it
// and release it: tokens count on from what the copy records.
func TestTokensAfterAnElector(t *testing.T) {
	t.Parallel()
	const before = 5_000_000
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		l := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{Backend: kubelock.Leases}), "k")
		release(t, acquire(t, l))
		leases := leasesOf(server)
		lease, err := leases.Get(t.Context(), "k", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		last := map[string]any{}
		if err := json.Unmarshal([]byte(lease.Annotations[lastReleaseAnnotation]), &last); err != nil {
			t.Fatal(err)
		}
		last["token"] = before
		text, err := json.Marshal(last)
		if err != nil {
			t.Fatal(err)
		}
		lease.Annotations[lastReleaseAnnotation] = string(text)
		if _, err := leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		electorTakes(t, leases, "k", "elector-1")
		if lease, err = leases.Get(t.Context(), "k", metav1.GetOptions{}); err != nil {
			t.Fatal(err)
		}
		now := metav1.NowMicro()
		lease.Spec.HolderIdentity, lease.Spec.RenewTime, lease.Spec.AcquireTime = new(""), &now, &now // As client-go releases it.
		if _, err := leases.Update(t.Context(), lease, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		held := acquire(t, l)
		if held.Token() <= before {
			t.Errorf("the token is %d after %d", held.Token(), before)
		}
		release(t, held)
	})
}

// TestTokenWhileItRests has Get show the token of the last hold while the lock rests.
func TestTokenWhileItRests(t *testing.T) {
	t.Parallel()
	inMemory(t, func(m memory) {
		t, l := m.T, kubelock.NewLock[int](m.newClient(), "tick")
		held := acquire(t, l, kubelock.WithMinHold(10*time.Second))
		token := held.Token()
		release(t, held)
		if s, err := l.Get(t.Context()); err != nil || s.Token != token {
			t.Errorf("Get shows the token %d, %v; the last hold had %d", s.Token, err, token)
		}
	})
}
