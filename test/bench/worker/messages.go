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

// Package worker runs the benchmark's clients in processes of their own. The benchmark starts its own
// program for each worker. It sends a question as a line of JSON on the worker's standard input, and
// gets the answer as a line of JSON.
package worker

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubelock/kubelock/test/bench/subjects"
)

// Client describes the client that a worker opens.
type Client struct {
	Subject string
	Servers subjects.Servers
	Options subjects.Options
	Keys    []string
	// Callers is the number of callers. Caller i uses every key whose index is i modulo Callers. If
	// there are fewer keys than callers, all callers use the first key.
	Callers int
}

// Window is the period in which a loop is measured.
type Window struct{ Begin, End Instant }

// ask is one question.
type ask struct {
	Op       string
	Client   *Client       `json:",omitempty"`
	Window   *Window       `json:",omitempty"`
	Critical time.Duration `json:",omitempty"`
	Patience time.Duration `json:",omitempty"`
}

// Cycle is one cycle of a caller.
type Cycle struct {
	Asked, Acquired, Releasing, Done Instant
}

// Answer is a worker's answer. Each question fills a part of it.
type Answer struct {
	Error string `json:",omitempty"`

	// The answer of a loop.
	Cold    int             `json:",omitempty"` // cycles that callers need until all are warm
	Cycles  []Cycle         `json:",omitempty"`
	Waiting []Instant       `json:",omitempty"` // since when callers waited at the end
	Counts  subjects.Counts // between begin and end
	Mallocs uint64          `json:",omitempty"` // between begin and end

	// The answer of an acquisition.
	Acquired Instant `json:",omitempty"`
	End      Instant `json:",omitempty"` // of the lease

	// The answer about the process.
	Heap uint64        `json:",omitempty"` // bytes in use after a collection
	RSS  uint64        `json:",omitempty"` // bytes
	CPU  time.Duration `json:",omitempty"` // used so far
	Lost int           `json:",omitempty"` // holds
	Held int           `json:",omitempty"` // holds
}

// Instant is a time that the processes of one machine can compare: nanoseconds of the
// monotonic clock.
type Instant int64

// Now returns the current instant.
func Now() Instant {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // Every system has that clock.
	}
	return Instant(t.Nano())
}

// At returns the instant of t.
func At(t time.Time) Instant { return Now().Add(time.Until(t)) }

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d) }

// Since returns the time from earlier to i.
func (i Instant) Since(earlier Instant) time.Duration { return time.Duration(i - earlier) }
