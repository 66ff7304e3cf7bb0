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
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// spans is a TracerProvider that keeps its spans. OpenTelemetry's own is in its SDK, which this
// module does not need: examples/tracing uses it.
type spans struct {
	noop.TracerProvider

	mu  sync.Mutex
	all []*span
}

type span struct {
	noop.Span

	of         *spans
	name       string
	parent     string
	start, end time.Time
	attributes map[attribute.Key]attribute.Value
	status     codes.Code
	ends       int
}

// tracer is what makes them.
type tracer struct {
	noop.Tracer

	*spans
}

func (s *spans) Tracer(string, ...trace.TracerOption) trace.Tracer { return tracer{spans: s} }

func (s tracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	cfg := trace.NewSpanStartConfig(opts...)
	one := &span{of: s.spans, name: name, start: cfg.Timestamp(), attributes: map[attribute.Key]attribute.Value{}}
	if parent, ok := trace.SpanFromContext(ctx).(*span); ok {
		one.parent = parent.name
	}
	one.SetAttributes(cfg.Attributes()...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, one)
	return trace.ContextWithSpan(ctx, one), one
}

func (s *span) SetAttributes(attributes ...attribute.KeyValue) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	for _, a := range attributes {
		s.attributes[a.Key] = a.Value
	}
}

func (s *span) SetStatus(code codes.Code, _ string) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.status = code
}

func (s *span) End(...trace.SpanEndOption) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.ends++
	s.end = time.Now()
}

// take returns the spans since the last call, as text in the order in which they began, and checks that
// each has ended once.
func (s *spans) take(t *testing.T) []string {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	texts := make([]string, 0, len(s.all))
	for _, one := range s.all {
		if one.ends != 1 {
			t.Errorf("the span %s has ended %d times", one.name, one.ends)
		}
		text := strings.TrimPrefix(one.name, "kubelock.") + " < " + one.parent + ":"
		for _, key := range slices.Sorted(maps.Keys(one.attributes)) {
			switch value := one.attributes[key]; key {
			case "kubelock.key", "kubelock.namespace":
				if value.AsString() == "" {
					t.Errorf("the span %s has no %s", one.name, key)
				}
			case "kubelock.lock_id", "kubelock.token":
				text += " " + strings.TrimPrefix(string(key), "kubelock.")
			default:
				text += fmt.Sprintf(" %s=%s", strings.TrimPrefix(string(key), "kubelock."), value.String())
			}
		}
		if one.status == codes.Error {
			text += " Error"
		}
		texts = append(texts, text)
	}
	s.all = nil
	return texts
}

// with returns a context that has a span of the caller's.
func (s *spans) with(ctx context.Context) context.Context {
	return trace.ContextWithSpan(ctx, &span{of: s, name: "caller", attributes: map[attribute.Key]attribute.Value{}})
}

