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

package v1alpha1_test

import (
	"bytes"
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/pkg/kubelock"
)

// kubectl runs kubectl. Its cache is the test's own, because that in the home folder
// may be of an earlier server at the same address.
func kubectl(t testing.TB, input string, args ...string) string {
	t.Helper()
	out, err := env.Kubectl(t.Context(), input, append(args, "--cache-dir", t.TempDir())...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// ago is a time as the types write it; a negative duration is in the future.
func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(metav1.RFC3339Micro) }

var columnPattern = regexp.MustCompile(`\S+( \S+)*`)

// table reads what kubectl get prints, which is aligned below its headers. An empty
// cell is what no other way of splitting would find.
func table(t testing.TB, out string) (headers []string, rows [][]string) {
	t.Helper()
	lines := strings.Split(strings.TrimRight(out, "\n"), "\n")
	columns := columnPattern.FindAllStringIndex(lines[0], -1)
	for i, line := range lines {
		cells := make([]string, 0, len(columns))
		for j, column := range columns {
			end := len(line)
			if j+1 < len(columns) {
				end = min(end, columns[j+1][0])
			}
			cells = append(cells, strings.TrimSpace(line[min(column[0], end):end]))
		}
		if i == 0 {
			headers = cells
		} else {
			rows = append(rows, cells)
		}
	}
	return headers, rows
}

var (
	narrow = []string{"NAME", "KEY", "HOLDER", "ACQUIRED", "RENEWED", "DURATION", "TRANSITIONS", "DELETED", "AGE"}
	wide   = append(slices.Clone(narrow), "LOCK ID")
)

func TestKubectlGetShowsHeldAndFreeLocks(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	held := newLock(t, namespace, changes{"spec.holder.acquireTime": ago(7 * time.Minute), "spec.holder.renewTime": ago(20 * time.Second)})
	held.SetName("a-held")
	create(t, held)
	free := newLock(t, namespace, changes{"spec.holder": absent})
	free.SetName("b-free")
	free.SetFinalizers([]string{"example.com/keeps"})
	create(t, free)
	if err := locks(t, namespace).Delete(t.Context(), "b-free", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	unused := newLock(t, namespace, changes{"spec": absent})
	unused.SetName("c-unused")
	create(t, unused)

	const justNow = `^\d\d?s$`
	heldCells := []string{`^a-held$`, `^orders/2026:eu$`, `^worker-7d9f$`, `^7m\d*s?$`, `^[2-5]\ds$`, `^30s$`, `^41$`, `^$`, justNow, `^hold-b$`}
	freeCells := []string{`^b-free$`, `^orders/2026:eu$`, `^$`, `^$`, `^$`, `^$`, `^41$`, justNow, justNow, `^$`}
	unusedCells := []string{`^c-unused$`, `^$`, `^$`, `^$`, `^$`, `^$`, `^$`, `^$`, justNow, `^$`}
	for _, tt := range []struct {
		name    string
		args    []string
		headers []string
		prefix  string // kubectl puts it before the names of what a category has
	}{
		{"by the plural", []string{"distributedlocks"}, narrow, ""},
		{"by the singular", []string{"distributedlock"}, narrow, ""},
		{"by the short name", []string{"dlock"}, narrow, ""},
		{"by the category", []string{"kubelock"}, narrow, "distributedlock.kubelock.dev/"},
		{"wide", []string{"distributedlocks", "-o", "wide"}, wide, ""},
		{"wide by the short name", []string{"dlock", "-o", "wide"}, wide, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			out := kubectl(t, "", append([]string{"get", "-n", namespace}, tt.args...)...)
			headers, rows := table(t, out)
			if !slices.Equal(headers, tt.headers) {
				t.Errorf("the headers are %q, want %q", headers, tt.headers)
			}
			want := [][]string{heldCells, freeCells, unusedCells}
			if len(rows) != len(want) {
				t.Fatalf("there are %d rows, want %d:\n%s", len(rows), len(want), out)
			}
			for i, row := range rows {
				row[0] = strings.TrimPrefix(row[0], tt.prefix)
				for j, cell := range row {
					if !regexp.MustCompile(want[i][j]).MatchString(cell) {
						t.Errorf("row %d has %q below %s, want %s:\n%s", i, cell, headers[j], want[i][j], out)
					}
				}
			}
		})
	}
}

// TestKubectlGetShowsARenewalAheadOfItsTime is about holders that stamp their renewal
// with the latest time that it can be on the server.
func TestKubectlGetShowsARenewalAheadOfItsTime(t *testing.T) {
	t.Parallel()
	namespace := env.Namespace(t)
	cache := t.TempDir() // Filled first, so that kubectl asks for the lock at once.
	if out, err := env.Kubectl(t.Context(), "", "get", "dlock", "-n", namespace, "--cache-dir", cache); err != nil {
		t.Fatal(out)
	}
	soon := ago(-1500 * time.Millisecond)
	lock := create(t, newLock(t, namespace, changes{"spec.holder.acquireTime": soon, "spec.holder.renewTime": soon}))
	out, err := env.Kubectl(t.Context(), "", "get", "dlock", "-n", namespace, "--cache-dir", cache, lock.GetName())
	if err != nil {
		t.Fatal(out)
	}
	_, rows := table(t, out)
	if len(rows) != 1 || !regexp.MustCompile(`^\d\d?s$`).MatchString(rows[0][slices.Index(narrow, "ACQUIRED")]) || !regexp.MustCompile(`^\d\d?s$`).MatchString(rows[0][slices.Index(narrow, "RENEWED")]) {
		t.Errorf("got an age that is none:\n%s", out)
	}
}

// described waits until the API server describes its locks, which it does some time after
// it serves them.
func described(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	rest := env.Clientset(t).Discovery().RESTClient()
	var doc []byte
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		var err error
		doc, err = rest.Get().AbsPath("/openapi/v3/apis/kubelock.dev/v1alpha1").DoRaw(ctx)
		return bytes.Contains(doc, []byte("/distributedlocks/{name}")), client.IgnoreNotFound(err)
	})
	if err != nil {
		t.Fatalf("the API server does not describe its locks: %v: %s", err, doc)
	}
}

