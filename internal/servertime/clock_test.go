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
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBoundsHoldTheServersTime draws responses with random delays from servers
// whose clocks run at slightly other rates than the local one, and checks that the
// bounds always hold the time of the server.
func TestBoundsHoldTheServersTime(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		rate := 1 + (rnd.Float64()*2-1)*drift/2
		local := time.Now()
		start := local
		offset := time.Duration(rnd.Int64N(int64(48 * time.Hour)))
		server := func(at time.Time) time.Time {
			return start.Add(offset).Add(time.Duration(float64(at.Sub(start)) * rate)).Round(0)
		}

		var c Clock
		if _, _, ok := c.Bounds(local); ok {
			t.Fatal("a clock that has seen nothing claims bounds")
		}
		narrowest := time.Hour
		for range 50 {
			sent := local
			written := sent.Add(time.Duration(rnd.Int64N(int64(300 * time.Millisecond))))
			received := written.Add(time.Duration(rnd.Int64N(int64(300 * time.Millisecond))))
			c.Observe(server(written).Truncate(time.Second), sent, received)
			local = received.Add(time.Duration(rnd.Int64N(int64(20 * time.Second))))

			lower, upper, ok := c.Bounds(local)
			if now := server(local); !ok || lower.After(now) || !upper.After(now) {
				t.Fatalf("seed %d: the server's time %v is not in [%v, %v)", seed, now, lower, upper)
			}
			narrowest = min(narrowest, upper.Sub(lower))
		}
		if narrowest >= resolution {
			t.Errorf("seed %d: 50 responses did not narrow the interval below that of one: %v", seed, narrowest)
		}
	}
}

// TestBoundsFollowAClockThatWasSet checks that a server whose clock was set is
// believed at once, in both directions.
func TestBoundsFollowAClockThatWasSet(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		var c Clock
		now := time.Now()
		date := now.Truncate(time.Second)
		c.Observe(date, now, now.Add(time.Millisecond))
		c.Observe(date.Add(step), now.Add(time.Millisecond), now.Add(2*time.Millisecond))
		lower, upper, _ := c.Bounds(now.Add(2 * time.Millisecond))
		if lower.Before(date.Add(step).Add(-time.Millisecond)) || upper.After(date.Add(step).Add(resolution+5*time.Millisecond)) {
			t.Errorf("after a step of %v: bounds [%v, %v), want one second from %v", step, lower, upper, date.Add(step))
		}
	}
}

// TestTransportReadsTheDate checks what the transport makes of good, bad and
// missing headers.
func TestTransportReadsTheDate(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		header string
		ok     bool
	}{
		{now.UTC().Format(http.TimeFormat), true},
		{"yesterday", false},
		{"", false},
	} {
		var c Clock
		answer := roundTripper(func(*http.Request) (*http.Response, error) {
			return &http.Response{Header: http.Header{"Date": {tc.header}}, Body: http.NoBody}, nil
		})
		resp, err := c.Transport(answer, time.Now).RoundTrip(&http.Request{})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if _, _, ok := c.Bounds(now); ok != tc.ok {
			t.Errorf("Date %q: bounds known is %v, want %v", tc.header, ok, tc.ok)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
