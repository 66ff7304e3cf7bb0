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

package conformance

import (
	"context"
	"errors"
	"maps"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/kubelock/kubelock/internal/testing/spans"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// namesAreLabels checks WithName in the metrics: each call and hold is counted under its own name.
func namesAreLabels(s *suite) {
	registry := prometheus.NewRegistry()
	a := s.configured(kubelock.Config{Identity: "a", LockDuration: time.Minute, Metrics: registry})
	b := s.configured(kubelock.Config{Identity: "b", LockDuration: time.Minute, Metrics: registry})
	report, cleanup := kubelock.WithName("report"), kubelock.WithName("clean-up")

	h := s.acquire(a, report)
	s.must(h.Renew(s.soon()))
	_, err := kubelock.NewLock[string](b, key).TryAcquire(s.soon(), cleanup)
	s.is(err, kubelock.ErrNotAcquired)
	s.release(h)
	s.release(s.acquire(b, cleanup))
	s.release(s.acquire(b))
	_, err = kubelock.NewLock[string](a, key).Apply(s.soon(), func(text string) (string, error) { return text, nil }, report)
	s.must(err)

	for metric, want := range map[string]map[string]uint64{
		"kubelock_acquire_seconds": {"report acquired": 1, "clean-up not_acquired": 1, "clean-up acquired": 1, " acquired": 1},
		"kubelock_hold_seconds":    {"report ": 1, "clean-up ": 1, " ": 1},
		"kubelock_apply_seconds":   {"report acquired": 1},
	} {
		if got := s.counts(registry, metric); !maps.Equal(got, want) {
			s.Errorf("%s has counted %v, want %v", metric, got, want)
		}
	}
	if n := s.counts(registry, "kubelock_renew_seconds")["report "]; n < 1 { // A slow acquisition renews, too.
		s.Errorf("%d renewals were counted", n)
	}
}

// counts is how often a histogram has counted, by the name of the work and the result.
func (s *suite) counts(registry *prometheus.Registry, metric string) map[string]uint64 {
	s.Helper()
	families, err := registry.Gather()
	s.must(err)
	got := map[string]uint64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var name, result string
			for _, label := range m.GetLabel() {
				switch label.GetName() {
				case "name":
					name = label.GetValue()
				case "result":
					result = label.GetValue()
				}
			}
			if n := m.GetHistogram().GetSampleCount(); f.GetName() == metric && n > 0 {
				got[name+" "+result] += n
			}
		}
	}
	return got
}

// spansTellOfCallsAndHolds checks Config.TracerProvider: what spans say of calls, of holds, and of a
// hand-over.
func spansTellOfCallsAndHolds(s *suite) {
	var rec spans.Recorder
	a := s.configured(kubelock.Config{Identity: "a", LockDuration: time.Minute, TracerProvider: &rec})
	b := newNetwork()
	waits := s.configured(kubelock.Config{Identity: "b", LockDuration: time.Minute, TracerProvider: &rec}, b.wrap)
	lock, other := kubelock.NewLock[string](a, key), kubelock.NewLock[string](waits, key)
	ctx := rec.With(s.soon())

	_, err := lock.Do(ctx, func(ctx context.Context, text string) (string, error) {
		if of := spans.Of(ctx); of != "kubelock.hold" {
			s.Errorf("the function's context has the span %q", of)
		}
		return text + "1", nil
	}, kubelock.WithName("report"))
	s.must(err)
	spans.Check(s, rec.Take(s),
		"acquire < caller: handed_over=false lock_id name=report outcome=acquired token try=false",
		"hold < caller: lock_id name=report outcome=released token",
		"release < caller: lock_id name=report outcome=released token")

	h, err := lock.Acquire(ctx)
	s.must(err)
	_, err = other.TryAcquire(ctx)
	s.is(err, kubelock.ErrNotAcquired)
	got := make(chan acquired, 1)
	go func() {
		h, err := other.Acquire(ctx, kubelock.WithName("waits"))
		got <- acquired{"b", h, err}
	}()
	select {
	case <-b.written:
	case <-s.soon().Done():
		s.Fatal("the waiter does not queue")
	}
	s.must(h.Release(ctx))
	s.must(s.next(got).held.Release(ctx))
	spans.Check(s, rec.Take(s),
		"acquire < caller: handed_over=false lock_id outcome=acquired token try=false",
		"hold < caller: lock_id outcome=released token",
		"acquire < caller: outcome=not_acquired try=true",
		"acquire < caller: handed_over=true lock_id name=waits outcome=acquired queue.place=1 token try=false",
		"release < caller: lock_id outcome=released token",
		"hold < caller: lock_id name=waits outcome=released token",
		"release < caller: lock_id name=waits outcome=released token")

	failure := errors.New("no")
	for _, want := range []error{nil, failure} {
		_, err := lock.Apply(ctx, func(text string) (string, error) { return text, want })
		s.is(err, want)
	}
	spans.Check(s, rec.Take(s), "apply < caller: outcome=applied", "apply < caller: outcome=error Error")
}
