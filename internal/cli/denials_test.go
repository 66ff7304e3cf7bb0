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
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// TestDenialsInOtherWords checks commands whose writes a webhook denies, or something before the API
// server, in codes that mean something else elsewhere: each ends, after few requests, and repeats
// those words.
func TestDenialsInOtherWords(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	const words = "not before noon"
	webhook := `admission webhook "locks.example.com" denied the request: ` + words
	commands := []struct {
		name  string
		after int32 // how many writes are let through before
		setUp func(t *testing.T, ns string)
		args  []string
	}{
		{"set", 0, func(*testing.T, string) {}, []string{"set", "k", "1"}},
		{"set that has the lock", 1, func(*testing.T, string) {}, []string{"set", "k", "1", "--try"}},
		{"break", 0, func(t *testing.T, ns string) { t.Helper(); grasp(t, ns, "k") }, []string{"break", "k", "--reason", "test", "--yes"}},
		{"delete", 0, func(t *testing.T, ns string) { t.Helper(); dlock(t, ns, "set", "k", "1").want(t, 0) }, []string{"delete", "k"}},
	}
	for _, command := range commands {
		for _, code := range []int{http.StatusConflict, http.StatusGone, http.StatusNotFound, http.StatusUnprocessableEntity} {
			for text, most := range map[string]int32{webhook: 2, words: 60} { // The latter may be about an object that has changed.
				by := "webhook"
				if text == words {
					by = "proxy"
				}
				t.Run(fmt.Sprintf("%s, %d of a %s", command.name, code, by), func(t *testing.T) {
					t.Parallel()
					ns := env.Namespace(t)
					command.setUp(t, ns)
					body, err := json.Marshal(metav1.Status{
						TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
						Status:   metav1.StatusFailure, Code: int32(code), Message: text, //nolint:gosec // A code of HTTP.
					})
					if err != nil {
						t.Fatal(err)
					}
					var sent, denied, reads atomic.Int32
					r := finish(t, through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
						switch {
						case !strings.Contains(r.URL.Path, "/distributedlocks"):
						case r.Method == http.MethodGet:
							reads.Add(1)
						case sent.Add(1) > command.after:
							denied.Add(1)
							w.Header().Set("Content-Type", "application/json")
							w.Header().Set("Content-Length", strconv.Itoa(len(body)))
							w.WriteHeader(code)
							_, _ = w.Write(body)
							return
						}
						pass.ServeHTTP(w, r)
					}, command.args...))
					r.want(t, 69, text)
					if denied.Load() == 0 || denied.Load() > most || reads.Load() > most+2 {
						t.Errorf("%d writes and %d reads, want at most %d and %d", denied.Load(), reads.Load(), most, most+2)
					}
				})
			}
		}
	}
}
