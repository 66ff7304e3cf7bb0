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
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// Tests of requests that are refused, and of those that take long.

// refusal is an answer that refuses a request.
type refusal struct {
	code       int
	text       string
	retryAfter int
	page       bool // a page of a proxy, and no Status
	details    *metav1.StatusDetails
}

func (f refusal) answer(req *http.Request) *http.Response {
	if req.Body != nil {
		_ = req.Body.Close()
	}
	header := http.Header{"Content-Type": {"application/json"}}
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusFailure, Code: int32(f.code), Message: f.text, Details: f.details, //nolint:gosec // A code of HTTP.
	})
	if err != nil {
		panic(err) // It is of a known type.
	}
	if f.page {
		body = []byte(f.text)
		header.Set("Content-Type", "text/html")
	}
	if f.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(f.retryAfter))
	}
	return &http.Response{StatusCode: f.code, Header: header, Body: io.NopCloser(bytes.NewReader(body)), Request: req}
}

// gate is what stands before a server: it notes when requests come, and may refuse them.
type gate struct {
	mu     sync.Mutex // protects the fields below
	times  []time.Time
	refuse func(verb string) *refusal // nil lets a request pass
	delay  time.Duration              // of writes
}

func newGate(server *kubelocktest.Server) *gate {
	g := &gate{}
	server.Intercept(func(req *http.Request, next http.RoundTripper) (*http.Response, error) {
		verb := verbOf(req)
		g.mu.Lock()
		refuse, delay := g.refuse, g.delay
		if verb != "watch" {
			g.times = append(g.times, time.Now())
		}
		g.mu.Unlock()
		if refuse != nil {
			if f := refuse(verb); f != nil {
				return f.answer(req), nil
			}
		}
		if delay > 0 && req.Method != http.MethodGet {
			select {
			case <-time.After(delay):
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}
		return next.RoundTrip(req)
	})
	return g
}

// on sets what is refused from now on, and forgets what has come.
func (g *gate) on(refuse func(verb string) *refusal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refuse, g.times = refuse, nil
}

// writes refuses all writes.
func (f refusal) writes(verb string) *refusal {
	if verb == "get" || verb == "watch" {
		return nil
	}
	return &f
}

// first refuses the first request of those verbs.
func (f refusal) first(verbs ...string) func(string) *refusal {
	var once sync.Once
	return func(verb string) (hit *refusal) {
		if slices.Contains(verbs, verb) {
			once.Do(func() { hit = &f })
		}
		return hit
	}
}

// most is how many requests came within ten seconds.
func (g *gate) most() (most int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i, from := range g.times {
		n := 0
		for _, at := range g.times[i:] {
			if at.Sub(from) < 10*time.Second {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}

const webhookText = `admission webhook "w.example.com" denied the request: image cannot be verified`

// TestDenialsAreBounded refuses all writes of each call, in words that usually mean that the
// object has changed: the call must not repeat them without a pause, comes to an end, and its
// error has those words.
func TestDenialsAreBounded(t *testing.T) {
	t.Parallel()
	const lease = 30 * time.Second
	held := func(ctx context.Context, l *kubelock.Lock[string]) (*kubelock.Held[string], error) {
		return l.Acquire(ctx)
	}
	type call struct {
		name string
		// before is done while nothing is refused yet.
		before func(ctx context.Context, l *kubelock.Lock[string]) (*kubelock.Held[string], error)
		do     func(ctx context.Context, l *kubelock.Lock[string], h *kubelock.Held[string]) error
	}
	calls := []call{
		{"Acquire that creates", nil, func(ctx context.Context, l *kubelock.Lock[string], _ *kubelock.Held[string]) error {
			_, err := l.Acquire(ctx)
			return err
		}},
		{"Acquire", func(ctx context.Context, l *kubelock.Lock[string]) (*kubelock.Held[string], error) {
			h, err := l.Acquire(ctx)
			if err != nil {
				return nil, err
			}
			return nil, h.Release(ctx)
		}, func(ctx context.Context, l *kubelock.Lock[string], _ *kubelock.Held[string]) error {
			_, err := l.Acquire(ctx)
			return err
		}},
		{"Save", held, func(ctx context.Context, _ *kubelock.Lock[string], h *kubelock.Held[string]) error {
			return h.Update("b").Save(ctx)
		}},
		{"Renew", held, func(ctx context.Context, _ *kubelock.Lock[string], h *kubelock.Held[string]) error {
			return h.Renew(ctx)
		}},
		{"Release", held, func(ctx context.Context, _ *kubelock.Lock[string], h *kubelock.Held[string]) error {
			return h.Release(ctx)
		}},
		{"Release with state", held, func(ctx context.Context, _ *kubelock.Lock[string], h *kubelock.Held[string]) error {
			return h.Update("b").Release(ctx)
		}},
		{"Delete", func(ctx context.Context, l *kubelock.Lock[string]) (*kubelock.Held[string], error) {
			_, err := l.Do(ctx, func(context.Context, string) (string, error) { return "a", nil })
			return nil, err
		}, func(ctx context.Context, l *kubelock.Lock[string], _ *kubelock.Held[string]) error {
			return l.Delete(ctx)
		}},
	}
	for _, c := range calls {
		for _, code := range []int{http.StatusConflict, http.StatusGone, http.StatusNotFound, http.StatusUnprocessableEntity} {
			for who, text := range map[string]string{"webhook": webhookText, "proxy": "the filter does not let this through"} {
				t.Run(fmt.Sprintf("%s %d of a %s", c.name, code, who), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						server := kubelocktest.NewServer(t)
						g := newGate(server)
						l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{LockDuration: lease}), "key")
						ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
						defer cancel()
						var h *kubelock.Held[string]
						if c.before != nil {
							var err error
							if h, err = c.before(ctx, l); err != nil {
								t.Fatal(err)
							}
						}
						g.on(refusal{code: code, text: text}.writes)
						begun := time.Now()
						err := c.do(ctx, l, h)
						if took := time.Since(begun); took > lease+time.Second {
							t.Errorf("ended after %v", took)
						}
						if err == nil || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "no permission") {
							t.Errorf("the error is %v, want the words of the refusal", err)
						}
						if most := g.most(); most > 30 {
							t.Errorf("%d requests within ten seconds", most)
						}
					})
				})
			}
		}
	}
}

