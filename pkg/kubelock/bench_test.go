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
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// traffic counts what one client sends and gets.
type traffic struct {
	next           http.RoundTripper
	requests       atomic.Int64
	sent, received atomic.Int64 // bytes of bodies
}

type countedBody struct {
	io.ReadCloser

	bytes *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.bytes.Add(int64(n))
	return n, err
}

// RoundTrip implements http.RoundTripper.
func (c *traffic) RoundTrip(req *http.Request) (*http.Response, error) {
	c.requests.Add(1)
	c.sent.Add(max(req.ContentLength, 0))
	resp, err := c.next.RoundTrip(req)
	if err == nil {
		resp.Body = &countedBody{resp.Body, &c.received}
	}
	return resp, err
}

// WrappedRoundTripper lets client-go see what is behind it.
func (c *traffic) WrappedRoundTripper() http.RoundTripper { return c.next }

// BenchmarkCycle measures an acquisition, a change of the state and a release of a lock
// that nobody else wants, on the real API server, for each kind of object.
func BenchmarkCycle(b *testing.B) {
	for _, size := range []int{100, 100 << 10} {
		for _, backend := range []kubelock.Backend{kubelock.DistributedLocks, kubelock.Leases, kubelock.ConfigMaps} {
			b.Run(fmt.Sprintf("state=%dB/%s", size, backend), func(b *testing.B) {
				config, c := rest.CopyConfig(env.Config), &traffic{}
				config.Wrap(func(next http.RoundTripper) http.RoundTripper {
					c.next = next
					return c
				})
				l := kubelock.NewLock[string](newClientFor(b, config, kubelock.Config{Namespace: env.Namespace(b), Backend: backend}), "bench")
				release(b, acquire(b, l)) // Creates the object.
				requests, sent, received := c.requests.Load(), c.sent.Load(), c.received.Load()
				state := strings.Repeat("x", size-4)
				for n := 0; b.Loop(); n++ {
					release(b, acquire(b, l).Update(fmt.Sprintf("%02d%s", n%100, state)))
				}
				each := func(now, before int64) float64 { return float64(now-before) / float64(b.N) }
				b.ReportMetric(each(c.requests.Load(), requests), "requests/op")
				b.ReportMetric(each(c.sent.Load(), sent), "B-sent/op")
				b.ReportMetric(each(c.received.Load(), received), "B-received/op")
			})
		}
	}
}
