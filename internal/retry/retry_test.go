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

package retry

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/kubelock/kubelock/internal/session"
	"github.com/kubelock/kubelock/internal/store"
)

// jitter is the largest factor by which jitter lengthens a pause.
const jitter = 1.5

var (
	resource  = schema.GroupResource{Resource: "locks"}
	conflict  = apierrors.NewConflict(resource, "k", errors.New("it has changed"))
	forbidden = apierrors.NewForbidden(resource, "k", errors.New(`User "me" cannot update resource "locks"`)) //nolint:staticcheck // The API server's words.
)

var gone = apierrors.NewGone("gone") //nolint:staticcheck // Servers and proxies still answer so.

// busy returns a 429 with a Retry-After of that many seconds.
func busy(seconds int) error { return apierrors.NewTooManyRequests("busy", seconds) }

// paused returns how long one pause takes.
func paused(ctx context.Context, t *testing.T, a *Attempts) time.Duration {
	t.Helper()
	start := time.Now()
	if err := a.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	return time.Since(start)
}

// within checks the length of a pause with jitter.
func within(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want || float64(got) >= float64(want)*jitter {
		t.Errorf("%s took %v, want %v and up to half as much again", what, got, want)
	}
}

// TestPausesGrow checks that pauses double from 20 milliseconds to two seconds, and are short again after
// half a minute without a pause.
func TestPausesGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := attempts(nil, 0)
		want := 20 * time.Millisecond
		for range 12 {
			within(t, "a pause", paused(t.Context(), t, a), want)
			want = min(2*want, 2*time.Second)
		}
		time.Sleep(quiet - time.Second)
		within(t, "a pause soon after others", paused(t.Context(), t, a), 2*time.Second)
		time.Sleep(quiet + time.Second)
		within(t, "a pause long after others", paused(t.Context(), t, a), 20*time.Millisecond)
	})
}

// TestPauseEndsWithItsContext checks that no pause outlasts the call.
func TestPauseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		a := attempts(nil, 0)
		a.Wrote(busy(30))
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		if err := a.Pause(ctx); !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestRetryAfter checks that a pause is as long as the Retry-After of the API server, but no longer than a
// minute, and no longer than a third of the time that is left of the context.
func TestRetryAfter(t *testing.T) {
	for _, tc := range []struct {
		name  string
		asks  int
		left  time.Duration // 0 means without end
		pause time.Duration
	}{
		{"without an end", 32, 0, 32 * time.Second},
		{"with time enough", 32, 5 * time.Minute, 32 * time.Second},
		{"for more than a minute", 3600, 0, time.Minute},
		{"within a lease of 30 seconds", 32, 30 * time.Second, 10 * time.Second},
		{"within a lease of a second", 32, time.Second, time.Second / 3},
		{"for less than others take", 0, time.Minute, 20 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if tc.left > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.left)
					defer cancel()
				}
				a := attempts(nil, 0)
				if outcome := a.Wrote(busy(tc.asks)); outcome != store.Busy {
					t.Errorf("outcome %v", outcome)
				}
				if got := paused(ctx, t, a); tc.asks > 0 && got != tc.pause {
					t.Errorf("paused for %v, want %v", got, tc.pause)
				} else if tc.asks == 0 {
					within(t, "a pause", got, tc.pause)
				}
				a.Wrote(conflict) // An answer without Retry-After.
				if got := paused(t.Context(), t, a); got > time.Second {
					t.Errorf("then paused for %v", got)
				}
			})
		})
	}
}

// TestAttemptsFitIntoALease checks that a holder makes at least three attempts within a lease, even if the
// API server's Retry-After is longer, and not many more.
func TestAttemptsFitIntoALease(t *testing.T) {
	for _, lease := range []time.Duration{time.Second, 30 * time.Second, 10 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), lease)
			defer cancel()
			a := attempts(nil, 0)
			attempts := 0
			for ctx.Err() == nil {
				attempts++
				a.Wrote(busy(3600))
				if err := a.Pause(ctx); err != nil && ctx.Err() == nil {
					t.Fatal(err)
				}
			}
			if most := leastPart + fitting; attempts <= fitting || attempts > most {
				t.Errorf("%d attempts within a lease of %v, want more than %d and at most %d", attempts, lease, fitting, most)
			}
		})
	}
}