// TestDenialAfterTheWait has the context of an Acquire end while its writes are refused.
func TestDenialAfterTheWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		server := kubelocktest.NewServer(t)
		g := newGate(server)
		l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "key")
		g.on(refusal{code: http.StatusConflict, text: "not on Sundays"}.writes)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := l.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "not on Sundays") {
			t.Errorf("Acquire: %v", err)
		}
		if most := g.most(); most > 30 {
			t.Errorf("%d requests within ten seconds", most)
		}
	})
}

// TestDeniedTakeBack has an acquisition be abandoned while its write is under way, and what
// gives the lock back be refused.
func TestDeniedTakeBack(t *testing.T) {
	t.Parallel()
	for _, text := range []string{webhookText, "no"} {
		synctest.Test(t, func(t *testing.T) {
			server := kubelocktest.NewServer(t)
			g := newGate(server)
			l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "key")
			g.delay = time.Second
			ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
			defer cancel()
			if _, err := l.Acquire(ctx); !errors.Is(err, kubelock.ErrUnknownOutcome) {
				t.Errorf("Acquire: %v", err)
			}
			<-time.After(time.Second * 3 / 4)
			g.on(refusal{code: http.StatusConflict, text: text}.writes)
			<-time.After(time.Minute)
			if most := g.most(); most > 30 {
				t.Errorf("%d requests within ten seconds", most)
			}
		})
	}
}

