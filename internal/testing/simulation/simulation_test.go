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

//go:debug randseednop=0
package simulation

import (
	"flag"
	"math/rand" //nolint:depguard // See simulate.
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/kubelock/kubelock/api/v1alpha1"
)

var (
	first   = flag.Uint64("first", 1, "the first seed")
	seeds   = flag.Uint64("seeds", 50, "how many seeds to run")
	within  = flag.Uint64("within", 0, "within how many seeds each mutant must be found; 0 does not try")
	third   = flag.Int("third", -1, "which third of the mutants to plant: 0, 1 or 2; all if negative")
	seeded  = flag.String("seeded", "", "the overlay of hack/seededruntime, if this was built with it")
	verbose = flag.Bool("transcript", false, "print the transcript of each seed, requests included")
)

func TestMain(m *testing.M) {
	flag.Parse()
	debug.SetGCPercent(800)
	runtime.GOMAXPROCS(1) // Goroutines then run in the same order each time.
	// client-go limits error reports by a clock that is outside of the bubble.
	utilruntime.ErrorHandlers = nil //nolint:reassign // The documented way.
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	if _, err := crd(); err != nil { // Compile it outside of a bubble.
		panic(err)
	}
	os.Exit(m.Run())
}

// TestSimulation runs many seeds. If a seed fails, it prints the seed and its transcript. Repeat that seed
// alone, with all requests in the transcript, by
//
//	make sim FIRST=SEED SEEDS=1 TRANSCRIPT=1
//
// That repeats a failure of make sim or make test exactly. A failure of go test alone may not repeat.
func TestSimulation(t *testing.T) {
	holds, start := 0, time.Now()
	for seed := *first; seed < *first+*seeds; seed++ {
		w := simulate(t, seed)
		for _, h := range w.locks {
			holds += h.holds
		}
		if len(w.violations) > 0 {
			t.Fatalf("seed %d: %s\n%s", seed, w.violations[0], strings.Join(w.transcript, "\n"))
		}
		if *verbose {
			t.Log(strings.Join(w.transcript, "\n"))
		}
	}
	t.Logf("%d seeds with %d holds in %v", *seeds, holds, time.Since(start).Round(time.Millisecond))
}

// TestReplay checks that a seed gives the same transcript each time: after other seeds, and in another
// process.
func TestReplay(t *testing.T) {
	if *seeded == "" {
		t.Skip("Go's own runtime chooses by chance what is first of what happens at the same instant: run it by make test")
	}
	const n = 60
	var before [n][]string
	for seed := range uint64(n) {
		before[seed] = simulate(t, seed).transcript
	}
	for seed, a := range slices.Backward(before[:]) {
		b := simulate(t, uint64(seed)).transcript //nolint:gosec // Not negative.
		for i := range max(len(a), len(b)) {
			if i < len(a) && i < len(b) && a[i] == b[i] {
				continue
			}
			from := max(0, i-8)
			t.Errorf("seed %d differs from line %d on:\n%s\n--- and then\n%s", seed, i, lines(a, from, i+1), lines(b, from, i+1))
			break
		}
	}
	*verbose = true
	for _, seed := range []uint64{7, 12, 36} {
		here := strings.Join(simulate(t, seed).transcript, "\n")
		alone := exec.CommandContext(t.Context(), os.Args[0], "-test.v", "-test.run", "TestSimulation$", "-first", strconv.FormatUint(seed, 10), "-seeds", "1", "-transcript")
		out, err := alone.CombinedOutput()
		if there := strings.ReplaceAll(string(out), "\n        ", "\n"); err != nil || !strings.Contains(there, here) { // t.Log indents.
			t.Errorf("seed %d differs in a process of its own: %v\n%s\n--- and here\n%s", seed, err, there, here)
		}
	}
}

func lines(all []string, from, to int) string {
	return strings.Join(all[min(from, len(all)):min(to, len(all))], "\n")
}

// simulate runs one seed in virtual time.
func simulate(t *testing.T, seed uint64) *world {
	t.Helper()
	var w *world
	ok := t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, seed)
		rand.Seed(int64(seed)) //nolint:staticcheck,gosec // client-go's jitter comes from the global source.
		synctest.Test(t, func(t *testing.T) {
			w = newWorld(t, seed)
			w.verbose = *verbose
			w.run()
		})
	})
	if !ok {
		t.FailNow()
	}
	return w
}

// noEvents drops the reaper's events.
type noEvents struct{}

// Eventf implements events.EventRecorder.
func (noEvents) Eventf(apiruntime.Object, apiruntime.Object, string, string, string, string, ...any) {
}

// mapper returns a RESTMapper with the kinds of the simulation.
func mapper(*rest.Config, *http.Client) (meta.RESTMapper, error) {
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(v1alpha1.GroupVersion.WithKind("DistributedLock"), meta.RESTScopeNamespace)
	m.Add(coordinationv1.SchemeGroupVersion.WithKind("Lease"), meta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("ConfigMap"), meta.RESTScopeNamespace)
	return m, nil
}
