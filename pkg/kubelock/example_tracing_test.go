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
	"fmt"
	"log"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// printing is a TracerProvider that prints the name of each span when it ends. A program takes that of
// OpenTelemetry's SDK, as examples/tracing does, or otel.GetTracerProvider().
type printing struct{ noop.TracerProvider }

func (printing) Tracer(string, ...trace.TracerOption) trace.Tracer { return printingTracer{} }

type printingTracer struct{ noop.Tracer }

func (printingTracer) Start(ctx context.Context, name string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	s := printingSpan{name: name}
	return trace.ContextWithSpan(ctx, s), s
}

type printingSpan struct {
	noop.Span

	name string
}

func (s printingSpan) End(...trace.SpanEndOption) { fmt.Println(s.name) }

// TracerProvider makes spans of acquisitions, holds and releases. What a function does under Do is below the span
// of the hold.
func ExampleConfig_tracerProvider() {
	client := connect(newServer(), kubelock.Config{TracerProvider: printing{}})
	defer client.Close()

	lock := kubelock.NewLock[int](client, "report")
	_, err := lock.Do(context.Background(), func(ctx context.Context, runs int) (int, error) {
		fmt.Println("working below the span", trace.SpanFromContext(ctx).(printingSpan).name)
		return runs + 1, nil
	}, kubelock.WithName("report"))
	if err != nil {
		log.Fatal(err) //nolint:gocritic // What is deferred does not matter to a program that ends.
	}
	// Output:
	// kubelock.acquire
	// working below the span kubelock.hold
	// kubelock.hold
	// kubelock.release
}