// TestTimeout checks the timeouts of a holder's attempts. The first two have a fifth each of the time that is
// left of the lease, or the API server's usual time plus a quarter if that is longer. The next one has all the
// rest.
func TestTimeout(t *testing.T) {
	slow := func(a *Attempts) { a.Wrote(context.DeadlineExceeded) }
	a := attempts(nil, 0)
	check := func(what string, left, want time.Duration) {
		t.Helper()
		if got := a.Timeout(left); got != want {
			t.Errorf("%s: %v of %v, want %v", what, got, left, want)
		}
	}
	check("the first", 30*time.Second, 6*time.Second)
	check("the first of a long lease", 10*time.Minute, session.FirstRequest)
	slow(a)
	check("the second", 24*time.Second, 6*time.Second)
	slow(a)
	check("the third", 18*time.Second, 18*time.Second)
	check("the third of a long lease", 10*time.Minute, 4*session.FirstRequest)
	check("without time", 0, leastPause)
	check("too late", -time.Second, leastPause)
	a.Wrote(conflict) // The server answers again, so it is not slow any more.
	check("after an answer", 30*time.Second, 6*time.Second)

	a = attempts(nil, 8*time.Second)
	check("where a write takes 8 seconds", 30*time.Second, 10*time.Second)
	check("where a write takes 8 seconds, and there are 5", 5*time.Second, 5*time.Second)
	check("where a write takes 8 seconds, and there is an hour", time.Hour, 2*8*time.Second)
}

// TestLimit checks that the timeout of a request grows with the number of requests that had no answer within
// theirs.
func TestLimit(t *testing.T) {
	a := attempts(nil, 0)
	for _, want := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, time.Minute, time.Minute} {
		if got := a.Limit(time.Hour); got != want {
			t.Errorf("the limit is %v, want %v", got, want)
		}
		if got := a.Limit(time.Second); got != time.Second {
			t.Errorf("the limit is %v, although all is over in a second", got)
		}
		a.Wrote(context.DeadlineExceeded)
	}
	a.Wrote(nil)
	if got := a.Limit(time.Hour); got != session.FirstRequest {
		t.Errorf("after an answer the limit is %v", got)
	}
	if got := attempts(nil, time.Hour).Limit(time.Hour); got != session.MaxRequest {
		t.Errorf("where a write takes an hour the limit is %v", got)
	}
}

// TestPatience checks how long a conflict is doubted if the object has not changed.
func TestPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := attempts(nil, 0)
		refused := func(what string, want store.Outcome) {
			t.Helper()
			if got := a.Wrote(conflict); got != store.Stale {
				t.Errorf("%s: a write is %v", what, got)
			}
			if got := a.Unchanged(); got != want {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		refused("at first", store.Busy)
		time.Sleep(session.Patience - time.Millisecond)
		refused("for less than it is doubted", store.Busy)
		time.Sleep(time.Millisecond)
		refused("for as long as it is doubted", store.Rejected)
		refused("once it was believed", store.Busy)
		time.Sleep(session.Patience - time.Second)
		a.Wrote(nil)
		time.Sleep(2 * time.Second)
		refused("after a success", store.Busy)
		time.Sleep(session.Patience + time.Second)
		refused("after a time in which nothing was tried", store.Busy)
		time.Sleep(session.Patience)
		refused("after that", store.Rejected)
	})
}

// access doubts every denial, and counts the denials that it has to believe.
type access struct {
	doubts   bool
	believed []error
}

func (a *access) Doubts(error) bool    { return a.doubts }
func (a *access) Believe(denial error) { a.believed = append(a.believed, denial) }

