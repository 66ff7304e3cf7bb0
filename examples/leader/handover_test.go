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
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/connrotation"
	"k8s.io/klog/v2"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

const (
	pairs = 20

	// Both elections have the same lease: client-go's default.
	lease = 15 * time.Second

	// A leader is stopped, or cut off, this long after the standby has begun to wait: each election has renewed its
	// lease by then.
	settled = 6 * time.Second

	// The pairs begin at the same time, and so do their renewals. Each pair ends this much later than the one before
	// it. So they end at different times after their last renewal.
	apart = 350 * time.Millisecond

	patience = 2 * time.Minute
)

// election is one kind of leader election.
type election struct {
	name string
	// standbyWrites says whether a standby begins to wait with a write; otherwise, it does so with a read.
	standbyWrites bool
	// campaign campaigns until ctx ends, and calls leads when the candidate leads. It returns an error if the
	// campaign could not begin, or ended for another reason.
	campaign func(ctx context.Context, config *rest.Config, namespace, name, identity string, leads func()) error
}

var elections = []election{
	{"kubelock-DistributedLocks", true, campaignOn(kubelock.DistributedLocks)},
	{"kubelock-Leases", true, campaignOn(kubelock.Leases)},
	{"client-go-Leases", false, campaignByElector},
}

// campaignOn returns a campaign by Lock.Lead.
func campaignOn(backend kubelock.Backend) func(context.Context, *rest.Config, string, string, string, func()) error {
	return func(ctx context.Context, config *rest.Config, namespace, name, identity string, leads func()) error {
		locks, err := kubelock.NewClient(config, kubelock.Config{
			Namespace: namespace, Backend: backend, Identity: identity, LockDuration: lease,
		})
		if err != nil {
			return err
		}
		defer locks.Close()
		err = kubelock.NewLock[struct{}](locks, name).Lead(ctx, func(ctx context.Context, _ *kubelock.Held[struct{}]) error {
			leads()
			<-ctx.Done()
			return ctx.Err()
		})
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
}

// campaignByElector is a campaign by client-go's elector, with the defaults of Kubernetes' own programs.
func campaignByElector(ctx context.Context, config *rest.Config, namespace, name, identity string, leads func()) error {
	const renewDeadline = 10 * time.Second
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, namespace, name,
		resourcelock.ResourceLockConfig{Identity: identity}, config, renewDeadline)
	if err != nil {
		return err
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:            lock,
		LeaseDuration:   lease,
		RenewDeadline:   renewDeadline,
		RetryPeriod:     2 * time.Second,
		ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { leads() },
			OnStoppedLeading: func() {},
		},
	})
	if err != nil {
		return err
	}
	elector.Run(klog.NewContext(ctx, logr.Discard())) // A candidate that is cut off would log each try.
	return nil
}

// candidate is a replica that campaigns, with connections of its own.
type candidate struct {
	leads   chan time.Time // when it began to lead
	waits   chan struct{}  // closed when it waits as a standby
	stop    context.CancelFunc
	ended   chan error
	dialer  *connrotation.Dialer
	cut     atomic.Bool
	mu      sync.Mutex // protects what follows
	waiting bool       // whether waits is closed
	written time.Time  // when the last write was sent that the API server has accepted
}

func newCandidate(ctx context.Context, e election, namespace, name, identity string) *candidate {
	ctx, stop := context.WithCancel(ctx)
	c := &candidate{
		leads: make(chan time.Time, 1), waits: make(chan struct{}), stop: stop, ended: make(chan error, 1),
		dialer: connrotation.NewDialer((&net.Dialer{}).DialContext),
	}
	config := rest.CopyConfig(env.Config)
	config.Dial = c.dial
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return &recorder{next, c, e.standbyWrites}
	})
	go func() {
		c.ended <- e.campaign(ctx, config, namespace, name, identity, func() {
			select {
			case c.leads <- time.Now():
			default: // It leads for the second time.
			}
		})
	}()
	return c
}

// recorder notes a candidate's requests that the API server has accepted.
type recorder struct {
	next          http.RoundTripper
	candidate     *candidate
	standbyWrites bool
}

// RoundTrip implements http.RoundTripper.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := time.Now()
	resp, err := r.next.RoundTrip(req)
	if err == nil && resp.StatusCode < http.StatusMultipleChoices {
		r.candidate.accepted(sent, req.Method != http.MethodGet, r.standbyWrites)
	}
	return resp, err
}

