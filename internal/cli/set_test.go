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
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

func TestSet(t *testing.T) {
	t.Parallel()
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			lock := kubelock.NewLock[json.RawMessage](of(t, ns, backend, "me"), "a/Key")
			state := func(want string) {
				t.Helper()
				s, err := lock.Get(within(t, patience))
				if err != nil || string(s.Value) != want || s.Held {
					t.Errorf("the state is %+v, %v; want %s and a free lock", s, err, want)
				}
			}
			set := func(input string, args ...string) result {
				cmd := command(t, ns, append([]string{"set", "--backend", string(backend), "a/Key"}, args...)...)
				cmd.Stdin = strings.NewReader(input)
				return finish(t, cmd)
			}
			set("", "1", "--if-value", "1").want(t, 79, "there is none", "nothing was written")
			set("", `{"a": 1, "b": 12345678901234567890}`, "--if-value", "").want(t, 0)
			state(`{"a":1,"b":12345678901234567890}`)
			set("", "3", "--if-value", "").want(t, 79, `it is {"a":1,`)
			set("", "3", "--if-value", `{"a": 1, "b": 12345678901234567891}`).want(t, 79)
			state(`{"a":1,"b":12345678901234567890}`)
			set("", `"text"`, "--if-value", `{"b": 12345678901234567890, "a": 1}`).want(t, 0)
			state(`"text"`)
			set("[1,\n 2]\n", "-f", "-").want(t, 0)
			state(`[1,2]`)
			file := filepath.Join(t.TempDir(), "value")
			if err := os.WriteFile(file, []byte("null\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			set("", "-f", file).want(t, 0)
			state(`null`)
			set("", "4", "--if-value", "").want(t, 79, "it is null")
		})
	}
}

func TestSetRefuses(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	hold(t, ns, "taken")
	for _, tt := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"taken", "1", "--try"}, 75, `held by "somebody"`},
		{[]string{"taken", "1", "--timeout", "300ms"}, 75, "not acquired"},
		{[]string{"k", "text"}, 65, "quotes of its own"},
		{[]string{"k", "1 2"}, 65, "no JSON"},
		{[]string{"k", "1", "--if-value", "{"}, 65, "--if-value"},
		{[]string{"k", "-f", "/no/such/file"}, 64, "cannot be read"},
		{[]string{"k"}, 64, "either a VALUE or -f"},
		{[]string{"k", "1", "-f", "-"}, 64, "either a VALUE or -f"},
		{[]string{"", "1"}, 64, "empty"},
		{[]string{"k", "1", "--duration", "0s"}, 64, "--duration"},
	} {
		dlock(t, ns, append([]string{"set"}, tt.args...)...).want(t, tt.code, tt.err)
	}
	cmd := command(t, ns, "set", "k", "-f", "-")
	cmd.Stdin = strings.NewReader(`"` + strings.Repeat("x", v1alpha1.MaxValueBytes) + `"`)
	finish(t, cmd).want(t, 65, "too large")
	dlock(t, ns, "get", "k").want(t, 66) // It has left no lock.
}

// TestSetIfValueCompares has many processes count with no other lock around them.
func TestSetIfValueCompares(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	const clients = 8
	var won, differ int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			r := dlock(t, ns, "set", "k", strconv.Itoa(i), "--if-value", "")
			mu.Lock()
			defer mu.Unlock()
			switch r.code {
			case 0:
				won++
			case 79:
				differ++
			default:
				t.Errorf("exit code %d: %s", r.code, r.err)
			}
		})
	}
	wg.Wait()
	if won != 1 || differ != clients-1 {
		t.Errorf("%d have written and %d found that another had, want 1 and %d", won, differ, clients-1)
	}
}

// requests are what the plugin sends for locks, one by one.
type requests struct {
	mu   sync.Mutex // protects what follows
	sent []string   // their methods
}

func (r *requests) add(method string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, method)
}

