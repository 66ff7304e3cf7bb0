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

package engine

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/kubelock/kubelock/internal/version"
)

// The attributes of spans.
const (
	attrKey        = attribute.Key("kubelock.key")
	attrNamespace  = attribute.Key("kubelock.namespace")
	attrName       = attribute.Key("kubelock.name")
	attrTry        = attribute.Key("kubelock.try")
	attrOutcome    = attribute.Key("kubelock.outcome")
	attrLockID     = attribute.Key("kubelock.lock_id")
	attrToken      = attribute.Key("kubelock.token")
	attrHandedOver = attribute.Key("kubelock.handed_over")
	attrPlace      = attribute.Key("kubelock.queue.place")
)

// Values of the attribute "outcome", besides those of the label "result".
const (
	outcomeApplied  = "applied"
	outcomeReleased = "released"
	outcomeLost     = "lost"
	outcomeUnknown  = "unknown"
	outcomeClosed   = "closed"
)

// tracing makes spans. A nil one makes none. Spans begin and end in the goroutines of callers, and
// never under a mutex of this package: what a provider does then may take long.
type tracing struct {
	tracer    trace.Tracer
	namespace string

	mu   sync.Mutex // protects the field below
	open map[*heldSpan]struct{}
}

func newTracing(provider trace.TracerProvider, namespace string) *tracing {
	if provider == nil {
		return nil
	}
	return &tracing{
		tracer:    provider.Tracer("github.com/kubelock/kubelock/pkg/kubelock", trace.WithInstrumentationVersion(version.Version)),
		namespace: namespace,
		open:      map[*heldSpan]struct{}{},
	}
}

// start begins the span of a call. It is nil without a tracing.
func (t *tracing) start(ctx context.Context, operation string, k Key, name string, more ...attribute.KeyValue) trace.Span {
	if t == nil {
		return nil
	}
	return t.begin(ctx, operation, k, name, more)
}

// begin begins a span, which its caller ends.
func (t *tracing) begin(ctx context.Context, operation string, k Key, name string, more []attribute.KeyValue, opts ...trace.SpanStartOption) (span trace.Span) {
	opts = append(opts, trace.WithAttributes(t.attributes(k, name, more)...))
	_, span = t.tracer.Start(ctx, operation, opts...) //nolint:spancheck // See above.
	return span                                       //nolint:spancheck // See above.
}

func (t *tracing) attributes(k Key, name string, more []attribute.KeyValue) []attribute.KeyValue {
	all := append([]attribute.KeyValue{attrKey.String(k.name), attrNamespace.String(t.namespace)}, more...)
	if name != "" {
		all = append(all, attrName.String(name))
	}
	return all
}

// end ends the span of a call that failed with err, if it is not nil. expected says that this is no
// failure of the program.
func end(span trace.Span, outcome string, err error, expected bool) {
	span.SetAttributes(attrOutcome.String(outcome))
	if err != nil && !expected {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// endAcquire ends the span of a call that wanted the lock, and begins that of the hold if it has it. ctx
// is the caller's.
func (t *tracing) endAcquire(ctx context.Context, span trace.Span, k Key, name string, try bool, h *Hold, err error) {
	if span == nil {
		return
	}
	if h != nil {
		span.SetAttributes(attrLockID.String(h.lockID), attrToken.Int64(h.token), attrHandedOver.Bool(h.given))
	}
	place := 0
	if e, ok := errors.AsType[*notAcquiredError](err); ok {
		place = e.place
	} else if h != nil {
		place = h.place
	}
	if place > 0 {
		span.SetAttributes(attrPlace.Int(place))
	}
	outcome := resultOf(err)
	if errors.Is(err, ErrUnknownOutcome) {
		outcome = outcomeUnknown
	}
	end(span, outcome, err, try && errors.Is(err, ErrNotAcquired))
	if h == nil {
		return
	}
	own := []attribute.KeyValue{attrLockID.String(h.lockID), attrToken.Int64(h.token)}
	held := t.begin(ctx, "kubelock.hold", k, name, own, trace.WithTimestamp(h.begun))
	s := &heldSpan{tracing: t, span: held}
	h.span, h.name = s, name
	h.ctx = trace.ContextWithSpan(h.ctx, held) // No caller has it yet.
	t.mu.Lock()
	defer t.mu.Unlock()
	t.open[s] = struct{}{}
	s.stop = context.AfterFunc(h.ctx, func() { s.end(h.outcome()) }) // In another goroutine.
}

// heldSpan is the span of a hold. It ends once.
type heldSpan struct {
	tracing *tracing
	span    trace.Span
	stop    func() bool
}

func (s *heldSpan) end(outcome string) {
	s.tracing.mu.Lock()
	_, open := s.tracing.open[s]
	delete(s.tracing.open, s)
	s.tracing.mu.Unlock()
	if !open {
		return
	}
	var err error
	if outcome == outcomeLost {
		err = ErrLost
	}
	end(s.span, outcome, err, false)
}

// close ends the spans of holds that outlive the client.
func (t *tracing) close() {
	if t == nil {
		return
	}
	t.mu.Lock()
	open := make([]*heldSpan, 0, len(t.open))
	for s := range t.open {
		open = append(open, s)
	}
	t.mu.Unlock()
	for _, s := range open {
		s.stop()
		s.end(outcomeClosed)
	}
}

// outcome is how a hold has ended for its holder.
func (h *Hold) outcome() string {
	if errors.Is(context.Cause(h.ctx), ErrLost) {
		return outcomeLost
	}
	return outcomeReleased
}

// startRelease ends the hold's span, and begins that of a release.
func (h *Hold) startRelease(ctx context.Context) trace.Span {
	if h.span == nil {
		return nil
	}
	if h.ctx.Err() != nil {
		h.span.stop()
		h.span.end(h.outcome())
	}
	return h.client.tracing.start(ctx, "kubelock.release", h.key, h.name, attrLockID.String(h.lockID), attrToken.Int64(h.token))
}

func endRelease(span trace.Span, err error) {
	if span == nil {
		return
	}
	outcome := outcomeReleased
	switch {
	case err == nil:
	case errors.Is(err, ErrUnknownOutcome):
		outcome = outcomeUnknown
	case errors.Is(err, ErrLost):
		outcome = outcomeLost
	case errors.Is(err, ErrClosed):
		outcome = outcomeClosed
	default:
		outcome = resultError
	}
	end(span, outcome, err, false)
}

// endApply ends the span of a call that wanted to change the state.
func endApply(span trace.Span, err error) {
	if span == nil {
		return
	}
	outcome := outcomeApplied
	switch {
	case err == nil:
	case errors.Is(err, ErrUnknownOutcome):
		outcome = outcomeUnknown
	default:
		outcome = resultOf(err)
	}
	end(span, outcome, err, false)
}

// Under returns ctx with the span of the hold as the parent of what is done under it.
func (h *Hold) Under(ctx context.Context) context.Context {
	if h.span == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, h.span.span)
}