func TestKubectlExplainDescribesTheFields(t *testing.T) {
	t.Parallel()
	described(t)
	for path, want := range map[string]string{
		"distributedlock":                   "the state that it guards",
		"distributedlock.spec.objectExpiry": "The reaper then deletes the object",
		"dlock.spec.holder.renewTimeSource": "whose clock renewTime was read from",
	} {
		if out := strings.Join(strings.Fields(kubectl(t, "", "explain", path)), " "); !strings.Contains(out, want) {
			t.Errorf("kubectl explain %s prints %q, want %q in it", path, out, want)
		}
	}
}

// TestKubectlGetShowsALockThatRests has a client release a lock before its minimal hold is over.
func TestKubectlGetShowsALockThatRests(t *testing.T) {
	t.Parallel()
	for backend, tt := range map[kubelock.Backend]struct{ resource, held, resting string }{
		kubelock.DistributedLocks: {"dlock", "worker-1", "<resting>"},
		kubelock.Leases:           {"lease", "worker-1_ID", "worker-1_rest-ID"},
	} {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			namespace := env.Namespace(t)
			c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: namespace, Identity: "worker-1", Backend: backend})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }() // Always nil.
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			held, err := kubelock.NewLock[int](c, "tick").TryAcquire(ctx, kubelock.WithMinHold(time.Hour), kubelock.WithAutoRenew())
			if err != nil {
				t.Fatal(err)
			}
			shown := func() string {
				t.Helper()
				out := kubectl(t, "", "get", tt.resource, "tick", "-n", namespace)
				headers, rows := table(t, out)
				column := slices.Index(headers, "HOLDER")
				if len(rows) != 1 || column < 0 {
					t.Fatalf("there is no lock, or no column HOLDER:\n%s", out)
				}
				return strings.ReplaceAll(rows[0][column], held.ID(), "ID")
			}
			if got := shown(); got != tt.held {
				t.Errorf("while it is held, HOLDER is %q, want %q", got, tt.held)
			}
			if err := held.Release(ctx); err != nil {
				t.Fatal(err)
			}
			if got := shown(); got != tt.resting {
				t.Errorf("while it rests, HOLDER is %q, want %q", got, tt.resting)
			}
		})
	}
}

// TestKubectlWaitsForAFreeLock waits as docs/kubectl-dlock.md has it, for each kind of object: a held lock, one that
// rests, and one that does not exist are not what it waits for.
func TestKubectlWaitsForAFreeLock(t *testing.T) {
	t.Parallel()
	for backend, resource := range map[kubelock.Backend]string{
		kubelock.DistributedLocks: "dlock", kubelock.Leases: "lease", kubelock.ConfigMaps: "configmap",
	} {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			namespace := env.Namespace(t)
			c, err := kubelock.NewClient(env.Config, kubelock.Config{Namespace: namespace, Backend: backend})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }() // Always nil.
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cache := t.TempDir()
			isFree := func(timeout string) (string, bool) {
				out, err := env.Kubectl(ctx, "", "wait", "--for=create", resource, "--field-selector=metadata.name=k", "-l", "!kubelock.dev/holder",
					"--timeout", timeout, "-n", namespace, "--cache-dir", cache)
				return out, err == nil
			}
			want := func(when string, free bool) {
				t.Helper()
				if out, got := isFree("1s"); got != free || !free && !strings.Contains(out, "timed out waiting for the condition") {
					t.Errorf("%s: kubectl says that it is free: %v\n%s", when, got, out)
				}
			}
			lock := kubelock.NewLock[int](c, "k")
			want("before it exists", false)
			held, err := lock.Acquire(ctx, kubelock.WithMinHold(time.Hour), kubelock.WithAutoRenew())
			if err != nil {
				t.Fatal(err)
			}
			want("held", false)
			if err := held.Update(1).Release(ctx); err != nil {
				t.Fatal(err)
			}
			want("resting", false)
			if err := lock.Delete(ctx); err != nil {
				t.Fatal(err)
			}
			if held, err = lock.Acquire(ctx); err != nil {
				t.Fatal(err)
			}
			type answer struct {
				out  string
				free bool
			}
			waits := make(chan answer, 1)
			go func() {
				out, free := isFree("1m")
				waits <- answer{out, free}
			}()
			if err := held.Update(2).Release(ctx); err != nil {
				t.Fatal(err)
			}
			if a := <-waits; !a.free {
				t.Errorf("kubectl waits in vain: %s", a.out)
			}
			want("free", true)
		})
	}
}
