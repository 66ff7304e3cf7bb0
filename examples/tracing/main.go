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

// The program tracing shows where the time of a report goes: waiting for the lock, holding it, and the
// work under it. It prints its spans; a program in production exports them to a collector by
// OpenTelemetry's OTLP exporter instead.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	loading := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	config, err := loading.ClientConfig()
	if err != nil {
		return err
	}
	namespace, _, err := loading.Namespace()
	if err != nil {
		return err
	}
	exporter, err := stdouttrace.New(stdouttrace.WithPrettyPrint())
	if err != nil {
		return err
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))
	defer func() { // After the client: holds that outlive it end with it.
		if down := provider.Shutdown(context.WithoutCancel(ctx)); err == nil {
			err = down
		}
	}()
	client, err := kubelock.NewClient(config, kubelock.Config{Namespace: namespace, TracerProvider: provider})
	if err != nil {
		return err
	}
	defer client.Close()
	return report(ctx, provider, client)
}

// report makes a report under a lock, as a part of one trace.
func report(ctx context.Context, provider trace.TracerProvider, client *kubelock.Client) error {
	tracer := provider.Tracer("example")
	ctx, span := tracer.Start(ctx, "nightly report")
	defer span.End()

	lock := kubelock.NewLock[int](client, "report-2026-11")
	_, err := lock.Do(ctx, func(ctx context.Context, runs int) (int, error) {
		_, work := tracer.Start(ctx, "compute") // A child of the hold's span.
		defer work.End()
		<-time.After(10 * time.Millisecond)
		return runs + 1, nil
	}, kubelock.WithName("report"))
	return err
}