// TestDeniedRenewals has all renewals of a hold be refused that is renewed in the background.
func TestDeniedRenewals(t *testing.T) {
	t.Parallel()
	for _, f := range []refusal{
		{code: http.StatusConflict, text: webhookText}, {code: http.StatusForbidden, text: webhookText}, {code: http.StatusConflict, text: "no"},
		{code: http.StatusUnauthorized, text: "no"}, {code: http.StatusTooManyRequests, text: "no"}, {code: http.StatusServiceUnavailable, text: "no"},
	} {
		synctest.Test(t, func(t *testing.T) {
			server := kubelocktest.NewServer(t)
			g := newGate(server)
			l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "key")
			held, err := l.Acquire(t.Context(), kubelock.WithAutoRenew())
			if err != nil {
				t.Fatal(err)
			}
			g.on(f.writes)
			<-held.Context().Done()
			if most := g.most(); most > 40 {
				t.Errorf("%d %s: %d requests within ten seconds", f.code, f.text, most)
			}
		})
	}
}

// TestLongRetryAfter has the API server ask once for more patience than the lease has.
func TestLongRetryAfter(t *testing.T) {
	t.Parallel()
	busy := refusal{code: http.StatusTooManyRequests, text: "Too many requests, please try again later.", page: true, retryAfter: 32}
	for name, call := range map[string]func(ctx context.Context, l *kubelock.Lock[string], g *gate) error{
		"Save": func(ctx context.Context, l *kubelock.Lock[string], g *gate) error {
			held, err := l.Acquire(ctx)
			if err != nil {
				return err
			}
			g.on(busy.first("patch"))
			return held.Update("a").Save(ctx)
		},
		"Release": func(ctx context.Context, l *kubelock.Lock[string], g *gate) error {
			held, err := l.Acquire(ctx)
			if err != nil {
				return err
			}
			g.on(busy.first("update"))
			return held.Update("a").Release(ctx)
		},
		"Do": func(ctx context.Context, l *kubelock.Lock[string], g *gate) error {
			_, err := l.Do(ctx, func(context.Context, string) (string, error) {
				g.on(busy.first("update"))
				return "a", nil
			})
			return err
		},
		"a renewal in the background": func(ctx context.Context, l *kubelock.Lock[string], g *gate) error {
			_, err := l.Do(ctx, func(ctx context.Context, _ string) (string, error) {
				g.on(busy.first("patch"))
				select {
				case <-ctx.Done():
				case <-time.After(time.Minute):
				}
				return "a", nil
			}, kubelock.WithAutoRenew())
			return err
		},
		"TryAcquire": func(ctx context.Context, l *kubelock.Lock[string], g *gate) error {
			g.on(busy.first("create"))
			_, err := l.TryAcquire(ctx)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				server := kubelocktest.NewServer(t)
				g := newGate(server)
				l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "key")
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				if err := call(ctx, l, g); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestSlowWrites has each write take about as long as a webhook does that is not there: a hold
// lasts while it is renewed, and the state of a Do is written.
func TestSlowWrites(t *testing.T) {
	t.Parallel()
	for _, latency := range []time.Duration{6 * time.Second, 8 * time.Second, 10 * time.Second, 10500 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			server := kubelocktest.NewServer(t)
			g := newGate(server)
			g.delay = latency
			l := kubelock.NewLock[string](server.NewClient(t, kubelock.Config{}), "key")
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			_, err := l.Do(ctx, func(ctx context.Context, _ string) (string, error) {
				select {
				case <-ctx.Done():
					return "", context.Cause(ctx)
				case <-time.After(3 * time.Minute):
				}
				return "a", nil
			}, kubelock.WithAutoRenew())
			if err != nil {
				t.Errorf("with a latency of %v: %v", latency, err)
			}
			if got, err := l.Get(ctx); err != nil || got.Value != "a" || got.Held {
				t.Errorf("with a latency of %v: %+v, %v", latency, got, err)
			}
		})
	}
}
