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

package controllers

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/funcr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// TestSummary checks that the log says once per minute how many locks were deleted, says nothing
// about a minute without deletions, and has the last deletions when the reaper ends.
func TestSummary(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex // protects lines
		var lines []string
		logger := funcr.New(func(_, line string) {
			mu.Lock()
			defer mu.Unlock()
			lines = append(lines, line)
		}, funcr.Options{})
		ctx, cancel := context.WithCancel(log.IntoContext(t.Context(), logger))
		s := &summary{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.report(ctx, "leases")
		}()
		expect := func(when string, counts ...string) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			want := make([]string, 0, len(counts))
			for _, count := range counts {
				want = append(want, `"level"=0 "msg"="Deleted locks that were not used for their objectExpiry" "resource"="leases" `+count)
			}
			if !slices.Equal(lines, want) {
				t.Errorf("%s the log has %q, want %q", when, lines, want)
			}
			lines = nil
		}
		s.deleted.Add(5000)
		expect("at once")
		<-time.After(summaryInterval)
		expect("after a minute", `"count"=5000 "within"="1m0s"`)
		<-time.After(summaryInterval)
		expect("after one without deletions")
		s.deleted.Add(2)
		<-time.After(summaryInterval / 2)
		cancel()
		<-done
		expect("at the end", `"count"=2 "within"="30s"`)
	})
}