// TestDenials checks that a denial is believed at once if there is no reason to doubt it, and otherwise after
// the same time as other refusals.
func TestDenials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if got := attempts(nil, 0).Wrote(forbidden); got != store.Rejected {
			t.Errorf("without access: %v", got)
		}
		if got := attempts(&access{}, 0).Read(forbidden); got != store.Rejected {
			t.Errorf("without a doubt: %v", got)
		}
		had := &access{doubts: true}
		a := attempts(had, 0)
		for range 15 {
			if got := a.Wrote(forbidden); got != store.Busy || len(had.believed) > 0 {
				t.Fatalf("in doubt: %v, believed %v", got, had.believed)
			}
			time.Sleep(session.Patience / 15)
		}
		if got := a.Wrote(forbidden); got != store.Rejected || len(had.believed) != 1 || !errors.Is(had.believed[0], forbidden) {
			t.Errorf("after that: %v, believed %v", got, had.believed)
		}
	})
}

// TestReads checks which failed reads may be repeated.
func TestReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, err := range []error{context.DeadlineExceeded, errors.New("reset"), busy(1), apierrors.NewInternalError(errors.New("oops"))} {
			if got := attempts(nil, 0).Read(err); got != store.Busy {
				t.Errorf("after %v: %v", err, got)
			}
		}
		if got := attempts(nil, 0).Read(apierrors.NewBadRequest("no")); got != store.Rejected {
			t.Errorf("after a bad request: %v", got)
		}
		a := attempts(nil, 0) // For example a 410 of a proxy.
		if got := a.Read(gone); got != store.Busy {
			t.Errorf("at first: %v", got)
		}
		time.Sleep(session.Patience)
		if got := a.Read(gone); got != store.Rejected {
			t.Errorf("after a while: %v", got)
		}
	})
}

// TestRaced checks that there is no pause after the first lost race, and that there are pauses after the
// next ones, even if the API server has sent a Retry-After before.
func TestRaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := attempts(nil, 0)
		a.Wrote(busy(30))
		start := time.Now()
		if err := a.Raced(t.Context()); err != nil || time.Since(start) != 0 {
			t.Errorf("the first: %v after %v", err, time.Since(start))
		}
		if err := a.Raced(t.Context()); err != nil {
			t.Fatal(err)
		}
		within(t, "the second", time.Since(start), 20*time.Millisecond)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		for range 2 {
			if err := attempts(nil, 0).Raced(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("after the end: %v", err)
			}
		}
	})
}

// TestBecause checks that the error of a call contains the last refusal, once.
func TestBecause(t *testing.T) {
	timeout := errors.New("it took too long")
	a := attempts(nil, 0)
	if err := a.Because(timeout); err.Error() != timeout.Error() {
		t.Errorf("without an answer: %v", err)
	}
	a.Wrote(busy(1))
	a.Wrote(errors.New("reset")) // No answer.
	a.Wrote(context.DeadlineExceeded)
	err := a.Because(timeout)
	if !errors.Is(err, timeout) || !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "busy") {
		t.Errorf("after a refusal: %v", err)
	}
	if again := a.Because(err); again.Error() != err.Error() {
		t.Errorf("said twice: %v", again)
	}
	if a.Because(nil) != nil {
		t.Error("success has a reason")
	}
	if status, ok := errors.AsType[*apierrors.StatusError](a.Last()); !ok || status.ErrStatus.Code != http.StatusTooManyRequests {
		t.Errorf("the last answer is %v", a.Last())
	}
	a.Wrote(nil)
	if err := a.Because(timeout); err.Error() != timeout.Error() || a.Last() != nil {
		t.Errorf("after a success: %v, last %v", err, a.Last())
	}
}

// Bounds of package session that these tests need.
const (
	quiet      = 30 * time.Second
	leastPart  = 20
	fitting    = 3
	leastPause = 10 * time.Millisecond
)

// attempts returns the Attempts of a call whose last write took that long.
func attempts(access Access, usual time.Duration) *Attempts {
	a := New(time.Now, access)
	a.Usual = usual
	return a
}
