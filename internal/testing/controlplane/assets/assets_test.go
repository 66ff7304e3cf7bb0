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

package assets

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeGo puts a go command first in PATH that runs a script instead of building. It returns the folder of a
// new cache, and the file that the script may log to.
func fakeGo(t *testing.T, script string) (cache, log string) {
	t.Helper()
	dir := t.TempDir()
	log = filepath.Join(dir, "log")
	if err := os.WriteFile(filepath.Join(dir, "go"), []byte("#!/bin/sh\nlog="+log+"\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	cache = t.TempDir()
	t.Setenv("PATH", dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	t.Setenv(EnvAssets, "")
	return filepath.Join(cache, "kubelock", "controlplane"), log
}

// builds is the script of a go command that "builds" programs which can be started.
const builds = `
[ "$1" = build ] || exit 1
while [ $# -gt 0 ]; do
	[ "$1" = -o ] && out=$2
	shift
done
echo "$(basename "$out")" >> "$log"
printf '#!/bin/sh\necho fake\n' > "$out"
chmod +x "$out"
`

func TestFindTakesTheFolderThatIsNamed(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(EnvAssets, dir)
	if _, err := Find(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "kube-apiserver, etcd, kubectl") {
		t.Errorf("an empty folder gives %v, want an error that says what is missing", err)
	}
	for _, p := range programs {
		if err := os.WriteFile(filepath.Join(dir, p), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := Find(t.Context(), io.Discard); err != nil || got != dir {
		t.Errorf("got %q, %v; want %q", got, err, dir)
	}
}

func TestFindBuildsOnce(t *testing.T) {
	_, log := fakeGo(t, builds)
	var progress strings.Builder
	dir, err := Find(t.Context(), &progress)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range append([]string{"building", "[3/3] kubectl"}, programs...) {
		if !strings.Contains(progress.String(), word) {
			t.Errorf("the progress does not mention %s:\n%s", word, &progress)
		}
	}
	if again, err := Find(t.Context(), io.Discard); err != nil || again != dir {
		t.Errorf("the second call gives %q, %v; want %q", again, err, dir)
	}
	if built, err := os.ReadFile(log); err != nil || len(strings.Fields(string(built))) != len(programs) {
		t.Errorf("built %q, %v; want each program once", built, err)
	}
}

func TestFindTwiceAtOnceBuildsOnce(t *testing.T) {
	_, log := fakeGo(t, builds)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if _, err := Find(t.Context(), io.Discard); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if built, err := os.ReadFile(log); err != nil || len(strings.Fields(string(built))) != len(programs) {
		t.Errorf("built %q, %v; want each program once", built, err)
	}
}

// TestFailedBuildLeavesNothing checks a build that fails half-way. The error says which program failed and
// why, and a later call does not use the unfinished files.
func TestFailedBuildLeavesNothing(t *testing.T) {
	cache, _ := fakeGo(t, builds+`
if [ "$(basename "$out")" = kube-apiserver ]; then
	echo "x.go:1: no space left" >&2
	exit 1
fi
`)
	_, err := Find(t.Context(), io.Discard)
	if err == nil {
		t.Fatal("a failing build gives no error")
	}
	for _, part := range []string{"building kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "no space left"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
	expectNoResult(t, cache)

	// A program that was built but does not start counts as failed, too.
	cache, _ = fakeGo(t, builds+`printf '#!/bin/sh\nexit 3\n' > "$out"`)
	if _, err := Find(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "starting the etcd that was built") {
		t.Errorf("a program that does not start gives %v", err)
	}
	expectNoResult(t, cache)
}

func TestInterruptedBuildLeavesNothing(t *testing.T) {
	cache, log := fakeGo(t, builds+"exec sleep 600\n")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := Find(ctx, io.Discard)
		done <- err
	}()
	for deadline := time.Now().Add(30 * time.Second); ; runtime.Gosched() {
		if _, err := os.Stat(log); err == nil { // The first program is being built.
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the build does not begin")
		}
	}
	cancel()
	if err := <-done; err == nil {
		t.Error("an interrupted build gives no error")
	}
	expectNoResult(t, cache)
}

func expectNoResult(t *testing.T, cache string) {
	t.Helper()
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".lock") {
			t.Errorf("the failed build left %s", e.Name())
		}
	}
}
