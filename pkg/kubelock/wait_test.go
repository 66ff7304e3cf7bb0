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
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

func TestWaitOfAFreeLock(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "free")
	if got, err := l.Wait(t.Context()); err != nil || got.Exists {
		t.Errorf("Wait of a lock without an object: %+v, %v", got, err)
	}
	release(t, acquire(t, l).Update("state"))
	rec.taken()
	if got, err := l.Wait(t.Context()); err != nil || got.Value != "state" || got.Held {
		t.Errorf("Wait of a free lock: %+v, %v", got, err)
	}
	if requests := rec.taken(); requests != "get" {
		t.Errorf("Wait of a free lock sent %q, want one read", requests)
	}
}

func TestWaitTimesOut(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	held := acquire(t, kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "busy"))
	defer release(t, held)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "busy").Wait(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait of a held lock: %v, want DeadlineExceeded", err)
	}
}

// TestWaitEnds checks every way in which a wait ends, with the state that it shows.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	for name, end := range map[string]func(t *testing.T, ns string, held *kubelock.Held[string]) (want string, held2 bool){
		"release": func(t *testing.T, _ string, held *kubelock.Held[string]) (string, bool) {
			release(t, held.Update("released"))
			return "released", false
		},
		"release without an update": func(t *testing.T, _ string, held *kubelock.Held[string]) (string, bool) {
			release(t, held)
			return "initial", false
		},
		"expiry": func(t *testing.T, _ string, held *kubelock.Held[string]) (string, bool) {
			<-held.Context().Done()
			return "initial", false
		},
		"deletion": func(t *testing.T, ns string, _ *kubelock.Held[string]) (string, bool) {
			if out, err := env.Kubectl(t.Context(), "", "delete", "dlock", "wait", "-n", ns); err != nil {
				t.Fatal(out)
			}
			return "", false
		},
		"change of hands": func(t *testing.T, ns string, held *kubelock.Held[string]) (string, bool) {
			// As a hand-off writes it: one holder and then at once the next.
			patch := `{"spec":{"value":"\"handed\"","holder":{"identity":"next","client":"x","lockID":"y","token":9007199254740000,` +
				`"acquireTime":"2999-01-01T00:00:00.000000Z","renewTime":"2999-01-01T00:00:00.000000Z","duration":"1h"}}}`
			if out, err := env.Kubectl(t.Context(), "", "patch", "dlock", "wait", "-n", ns, "--type=merge", "-p", patch); err != nil {
				t.Fatal(out)
			}
			return "handed", true
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "wait")
			release(t, acquire(t, l).Update("initial"))
			lease := time.Hour // Only the end that is tested can end the wait.
			if name == "expiry" {
				lease = 3 * time.Second
			}
			held := acquire(t, l, kubelock.WithDuration(lease))

			var rec recorder
			waiting := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "wait")
			type result struct {
				kubelock.Snapshot[string]
				err error
			}
			got := make(chan result, 1)
			go func() {
				s, err := waiting.Wait(within(t))
				got <- result{s, err}
			}()
			rec.waitFor(t, "watch")
			want, wantHeld := end(t, ns, held)
			r := <-got
			if r.err != nil || r.Value != want || r.Held != wantHeld {
				t.Errorf("Wait returned %+v, want the state %q, held %v", r, want, wantHeld)
			}
		})
	}
}

// TestDelete checks that a deletion waits for the holder, leaves no object, and does
// not lower tokens.
func TestDelete(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	var rec recorder
	deleter := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "gone")
	if err := deleter.Delete(t.Context()); err != nil {
		t.Errorf("deleting what is not there: %v", err)
	}
	var last int64
	for range 3 {
		held := acquire(t, lockOf(t, ns, "gone")) // A client that comes again and again might be expected, and queue.
		if held.Exists() || held.Token() <= last {
			t.Errorf("hold after a deletion has token %d after %d, and state: %v", held.Token(), last, held.Exists())
		}
		last = held.Token()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		if err := deleter.Delete(ctx); !errors.Is(err, kubelock.ErrNotAcquired) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("deleting a held lock: %v, want ErrNotAcquired and DeadlineExceeded", err)
		}
		cancel()
		done := make(chan error, 1)
		go func() { done <- deleter.Delete(within(t)) }()
		release(t, held.Update("state"))
		if err := <-done; err != nil {
			t.Errorf("Delete: %v", err)
		}
		if out, err := env.Kubectl(t.Context(), "", "get", "dlock", "gone", "-n", ns); err == nil {
			t.Errorf("after Delete there is still %s", out)
		}
	}
}

// TestDeleteLetsTheNextHolderWin checks a deletion that is overtaken by an acquisition
// between its read and its request: the lock is held, and so it stays.
func TestDeleteLetsTheNextHolderWin(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var rec recorder
	l := kubelock.NewLock[string](newClient(t, kubelock.Config{Namespace: ns}), "overtaken")
	deleter := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns}), "overtaken")
	release(t, acquire(t, l).Update("first"))

	ctx, cancel := context.WithCancel(t.Context())
	var held *kubelock.Held[string]
	rec.on(once("delete", func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		held = acquire(t, l)
		return next.RoundTrip(req)
	}))
	done := make(chan error, 1)
	go func() { done <- deleter.Delete(ctx) }()
	rec.waitFor(t, "watch") // It has found the lock held, and waits.
	cancel()
	if err := <-done; !errors.Is(err, kubelock.ErrNotAcquired) {
		t.Errorf("Delete gives %v, want ErrNotAcquired", err)
	}
	if err := held.Update("second").Save(within(t)); err != nil {
		t.Errorf("the holder lost its lock: %v", err)
	}
	release(t, held)
	if got, err := l.Get(t.Context()); err != nil || got.Value != "second" {
		t.Errorf("afterwards: %+v, %v", got, err)
	}
}