// WrappedRoundTripper lets client-go find the transport below.
func (r *recorder) WrappedRoundTripper() http.RoundTripper { return r.next }

func (c *candidate) accepted(sent time.Time, write, standbyWrites bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if write {
		c.written = sent
	}
	if write == standbyWrites && !c.waiting {
		c.waiting = true
		close(c.waits)
	}
}

func (c *candidate) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dialer.DialContext(ctx, network, address)
	if err == nil && c.cut.Load() {
		return nil, errors.Join(errors.New("cut off"), conn.Close())
	}
	return conn, err
}

// cutOff closes the candidate's connections, and lets it have no others. For the API server this is as if the
// process had been killed.
func (c *candidate) cutOff() {
	c.cut.Store(true)
	c.dialer.CloseAll()
}

// end ends the candidate, and returns when it has ended.
func (c *candidate) end() error {
	c.stop()
	err := <-c.ended
	c.cutOff()
	return err
}

// sample is one hand-over.
type sample struct {
	took    time.Duration // from when the leader was stopped or cut off until the standby led
	renewed time.Duration // how long before that the leader sent its last renewal
}

// handOver starts a leader and a standby, and ends the leadership of the first after a pause.
func handOver(ctx context.Context, e election, namespace, name string, pause time.Duration, crash bool) (s sample, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	leader := newCandidate(ctx, e, namespace, name, "leader")
	defer func() { err = errors.Join(err, leader.end()) }()
	if _, err := await(ctx, leader.leads, "the leader leads"); err != nil {
		return s, err
	}
	standby := newCandidate(ctx, e, namespace, name, "standby")
	defer func() { err = errors.Join(err, standby.end()) }()
	if _, err := await(ctx, standby.waits, "the standby waits"); err != nil {
		return s, err
	}
	if _, err := await(ctx, time.After(pause), "the pause is over"); err != nil {
		return s, err
	}
	begun := time.Now()
	if crash {
		leader.cutOff()
	} else {
		leader.stop()
	}
	led, err := await(ctx, standby.leads, "the standby leads")
	if err != nil {
		return s, err
	}
	if led.Before(begun) {
		return s, errors.New("the standby led beside the leader")
	}
	leader.mu.Lock()
	defer leader.mu.Unlock()
	return sample{took: led.Sub(begun), renewed: begun.Sub(leader.written)}, nil
}

// await returns what comes from a channel. It fails if ctx ends before.
func await[T any](ctx context.Context, c <-chan T, what string) (got T, err error) {
	select {
	case got = <-c:
		return got, nil
	case <-ctx.Done():
		return got, fmt.Errorf("waiting until %s: %w", what, ctx.Err())
	}
}

// BenchmarkHandOver measures how long no replica leads, by Lock.Lead and by client-go's elector. One iteration is 20
// pairs of a leader and a standby, all at once, each with a lock of its own:
// go test ./examples/leader -run - -bench HandOver -benchtime 1x.
func BenchmarkHandOver(b *testing.B) {
	for _, crash := range []bool{false, true} {
		end := "stopped"
		if crash {
			end = "cut-off"
		}
		for _, e := range elections {
			b.Run(end+"/"+e.name, func(b *testing.B) {
				var took, renewed, since []time.Duration
				for b.Loop() {
					for _, s := range handOvers(b, e, crash) {
						took, renewed, since = append(took, s.took), append(renewed, s.renewed), append(since, s.took+s.renewed)
					}
				}
				report(b, "s", took)
				if crash { // A leader that is stopped writes once more.
					report(b, "s-renewed-before", renewed)
					report(b, "s-since-renewal", since)
				}
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// handOvers measures one hand-over of each pair.
func handOvers(b *testing.B, e election, crash bool) []sample {
	b.Helper()
	samples := make([]sample, pairs)
	namespace := env.Namespace(b)
	group, ctx := errgroup.WithContext(b.Context())
	for n := range samples {
		group.Go(func() (err error) {
			samples[n], err = handOver(ctx, e, namespace, "pair-"+strconv.Itoa(n), settled+time.Duration(n)*apart, crash)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return samples
}

func report(b *testing.B, unit string, all []time.Duration) {
	b.Helper()
	slices.Sort(all)
	b.ReportMetric(all[0].Seconds(), unit+"-shortest")
	b.ReportMetric((all[(len(all)-1)/2]+all[len(all)/2]).Seconds()/2, unit+"-median")
	b.ReportMetric(all[len(all)-1].Seconds(), unit+"-longest")
}
