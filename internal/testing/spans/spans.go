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

// Package spans records OpenTelemetry's spans in memory. OpenTelemetry's own recorder is in its SDK, which this
// module does not need: examples/tracing uses it.
package spans

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Recorder is a TracerProvider that keeps its spans. Its zero value is ready.
type Recorder struct {
	noop.TracerProvider

	mu  sync.Mutex // protects the field below, and what is in it
	all []*span
}

type span struct {
	noop.Span

	of         *Recorder
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

	of *Recorder
}

// Tracer implements trace.TracerProvider.
func (r *Recorder) Tracer(string, ...trace.TracerOption) trace.Tracer { return tracer{of: r} }

// Start implements trace.Tracer.
func (t tracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	cfg := trace.NewSpanStartConfig(opts...)
	one := &span{of: t.of, name: name, parent: Of(ctx), start: cfg.Timestamp(), attributes: map[attribute.Key]attribute.Value{}}
	one.SetAttributes(cfg.Attributes()...)
	t.of.mu.Lock()
	defer t.of.mu.Unlock()
	t.of.all = append(t.of.all, one)
	return trace.ContextWithSpan(ctx, one), one
}

// SetAttributes implements trace.Span.
func (s *span) SetAttributes(attributes ...attribute.KeyValue) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	for _, a := range attributes {
		s.attributes[a.Key] = a.Value
	}
}

// SetStatus implements trace.Span.
func (s *span) SetStatus(code codes.Code, _ string) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.status = code
}

// End implements trace.Span.
func (s *span) End(...trace.SpanEndOption) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.ends++
	s.end = time.Now()
}

// With returns a context that has a span of the caller's.
func (r *Recorder) With(ctx context.Context) context.Context {
	return trace.ContextWithSpan(ctx, &span{of: r, name: "caller", attributes: map[attribute.Key]attribute.Value{}})
}

// Of returns the name of the recorded span that ctx has, or nothing.
func Of(ctx context.Context) string {
	if s, ok := trace.SpanFromContext(ctx).(*span); ok {
		return s.name
	}
	return ""
}

// Took returns how long the span lasted that began last under that name.
func (r *Recorder) Took(name string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, one := range slices.Backward(r.all) {
		if one.name == name {
			return one.end.Sub(one.start)
		}
	}
	return 0
}

// Take returns the spans since the last call, as text in the order in which they began, and checks that
// each has ended once and says which lock it is about.
func (r *Recorder) Take(t testing.TB) []string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	texts := make([]string, 0, len(r.all))
	for _, one := range r.all {
		if one.ends != 1 {
			t.Errorf("the span %s has ended %d times", one.name, one.ends)
		}
		var text strings.Builder
		text.WriteString(strings.TrimPrefix(one.name, "kubelock.") + " < " + one.parent + ":")
		for _, key := range slices.Sorted(maps.Keys(one.attributes)) {
			switch value := one.attributes[key]; key {
			case "kubelock.key", "kubelock.namespace":
				if value.AsString() == "" {
					t.Errorf("the span %s has no %s", one.name, key)
				}
			case "kubelock.lock_id", "kubelock.token":
				text.WriteString(" " + strings.TrimPrefix(string(key), "kubelock."))
			default:
				fmt.Fprintf(&text, " %s=%s", strings.TrimPrefix(string(key), "kubelock."), value.String())
			}
		}
		if one.status == codes.Error {
			text.WriteString(" Error")
		}
		texts = append(texts, text.String())
	}
	r.all = nil
	return texts
}

// Check checks what Take returned.
func Check(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the spans are\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}
