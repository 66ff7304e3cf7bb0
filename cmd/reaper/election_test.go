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
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"k8s.io/client-go/rest"
)

// writes is a transport that counts writes to locks, and may delay them.
type writes struct {
	next  http.RoundTripper
	count atomic.Int64
	until atomic.Pointer[chan struct{}]
}

func (w *writes) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.Contains(req.URL.Path, "/distributedlocks") && req.Method != http.MethodGet {
		w.count.Add(1)
		if until := w.until.Load(); until != nil {
			select {
			case <-*until:
			case <-req.Context().Done():
				return nil, req.Context().Err()
			}
		}
	}
	return w.next.RoundTrip(req)
}

// WrappedRoundTripper lets client-go find the transport below.
func (w *writes) WrappedRoundTripper() http.RoundTripper { return w.next }

// TestOneReplicaWorks checks that the second of two replicas is ready but writes nothing, even while
// the leader is slow, and that it works as soon as the leader has ended.
func TestOneReplicaWorks(t *testing.T) {
	ns, another := env.Namespace(t), env.Namespace(t)
	history := env.Watch(t, ns)
	var sent [2]writes
	var replicas [2]*replica
	for i := range replicas {
		config := rest.CopyConfig(account(t))
		config.Wrap(func(next http.RoundTripper) http.RoundTripper {
			sent[i].next = next
			return &sent[i]
		})
		o := elected(t)
		o.namespaces = ns
		replicas[i] = startReplica(t, config, o)
		eventually(t, "the replica is ready", func() bool { return replicas[i].probe(t, "/readyz") == http.StatusOK })
		if i == 0 {
			die(t, ns, "first")
			history.Until(patience, "first", "freed", expired) // The first replica leads.
		}
	}

	// While the first replica is delayed, a reaper without an election ends a hold that has expired
	// later. So the second replica would have had the time to end the first hold.
	until := make(chan struct{})
	sent[0].until.Store(&until)
	die(t, ns, "second")
	elsewhere := env.Watch(t, another)
	startReplica(t, account(t), options{metricsAddress: "0", probeAddress: "0", namespaces: another, distributedLocks: true, concurrency: 1})
	die(t, another, "later")
	elsewhere.Until(patience, "later", "freed", expired)
	close(until)
	history.Until(patience, "second", "freed", expired)
	expectWrites(t, "while the first replica leads", &sent, 2, 0)

	replicas[0].stop(t)
	die(t, ns, "third")
	history.Until(patience, "third", "freed", expired)
	expectWrites(t, "after the first replica's end", &sent, 2, 1)
}

func expectWrites(t *testing.T, when string, sent *[2]writes, first, second int64) {
	t.Helper()
	if a, b := sent[0].count.Load(), sent[1].count.Load(); a != first || b != second {
		t.Errorf("%s, the replicas have written %d and %d times, want %d and %d", when, a, b, first, second)
	}
}
