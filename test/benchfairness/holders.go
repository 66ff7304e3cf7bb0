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
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// result has the figures of one case.
type result struct {
	lost     int
	others   float64 // successful requests of the flood per second
	renewals int     // successful renewals
	refused  int     // renewals that got 429 Too Many Requests

	mu    sync.Mutex // protects the fields above and below while the case runs
	times []time.Duration
}

// quantile returns the q-quantile of the times until the answers.
func (r *result) quantile(q float64) time.Duration {
	if len(r.times) == 0 {
		return 0
	}
	slices.Sort(r.times)
	return r.times[int(q*float64(len(r.times)-1))].Round(time.Millisecond)
}

// timing is a transport that measures how long writes take.
type timing struct {
	next http.RoundTripper
	to   *result
}

func (t *timing) RoundTrip(req *http.Request) (*http.Response, error) {
	start := time.Now()
	resp, err := t.next.RoundTrip(req)
	took := time.Since(start)
	if req.Method != http.MethodPatch {
		return resp, err
	}
	t.to.mu.Lock()
	defer t.to.mu.Unlock()
	t.to.times = append(t.to.times, took) // Requests that were given up count, too.
	switch {
	case err != nil:
	case resp.StatusCode == http.StatusTooManyRequests:
		t.to.refused++
	default:
		t.to.renewals++
	}
	return resp, err
}

func (t *timing) WrappedRoundTripper() http.RoundTripper { return t.next }

// flooded holds locks, which the library renews, while that many other accounts flood the API server.
func (b *bench) flooded(ctx context.Context, accounts int) (*result, error) {
	r := &result{}
	config, err := b.as(ctx, namespace, holder)
	if err != nil {
		return nil, err
	}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &timing{next, r} })
	client, err := kubelock.NewClient(config, kubelock.Config{Namespace: namespace, Identity: "holder", LockDuration: b.lease})
	if err != nil {
		return nil, err
	}
	defer client.Close()
	holds := make([]*kubelock.Held[int], b.holders)
	for i := range holds {
		if holds[i], err = kubelock.NewLock[int](client, fmt.Sprintf("lock-%d", i)).Acquire(ctx, kubelock.WithAutoRenew()); err != nil {
			return nil, err
		}
	}
	flooding, stop := context.WithCancel(ctx)
	defer stop()
	var others atomic.Int64
	ended, err := b.flood(flooding, accounts, &others)
	if err != nil {
		stop()
		ended()
		return nil, err
	}
	select {
	case <-time.After(b.lasts):
	case <-ctx.Done():
	}
	r.others = float64(others.Load()) / b.lasts.Seconds()
	for _, held := range holds {
		if errors.Is(context.Cause(held.Context()), kubelock.ErrLost) {
			r.lost++
		}
	}
	stop()
	ended()
	for _, held := range holds {
		if err := held.Release(ctx); err != nil && !errors.Is(err, kubelock.ErrLost) {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r, errors.Join(client.Close(), ctx.Err())
}

// install applies the component, and returns when the API server uses it.
func (b *bench) install(ctx context.Context) error {
	for _, file := range []string{"priority_level.yaml", "flow_schemas.yaml"} {
		if err := b.kubectl(ctx, "apply", "-f", "config/components/flowcontrol/"+file); err != nil {
			return err
		}
	}
	schema, err := b.clients.FlowcontrolV1().FlowSchemas().Get(ctx, "kubelock-locks", metav1.GetOptions{})
	if err != nil {
		return err
	}
	config, err := b.as(ctx, namespace, holder)
	if err != nil {
		return err
	}
	var by atomic.Value
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &classifying{next, &by} })
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		clients.Discovery().RESTClient().Get().AbsPath("/apis/kubelock.dev/v1alpha1/namespaces/" + namespace + "/distributedlocks/lock-0").Do(ctx)
		return by.Load() == string(schema.UID), nil
	})
	if err != nil {
		return fmt.Errorf("the API server does not use the FlowSchema: %w", err)
	}
	return nil
}

// classifying is a transport that records the FlowSchema of the last answer.
type classifying struct {
	next http.RoundTripper
	by   *atomic.Value
}

func (c *classifying) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.next.RoundTrip(req)
	if err == nil {
		c.by.Store(resp.Header.Get("X-Kubernetes-Pf-Flowschema-Uid"))
	}
	return resp, err
}

func (c *classifying) WrappedRoundTripper() http.RoundTripper { return c.next }
