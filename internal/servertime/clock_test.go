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

	"github.com/kubelock/kubelock/internal/protocol"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBoundsHoldTheServersTime draws responses with random delays from servers whose clocks run slightly
// faster or slower than the local one. It checks that the server's time always lies within the bounds.
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
		if _, _, ok := c.Reading().Bounds(local); ok {
			t.Fatal("a clock that has seen nothing claims bounds")
		}
		narrowest := time.Hour
		for range 50 {
			sent := local
			written := sent.Add(time.Duration(rnd.Int64N(int64(300 * time.Millisecond))))
			received := written.Add(time.Duration(rnd.Int64N(int64(300 * time.Millisecond))))
			learn := []func(*Clock, time.Time, time.Time, time.Time){(*Clock).Observe, (*Clock).Told}[rnd.IntN(2)]
			learn(&c, server(written).Truncate(time.Second), sent, received)
			local = received.Add(time.Duration(rnd.Int64N(int64(20 * time.Second))))

			lower, upper, ok := c.Reading().Bounds(local)
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

// TestBoundsFollowAClockThatWasSet checks a server whose clock was set, in both directions. Stamps follow it
// at once, and expiry is not judged by it for a while.
func TestBoundsFollowAClockThatWasSet(t *testing.T) {
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		var c Clock
		now := time.Now()
		date := now.Truncate(time.Second)
		c.Told(date, now, now.Add(time.Millisecond))
		if !c.Reading().Judge(now.Add(time.Millisecond), time.Second).Compares(protocol.Server) {
			t.Error("expiry is not judged by the told time")
		}
		c.Told(date.Add(step), now.Add(time.Millisecond), now.Add(2*time.Millisecond))
		for after, judges := range map[time.Duration]bool{2 * time.Millisecond: false, settled / 2: false, settled + time.Second: true} {
			at := now.Add(after)
			c := c.copied()
			c.Told(date.Add(step).Add(after).Truncate(time.Second), at, at)
			if got := c.Reading().Judge(at, time.Second).Compares(protocol.Server); got != judges {
				t.Errorf("%v after a step of %v: judging by the server's time is %v", after, step, got)
			}
		}
		lower, upper, _ := c.Reading().Bounds(now.Add(2 * time.Millisecond))
		if lower.Before(date.Add(step).Add(-time.Millisecond)) || upper.After(date.Add(step).Add(resolution+5*time.Millisecond)) {
			t.Errorf("after a step of %v: bounds [%v, %v), want one second from %v", step, lower, upper, date.Add(step))
		}
	}
}

func (c *Clock) copied() *Clock {
	var other Clock
	other.current.Store(c.Reading())
	return &other
}

// TestHintsDecideNothing checks that expiry is not judged by a Date that contradicts told times, nor by a
// Date alone.
func TestHintsDecideNothing(t *testing.T) {
	for _, off := range []time.Duration{45 * time.Second, -45 * time.Second} {
		var c Clock
		now := time.Now()
		wrong := now.Add(off).Truncate(time.Second)
		c.Observe(wrong, now, now)
		if c.Reading().Judge(now, time.Second).Compares(protocol.Server) {
			t.Errorf("off by %v: a Date alone is judged by", off)
		}
		if !c.Reading().Guess(now, time.Second).Compares(protocol.Server) {
			t.Errorf("off by %v: a Date does not tell when to ask", off)
		}
		first := c.Reading().Stamp(now)
		if first.Source != protocol.Server || first.Time.Before(wrong.Add(2*resolution)) {
			t.Errorf("off by %v: the stamp is %+v, want two seconds after the Date %v", off, first, wrong)
		}
		if c.Reading().Covers(first, now) {
			t.Errorf("off by %v: a stamp counts that the server has not confirmed", off)
		}
		c.Told(now.Truncate(time.Second), now, now)
		if got := c.Reading().Covers(first, now); got != (off > 0) {
			t.Errorf("off by %v: the stamp covers the hold: %v", off, got)
		}
		c.Observe(wrong, now, now)
		if c.Reading().Judge(now, time.Second).Compares(protocol.Server) {
			t.Errorf("off by %v: expiry is judged by the told time though a Date contradicts it", off)
		}
		if stamp := c.Reading().Stamp(now); stamp.Time.Sub(now.Truncate(time.Second)) > resolution+time.Microsecond {
			t.Errorf("off by %v: the stamp is %v after the told time", off, stamp.Time.Sub(now))
		}
		if by := c.Reading().HintContradicts(now); by < 43*time.Second || by > 45*time.Second {
			t.Errorf("off by %v: contradicts by %v", off, by)
		}
		c.Told(now.Truncate(time.Second), now, now)
		if !c.Reading().Judge(now, time.Second).Compares(protocol.Server) {
			t.Errorf("off by %v: expiry is not judged by the next told time", off)
		}
		if c.Reading().Judge(now.Add(recent+time.Second), time.Second).Compares(protocol.Server) {
			t.Errorf("off by %v: expiry is judged by a told time of long ago", off)
		}
	}
}

// TestServerThatDoesNotStamp checks that writes are stamped by the node's clock if the server stamps nothing.
func TestServerThatDoesNotStamp(t *testing.T) {
	var c Clock
	now := time.Now()
	c.Observe(now.Truncate(time.Second), now, now)
	c.Untold()
	if stamp := c.Reading().Stamp(now); stamp.Source != protocol.Node || !c.Reading().Covers(stamp, now) {
		t.Errorf("the stamp is %+v", stamp)
	}
}

// TestOldBoundsDoNotStamp checks that writes are not stamped by bounds that are minutes old, but are stamped
// by the bounds of a new read.
func TestOldBoundsDoNotStamp(t *testing.T) {
	var c Clock
	now := time.Now()
	if !c.Reading().Fresh(now) {
		t.Error("without bounds, a read is asked for")
	}
	c.Told(now.Truncate(time.Second), now, now)
	later := now.Add(24 * time.Hour)
	if !c.Reading().Fresh(now.Add(time.Minute)) || c.Reading().Fresh(later) || c.Reading().Stamp(later).Source != protocol.Node {
		t.Errorf("bounds of a day ago are stamped by: %+v", c.Reading().Stamp(later))
	}
	c.Observe(later.Truncate(time.Second), later, later)
	if stamp := c.Reading().Stamp(later); !c.Reading().Fresh(later) || stamp.Source != protocol.Server || stamp.Time.Sub(later) > 2*resolution+time.Microsecond {
		t.Errorf("after a read the stamp is %v too late: %+v", stamp.Time.Sub(later), stamp)
	}
}

// TestTransportReadsTheDate checks good, bad and missing Date headers, and answers that do not come from an
// API server.
func TestTransportReadsTheDate(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		header, other string
		ok            bool
	}{
		{now.UTC().Format(http.TimeFormat), auditID, true},
		{now.UTC().Format(http.TimeFormat), "Server", false},
		{now.UTC().Format(http.TimeFormat), "", false},
		{"yesterday", auditID, false},
		{"", auditID, false},
	} {
		var c Clock
		answer := roundTripper(func(*http.Request) (*http.Response, error) {
			return &http.Response{Header: http.Header{"Date": {tc.header}, tc.other: {"x"}}, Body: http.NoBody}, nil
		})
		resp, err := c.Transport(answer, time.Now).RoundTrip(&http.Request{})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if _, _, ok := c.Reading().Bounds(now); ok != tc.ok {
			t.Errorf("Date %q with %q: bounds known is %v, want %v", tc.header, tc.other, ok, tc.ok)
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
