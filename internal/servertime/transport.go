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

package servertime

import (
	"net/http"
	"time"
)

// auditID is the header by which the API server identifies each of its answers in its audit log. Answers of
// proxies and load balancers do not have it.
const auditID = "Audit-Id"

// Transport returns a round tripper that passes the Date of each API server's response to the clock. now
// returns the local time; it is called before the request is sent and after the response's headers were
// received. Responses without a readable Date header are ignored, and so are those from an HTTP cache.
func (c *Clock) Transport(next http.RoundTripper, now func() time.Time) http.RoundTripper {
	return &transport{next: next, clock: c, now: now}
}

type transport struct {
	next  http.RoundTripper
	clock *Clock
	now   func() time.Time
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := t.now()
	resp, err := t.next.RoundTrip(req)
	if err != nil {
		return resp, err
	}
	received := t.now()
	if resp.Header.Get(auditID) == "" || resp.Header.Get("Age") != "" {
		return resp, nil
	}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		t.clock.Observe(date, sent, received)
	}
	return resp, nil
}

// WrappedRoundTripper lets client-go find the transport below, to close its idle
// connections.
func (t *transport) WrappedRoundTripper() http.RoundTripper { return t.next }
