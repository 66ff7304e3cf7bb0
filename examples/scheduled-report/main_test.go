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
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kubelock/kubelock/pkg/kubelock"
	"github.com/kubelock/kubelock/pkg/kubelock/kubelocktest"
)

// slow sends requests later.
type slow struct {
	next http.RoundTripper
	by   time.Duration
}

func (s slow) RoundTrip(req *http.Request) (*http.Response, error) {
	<-time.After(s.by)
	return s.next.RoundTrip(req)
}

func (s slow) WrappedRoundTripper() http.RoundTripper { return s.next }

// TestEachReportIsMadeOnce has three replicas of which each comes to the lock when the one before has done the
// run. Each run happens once, also one that fails, and the number of the next one is in the lock's state.
func TestEachReportIsMadeOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const failing = 5
		server := kubelocktest.NewServer(t)
		ctx, stop := context.WithCancel(t.Context())
		var mu sync.Mutex
		var runs []int
		var minutes []time.Time
		var replicas sync.WaitGroup
		for i := range 3 {
			config := server.Config()
			config.Wrap(func(next http.RoundTripper) http.RoundTripper { return slow{next, time.Duration(i) * time.Second} })
			client, err := kubelock.NewClient(config, kubelock.Config{Namespace: kubelocktest.Namespace})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			replicas.Go(func() {
				schedule(ctx, kubelock.NewLock[state](client, "scheduled-report"), func(_ context.Context, run int) error {
					<-time.After(100 * time.Millisecond)
					mu.Lock()
					defer mu.Unlock()
					runs, minutes = append(runs, run), append(minutes, time.Now().Truncate(interval))
					if len(runs) == failing {
						return errors.New("this run fails, as the test wants it")
					}
					return nil
				})
			})
		}
		<-time.After(10*interval + interval/2)
		stop()
		replicas.Wait()
		if want := []int{1, 2, 3, 4, failing, failing, 6, 7, 8, 9}; !slices.Equal(runs, want) {
			t.Errorf("in ten minutes these runs were made: %v, want %v", runs, want)
		}
		if every := slices.Compact(slices.Clone(minutes)); len(every) != len(minutes) {
			t.Errorf("a report was made twice in a minute: %v", minutes)
		}
	})
}
