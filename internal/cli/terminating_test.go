//go:build unix

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

package cli_test

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/kubelock/kubelock/internal/store"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

const finalizer = "example.com/keeps"

// objectsOf returns a client for the objects that one kind of lock is kept in.
func objectsOf(t *testing.T, ns string, backend kubelock.Backend) dynamic.ResourceInterface {
	t.Helper()
	kind := map[kubelock.Backend]store.Kind{
		kubelock.DistributedLocks: store.DistributedLocks, kubelock.Leases: store.Leases, kubelock.ConfigMaps: store.ConfigMaps,
	}[backend]
	c, err := dynamic.NewForConfig(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	return c.Resource(kind.Resource()).Namespace(ns)
}

// finalizers sets the finalizers of an object: a list in JSON.
func finalizers(t *testing.T, objects dynamic.ResourceInterface, name, list string) {
	t.Helper()
	patch := `{"metadata":{"finalizers":` + list + `}}`
	if _, err := objects.Patch(within(t, patience), name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// isTerminating reports whether an object is there, and is being deleted.
func isTerminating(t *testing.T, objects dynamic.ResourceInterface, name string) bool {
	t.Helper()
	obj, err := objects.Get(within(t, patience), name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return obj.GetDeletionTimestamp() != nil
}

// TestTerminatingLocksAreShown has a free and a held lock be deleted, kept by a finalizer. Their objects
// are still there, so list and describe show both locks, and that no client will acquire them.
func TestTerminatingLocksAreShown(t *testing.T) {
	t.Parallel()
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			objects := objectsOf(t, ns, backend)
			keep(t, of(t, ns, backend, "me"), "free", "1")
			grasp(t, ns, "held", "--backend", string(backend), "--identity", "holder")
			for _, name := range []string{"free", "held"} {
				finalizers(t, objects, name, `["`+finalizer+`"]`)
				if err := objects.Delete(within(t, patience), name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}

			table := dlock(t, ns, "list", "--backend", string(backend))
			table.want(t, 0)
			for _, want := range []string{`(?m)^free +<terminating> +<none> +<none> `, `(?m)^held +holder +\S+ +terminating `} {
				if !regexp.MustCompile(want).MatchString(table.out) {
					t.Errorf("%s is not in\n%s", want, table.out)
				}
			}
			read := dlock(t, ns, "list", "--backend", string(backend), "-o", "json")
			read.want(t, 0)
			var list struct {
				Items []struct {
					Key         string          `json:"key"`
					Holder      json.RawMessage `json:"holder"`
					Terminating bool            `json:"terminating"`
					Finalizers  []string        `json:"finalizers"`
				} `json:"items"`
			}
			if err := json.Unmarshal([]byte(read.out), &list); err != nil {
				t.Fatal(err)
			}
			if len(list.Items) != 2 {
				t.Errorf("of two locks it lists\n%s", read.out)
			}
			for _, l := range list.Items {
				if !l.Terminating || !slices.Equal(l.Finalizers, []string{finalizer}) || (l.Holder != nil) != (l.Key == "held") {
					t.Errorf("it lists %+v, want a lock that terminates and its finalizer", l)
				}
			}

			for name, holder := range map[string]string{"free": "<none>", "held": "holder"} {
				r := dlock(t, ns, "describe", name, "--backend", string(backend))
				r.want(t, 0)
				for _, want := range []string{`Terminating: +its object is being deleted, and exists until .*: ` + finalizer + `\n`, `Holder: +` + holder + `\n`} {
					if !regexp.MustCompile(want).MatchString(r.out) {
						t.Errorf("%s is not in\n%s", want, r.out)
					}
				}
			}
		})
	}
}

// TestDeleteOfAKeptLock checks that delete reports success when the object has gone, and not
// before. If its time ends before that, it names the finalizer.
func TestDeleteOfAKeptLock(t *testing.T) {
	t.Parallel()
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			objects := objectsOf(t, ns, backend)
			keep(t, of(t, ns, backend, "me"), "k", "1")
			finalizers(t, objects, "k", `["`+finalizer+`"]`)

			// One command sends the deletion, the next finds that it was sent. On a loaded machine a command
			// may need more time for that.
			for _, what := range []string{"sends the deletion", "finds the deletion"} {
				named := false
				for timeout := time.Second; !named; timeout *= 2 {
					if timeout > patience {
						t.Fatalf("no command that %s names the finalizer", what)
					}
					r := dlock(t, ns, "delete", "k", "--backend", string(backend), "--timeout", timeout.String())
					if r.code != 69 && r.code != 75 {
						t.Fatalf("a command that %s ends with %d while the object is there: %s", what, r.code, r.err)
					}
					if named = strings.Contains(r.err, finalizer); named && r.code != 69 {
						t.Errorf("a command that %s ends with %d: %s", what, r.code, r.err)
					}
				}
				if !isTerminating(t, objects, "k") {
					t.Fatalf("a command that %s was not heard", what)
				}
			}

			var looks atomic.Int32
			cmd := through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				pass.ServeHTTP(w, r)
				if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/k") {
					looks.Add(1)
				}
			}, "delete", "k", "--backend", string(backend))
			ended := make(chan result, 1)
			go func() { ended <- finish(t, cmd) }()
			eventually(t, "a command has read the lock", func() bool { return looks.Load() > 0 })
			finalizers(t, objects, "k", `null`)
			(<-ended).want(t, 0)
		})
	}
}
