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
	"cmp"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// electionLease returns the Lease of the election, and the identity of the leader.
func electionLease(t testing.TB) (lease *coordinationv1.Lease, leader string) {
	t.Helper()
	lease, err := env.Clientset(t).CoordinationV1().Leases(testenv.ReaperNamespace).Get(t.Context(), electionID, metav1.GetOptions{})
	if err != nil {
		return nil, "" // The first leader creates it.
	}
	return lease, *cmp.Or(lease.Spec.HolderIdentity, new(string))
}

// failover starts two replicas and sends a signal to the leader. It returns how long it takes until
// the other replica leads, and the Lease that this one has then.
func failover(t testing.TB, signal os.Signal) (time.Duration, *coordinationv1.Lease) {
	t.Helper()
	_, before := electionLease(t)
	first := startProcess(t)
	eventually(t, "the first replica leads", func() bool {
		_, leader := electionLease(t)
		return leader != "" && leader != before
	})
	second := startProcess(t)
	_, before = electionLease(t)
	begun := time.Now()
	if err := first.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the second replica leads", func() bool {
		_, leader := electionLease(t)
		return leader != "" && leader != before
	})
	took := time.Since(begun)
	lease, _ := electionLease(t)
	if err := second.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // Killed, it ends with an error.
	if err := second.Wait(); err != nil {
		t.Errorf("after SIGTERM the second replica ended with %v", err)
	}
	return took, lease
}

// TestFailoverOfAKilledReplica checks that the other replica leads when the lease of the killed
// leader is over, and that this lease has the program's default length.
func TestFailoverOfAKilledReplica(t *testing.T) {
	took, lease := failover(t, syscall.SIGKILL)
	// The lease, and two pauses between reads of it; the rest is for a loaded machine.
	const most = 13 * time.Second
	if seconds := lease.Spec.LeaseDurationSeconds; took > most || seconds == nil || *seconds != 6 {
		t.Errorf("the second replica led %v after the first was killed, want %v at most: %v", took, most, lease)
	}
}

// BenchmarkFailover measures how long no replica leads:
// go test ./cmd/reaper -run - -bench Failover -benchtime 20x.
func BenchmarkFailover(b *testing.B) {
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		b.Run(signal.String(), func(b *testing.B) {
			var all []time.Duration
			for b.Loop() {
				took, _ := failover(b, signal)
				all = append(all, took)
			}
			slices.Sort(all)
			b.ReportMetric(all[0].Seconds(), "s-shortest")
			b.ReportMetric((all[(len(all)-1)/2]+all[len(all)/2]).Seconds()/2, "s-median")
			b.ReportMetric(all[len(all)-1].Seconds(), "s-longest")
			b.ReportMetric(0, "ns/op")
		})
	}
}