// TestSetRequests counts what a free lock costs: a read, and one write if the state is to be written, or two if that creates the object.
func TestSetRequests(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"k", "1", "--if-value", "0"}, 79, "GET"},
		{[]string{"k", "1", "--if-value", ""}, 0, "GET POST PUT"},
		{[]string{"k", "2", "--if-value", "1"}, 0, "GET PATCH"},
		{[]string{"k", "3"}, 0, "GET PATCH"},
		{[]string{"k", "4", "--if-value", "2"}, 79, "GET"},
		{[]string{"k", "4", "--if-value", "3", "--try"}, 0, "GET PUT PUT"},
	} {
		var r requests
		finish(t, through(t, ns, func(w http.ResponseWriter, req *http.Request, pass http.Handler) {
			r.add(req.Method)
			pass.ServeHTTP(w, req)
		}, append([]string{"set"}, tt.args...)...)).want(t, tt.code)
		if got := strings.Join(r.sent, " "); got != tt.want {
			t.Errorf("set %q sends %s, want %s", tt.args, got, tt.want)
		}
	}
	if v := object(t, ns, "k").Spec.Value; v == nil || *v != "4" {
		t.Errorf("the state is %v, want 4", v)
	}
}

// TestSetQueues has the lock held: the state is compared, and written, when the holder hands it over.
func TestSetQueues(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	lock := kubelock.NewLock[json.RawMessage](of(t, ns, kubelock.DistributedLocks, "me"), "k")
	for _, tt := range []struct {
		before string
		code   int
		after  string
	}{{"1", 0, "2"}, {"7", 79, "7"}} {
		held, err := lock.Acquire(within(t, patience))
		if err != nil {
			t.Fatal(err)
		}
		held.Update(json.RawMessage(tt.before))
		cmd := command(t, ns, "set", "k", "2", "--if-value", "1")
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it queues", func() bool { return len(object(t, ns, "k").Spec.Waiters) == 1 })
		if err := held.Release(within(t, patience)); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // Its exit code is looked at.
		result{code: cmd.ProcessState.ExitCode(), err: stderr.String()}.want(t, tt.code)
		if spec := object(t, ns, "k").Spec; spec.Holder != nil || spec.Value == nil || *spec.Value != tt.after {
			t.Errorf("after a holder that leaves %s the lock is %+v, want a free one with %s", tt.before, spec, tt.after)
		}
	}
}

// TestSetEndsDuringItsWrite lets the wait end while the write is on its way: its outcome is known if the answer
// comes soon, and is said to be unknown otherwise.
func TestSetEndsDuringItsWrite(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for _, tt := range []struct {
		name    string
		answers bool
		code    int
		says    []string
	}{
		{"answered", true, 0, nil},
		{"not answered", false, 128 + int(syscall.SIGINT), []string{"outcome unknown", `"interrupt"`, "kubectl dlock describe"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			dlock(t, ns, "set", "k", "0").want(t, 0) // The write that creates an object has no state.
			written, answer := make(chan struct{}, 9), make(chan struct{})
			cmd := through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				if r.Method == http.MethodGet {
					pass.ServeHTTP(w, r)
					return
				}
				kept := httptest.NewRecorder()
				pass.ServeHTTP(kept, r)
				written <- struct{}{}
				select {
				case <-answer:
				case <-r.Context().Done():
					panic(http.ErrAbortHandler)
				}
				maps.Copy(w.Header(), kept.Header())
				w.WriteHeader(kept.Code)
				_, _ = w.Write(kept.Body.Bytes()) // The plugin says so if it gets none.
			}, "set", "k", "1")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-written
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
			if tt.answers {
				close(answer)
			}
			_ = cmd.Wait() // Its exit code is looked at.
			result{code: cmd.ProcessState.ExitCode(), err: stderr.String()}.want(t, tt.code, tt.says...)
			if v := object(t, ns, "k").Spec.Value; v == nil || *v != "1" {
				t.Errorf("the state is %v, want 1", v)
			}
		})
	}
}