func wantSpans(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the spans are\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// TestSpans looks at the spans of each way for a call and for a hold to end.
func TestSpans(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, server := &spans{}, kubelocktest.NewServer(t)
		a := server.NewClient(t, kubelock.Config{TracerProvider: s})
		b := server.NewClient(t, kubelock.Config{TracerProvider: s})
		ctx := s.with(t.Context())
		lock, other := kubelock.NewLock[string](a, "k"), kubelock.NewLock[string](b, "k")

		// Do: the function's work is under the hold.
		if _, err := lock.Do(ctx, func(ctx context.Context, text string) (string, error) {
			if parent, ok := trace.SpanFromContext(ctx).(*span); !ok || parent.name != "kubelock.hold" {
				t.Errorf("the function's context has the span %+v", parent)
			}
			<-time.After(time.Second)
			return text + "1", nil
		}, kubelock.WithName("report")); err != nil {
			t.Fatal(err)
		}
		hold := s.all[1]
		if took := hold.end.Sub(hold.start); took < time.Second || took > 2*time.Second {
			t.Errorf("the hold's span lasts for %v, the hold did for a second", took)
		}
		wantSpans(t, s.take(t),
			"acquire < caller: handed_over=false lock_id name=report outcome=acquired token try=false",
			"hold < caller: lock_id name=report outcome=released token",
			"release < caller: lock_id name=report outcome=released token")

		// A hand-over, with a place in the queue, and a lock that another client has.
		held := acquire(t, lock)
		if parent, ok := trace.SpanFromContext(held.Context()).(*span); !ok || parent.name != "kubelock.hold" {
			t.Errorf("the hold's context has the span %+v", parent)
		}
		if _, err := other.TryAcquire(ctx); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Error(err)
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if _, err := other.Acquire(short); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Error(err)
		}
		waiting := startAcquire(ctx, other)
		<-time.After(10 * time.Second)
		synctest.Wait()
		release(t, held)
		next := waiting.get(t)
		release(t, next)
		wantSpans(t, s.take(t),
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=released token",
			"acquire < caller: outcome=not_acquired try=true",
			"acquire < caller: outcome=not_acquired queue.place=1 try=false Error",
			"acquire < caller: handed_over=true lock_id outcome=acquired queue.place=1 token try=false",
			"release < : lock_id outcome=released token",
			"hold < caller: lock_id outcome=released token",
			"release < : lock_id outcome=released token")

		<-time.After(time.Second) // What is remembered of the hand-over is old then.
		synctest.Wait()

		// A client that has left the queue has no place in it when it comes to a free lock.
		held = acquire(t, lock)
		short, cancel = context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		if _, err := other.Acquire(short); !errors.Is(err, kubelock.ErrNotAcquired) {
			t.Error(err)
		}
		<-time.After(time.Second)
		release(t, held)
		<-time.After(time.Second)
		release(t, acquire(t, other))
		wantSpans(t, s.take(t),
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=released token",
			"acquire < caller: outcome=not_acquired queue.place=1 try=false Error",
			"release < : lock_id outcome=released token",
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=released token",
			"release < : lock_id outcome=released token")
		<-time.After(time.Second)
		synctest.Wait()

		// A hold that is lost, and one that outlives the client.
		held = acquire(t, lock, kubelock.WithDuration(time.Second))
		<-held.Context().Done()
		synctest.Wait() // The span ends in a goroutine of its own.
		if err := held.Release(ctx); !errors.Is(err, kubelock.ErrLost) {
			t.Error(err)
		}
		acquire(t, lock)
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if _, err := lock.Acquire(ctx); !errors.Is(err, kubelock.ErrClosed) {
			t.Error(err)
		}
		wantSpans(t, s.take(t),
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=lost token Error",
			"release < caller: lock_id outcome=lost token Error",
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=closed token")

		// Apply, with and without an error.
		counter := kubelock.NewLock[int](b, "counter")
		failure := errors.New("no")
		for _, err := range []error{nil, failure} {
			if _, got := counter.Apply(ctx, func(n int) (int, error) { return n + 1, err }, kubelock.WithName("count")); !errors.Is(got, err) {
				t.Error(got)
			}
		}
		wantSpans(t, s.take(t), "apply < caller: name=count outcome=applied", "apply < caller: name=count outcome=error Error")
	})
}

// TestSpansOfAnUnknownOutcome says so.
func TestSpansOfAnUnknownOutcome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, server := &spans{}, kubelocktest.NewServer(t)
		lock := kubelock.NewLock[int](server.NewClient(t, kubelock.Config{TracerProvider: s}), "k")
		held := acquire(t, lock)
		reconnect := server.Disconnect()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := held.Release(ctx); !errors.Is(err, kubelock.ErrUnknownOutcome) {
			t.Error(err)
		}
		reconnect()
		wantSpans(t, s.take(t),
			"acquire < : handed_over=false lock_id outcome=acquired token try=false",
			"hold < : lock_id outcome=released token",
			"release < : lock_id outcome=unknown token Error")
	})
}
