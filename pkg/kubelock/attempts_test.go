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
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestDelayedRenewal checks that the deadline counts from the sending of the attempt
// that was committed, not from a later one or from the answer.
func TestDelayedRenewal(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	var rec recorder
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: 20 * time.Second}), "delayed")
	release(t, acquire(t, l)) // The server tells its time: without that, a hold is renewed before its use.
	held := acquire(t, l)
	rec.taken()
	var sent time.Time
	rec.on(once("patch", func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		sent = time.Now()
		resp, err := next.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
		}
		<-time.After(time.Second) // An answer that takes long, and then does not come.
		return nil, io.ErrUnexpectedEOF
	}))
	if err := held.Renew(within(t)); err != nil {
		t.Fatal(err)
	}
	if latest := sent.Add(20 * time.Second); held.Deadline().After(latest) {
		t.Errorf("the deadline is %v after the end that others may count from", held.Deadline().Sub(latest))
	}
	if requests := rec.taken(); strings.Count(requests, "patch") != 1 {
		t.Errorf("sent %q; the committed renewal was to be recognised by reading back", requests)
	}
	release(t, held)
}

// TestEarlierAttemptIsCommittedLate checks a write that seems to have failed, is on its
// way all the same, and is committed just before its own repetition arrives. The lease
// counts from the sending of that first attempt.
func TestEarlierAttemptIsCommittedLate(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	const lease = 20 * time.Second
	var rec recorder
	c := newClientFor(t, rec.wrap(env.Config), kubelock.Config{Namespace: ns, LockDuration: lease})
	l := kubelock.NewLock[string](c, "late")
	release(t, acquire(t, kubelock.NewLock[string](c, "other"))) // The server tells its time: without that, a hold is renewed before its use.
	// holdBack keeps the first write of a verb back, tells its sender that it failed,
	// and lets it go when the next one comes.
	holdBack := func(verb string) (sent *time.Time) {
		sent = new(time.Time)
		var (
			mu   sync.Mutex
			held *http.Request
		)
		rec.on(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
			if verbOf(req) != verb {
				return next.RoundTrip(req)
			}
			mu.Lock()
			defer mu.Unlock()
			if sent.IsZero() {
				*sent = time.Now()
				body, err := req.GetBody()
				if err != nil {
					return nil, err
				}
				held = req.Clone(context.WithoutCancel(req.Context()))
				held.Body = body
				return nil, io.ErrUnexpectedEOF
			}
			if held != nil {
				resp, err := next.RoundTrip(held)
				if err != nil {
					return nil, err
				}
				_ = resp.Body.Close()
				held = nil
			}
			return next.RoundTrip(req)
		})
		return sent
	}

	sent := holdBack("create")
	held := acquire(t, l)
	if late := held.Deadline().Sub(sent.Add(lease)); late > 0 {
		t.Errorf("acquired by an earlier attempt, the deadline is %v too late", late)
	}
	sent = holdBack("patch")
	if err := held.Renew(within(t)); err != nil {
		t.Fatal(err)
	}
	if late := held.Deadline().Sub(sent.Add(lease)); late > 0 {
		t.Errorf("renewed by an earlier attempt, the deadline is %v too late", late)
	}
	sent = holdBack("update")
	if err := held.Update("kept").Release(within(t)); err != nil {
		t.Errorf("released by an earlier attempt: %v", err)
	}
	rec.on(nil)
	if got, err := l.Get(within(t)); err != nil || got.Value != "kept" || got.Held || sent.IsZero() {
		t.Errorf("after the release: %+v, %v", got, err)
	}
}

// TestAnswerAfterTheDeadline checks an acquisition whose answer comes when its lease
// is over already: the caller must not get that hold.
func TestAnswerAfterTheDeadline(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	var rec recorder
	slow := func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		<-time.After(1500 * time.Millisecond)
		return resp, err
	}
	config := kubelock.Config{Namespace: ns, LockDuration: time.Second}
	l := kubelock.NewLock[string](newClientFor(t, rec.wrap(env.Config), config), "slow")
	rec.on(once("create", slow))
	held := acquire(t, l, kubelock.WithDuration(time.Second))
	if late := time.Since(held.Deadline()); late > 0 {
		t.Errorf("got a hold whose lease ended %v ago", late)
	}
	_ = held.Release(within(t)) // On a loaded machine it may be late.

	rec.on(once("update", slow))
	if held, err := l.TryAcquire(within(t)); !errors.Is(err, kubelock.ErrNotAcquired) {
		t.Errorf("TryAcquire gives %v, %v; want ErrNotAcquired", held, err)
	}
	rec.on(nil)
	if _, err := l.Wait(within(t)); err != nil {
		t.Errorf("the hold that nobody has was not given back: %v", err)
	}
}
