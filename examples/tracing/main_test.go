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

package main

import (
	"context"
	"os"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

var env *testenv.Env

func TestMain(m *testing.M) {
	os.Exit(testenv.MainOrMemory(m, func(e *testenv.Env) { env = e }))
}

// TestReport exports what two clients do to a collector in memory. The second one waits for the first.
func TestReport(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	collector := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(collector))
	t.Cleanup(func() { // After the clients are closed.
		if err := provider.Shutdown(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	ns := env.Namespace(t)
	connect := func() *kubelock.Client {
		client, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: ns, TracerProvider: provider})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := client.Close(); err != nil {
				t.Error(err)
			}
		})
		return client
	}
	first := kubelock.NewLock[int](connect(), "report-2026-11")
	held, err := first.Acquire(ctx, kubelock.WithName("backfill"))
	if err != nil {
		t.Fatal(err)
	}
	reported := make(chan error, 1)
	go func() { reported <- report(ctx, provider, connect()) }()
	env.Watch(t, ns).Until(time.Minute, "report-2026-11", "queued for", func(v testenv.Version) bool { return len(v.Spec.Waiters) == 1 })
	if err := held.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if err := <-reported; err != nil {
		t.Fatal(err)
	}
	if err := provider.ForceFlush(ctx); err != nil {
		t.Fatal(err)
	}

	spans := map[string]tracetest.SpanStub{}
	for _, s := range collector.GetSpans() {
		if text(s, "kubelock.name") != "backfill" {
			spans[s.Name] = s
		}
	}
	root, acquire, hold := spans["nightly report"], spans["kubelock.acquire"], spans["kubelock.hold"]
	for name, parent := range map[string]tracetest.SpanStub{
		"kubelock.acquire": root, "kubelock.hold": root, "kubelock.release": root, "compute": hold,
	} {
		s, ok := spans[name]
		if !ok || s.Parent.SpanID() != parent.SpanContext.SpanID() || s.SpanContext.TraceID() != root.SpanContext.TraceID() {
			t.Errorf("the span %s is %+v, want it below %s", name, s, parent.Name)
		}
		if name != "compute" && (text(s, "kubelock.name") != "report" || text(s, "kubelock.key") != "report-2026-11" || text(s, "kubelock.token") == "") {
			t.Errorf("the span %s has the attributes %v", name, s.Attributes)
		}
	}
	if text(acquire, "kubelock.outcome") != "acquired" || text(acquire, "kubelock.queue.place") != "1" || text(acquire, "kubelock.handed_over") != "true" {
		t.Errorf("the acquisition has the attributes %v", acquire.Attributes)
	}
	if hold.StartTime.Before(acquire.StartTime) || hold.EndTime.Before(spans["compute"].EndTime) {
		t.Errorf("the hold lasts from %v to %v", hold.StartTime, hold.EndTime)
	}
}

func text(s tracetest.SpanStub, key attribute.Key) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.String()
		}
	}
	return ""
}
