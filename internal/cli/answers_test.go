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
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
)

// through returns the plugin with an API server behind handler, which gets what passes a
// request on.
func through(t *testing.T, ns string, handler func(w http.ResponseWriter, r *http.Request, pass http.Handler), args ...string) *exec.Cmd {
	t.Helper()
	transport, err := rest.TransportFor(env.Config)
	if err != nil {
		t.Fatal(err)
	}
	target, err := url.Parse(env.Config.Host)
	if err != nil {
		t.Fatal(err)
	}
	pass := &httputil.ReverseProxy{Transport: transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler(w, r, pass) }))
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	config := clientcmdapi.NewConfig()
	config.Clusters["c"] = &clientcmdapi.Cluster{Server: server.URL}
	config.Contexts["c"] = &clientcmdapi.Context{Cluster: "c"}
	config.CurrentContext = "c"
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(within(t, 2*patience), plugin, append([]string{"-n", ns}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+file)
	return cmd
}

func writes(r *http.Request) bool { return r.Method == http.MethodPut || r.Method == http.MethodPatch }

// TestReleaseWithoutAnAnswer has the connection break after the first write was done, or
// before it was: both releases succeed, by one hold's end each.
func TestReleaseWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for name, done := range map[string]bool{"done": true, "not done": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			id, _ := grasp(t, ns, "k")
			var sent, reads atomic.Int32
			cmd := through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
				switch {
				case !writes(r):
					reads.Add(1)
					pass.ServeHTTP(w, r)
				case sent.Add(1) > 1:
					pass.ServeHTTP(w, r)
				case done:
					pass.ServeHTTP(httptest.NewRecorder(), r)
					panic(http.ErrAbortHandler)
				default:
					panic(http.ErrAbortHandler)
				}
			}, "release", "k", "--lock-id", id)
			finish(t, cmd).want(t, 0)
			free(t, ns, "k", v1alpha1.ReasonReleased)
			want := int32(2)
			if done {
				want = 1
			}
			if sent.Load() != want || reads.Load() < 2 {
				t.Errorf("%d writes and %d reads, want %d writes, and a read after the one without an answer", sent.Load(), reads.Load(), want)
			}
		})
	}
}

// TestReleaseThatCannotBeReadBack says that it does not know.
func TestReleaseThatCannotBeReadBack(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	id, _ := grasp(t, ns, "k")
	var gone atomic.Bool
	written := make(chan struct{}, 9)
	cmd := through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if writes(r) {
			pass.ServeHTTP(httptest.NewRecorder(), r)
			gone.Store(true)
			written <- struct{}{}
		}
		if gone.Load() {
			panic(http.ErrAbortHandler)
		}
		pass.ServeHTTP(w, r)
	}, "release", "k", "--lock-id", id)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-written
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // Its exit code is looked at.
	result{code: cmd.ProcessState.ExitCode(), err: stderr.String()}.want(t, 128+2, "outcome unknown", "kubectl dlock describe")
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestReleaseRefused changes nothing and says so.
func TestReleaseRefused(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	id, _ := grasp(t, ns, "k")
	cmd := through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if writes(r) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":403,"reason":"Forbidden",` +
				`"message":"distributedlocks.kubelock.dev \"k\" is forbidden: User \"u\" cannot update resource"}`))
			return
		}
		pass.ServeHTTP(w, r)
	}, "release", "k", "--lock-id", id)
	finish(t, cmd).want(t, 69, "nothing was changed", "no permission to update", "kubelock-user")
	if h := object(t, ns, "k").Spec.Holder; h == nil || h.LockID != id {
		t.Errorf("the holder is %+v", h)
	}
}

// TestRunWithoutAnAnswer has the API server vanish with the answer to the release: the
// command has run, so that the plugin must not say that the lock was not acquired.
func TestRunWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	var sent atomic.Int32
	r := finish(t, through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method != http.MethodGet && sent.Add(1) == 2 {
			pass.ServeHTTP(httptest.NewRecorder(), r)
		}
		if sent.Load() > 1 {
			panic(http.ErrAbortHandler)
		}
		pass.ServeHTTP(w, r)
	}, "run", "k", "--no-renew", "--duration", "5s", "--", "sh", "-c", `echo 1 >"$KUBELOCK_VALUE_FILE"`))
	r.want(t, 69, "outcome unknown")
	if v := object(t, ns, "k").Spec.Value; v == nil || *v != "1" {
		t.Errorf("the state is %v, want what the command left", v)
	}
}

// TestSilentServer asks a server that never answers.
func TestSilentServer(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for _, args := range [][]string{{"get", "k"}, {"list"}} {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel()
			cmd := through(t, env.Namespace(t), func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
				<-r.Context().Done()
			}, append([]string{"--request-timeout", "2s"}, args...)...)
			finish(t, cmd).want(t, 69)
		})
	}
}

// TestWarningsAreShownOnce has the API server warn at each write.
func TestWarningsAreShownOnce(t *testing.T) {
	t.Parallel()
	r := finish(t, through(t, env.Namespace(t), func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if r.Method != http.MethodGet {
			w.Header().Add("Warning", `299 - "locks need a team"`)
		}
		pass.ServeHTTP(w, r)
	}, "run", "k", "--duration", "300ms", "--", "sleep", "1"))
	r.want(t, 0)
	if n := strings.Count(r.err, "Warning: locks need a team\n"); n != 1 {
		t.Errorf("the warning was shown %d times: %q", n, r.err)
	}
}

// unreachable are the commands that wait, for a server that refuses connections.
var unreachable = map[string][]string{
	"run":     {"run", "k", "--", "true"},
	"acquire": {"acquire", "k"},
	"set":     {"set", "k", "1"},
	"wait":    {"wait", "k"},
	"delete":  {"delete", "k"},
}

// TestUnreachableIsTold has each command that waits say what it waits for, once.
func TestUnreachableIsTold(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for name, args := range unreachable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &running{Cmd: command(t, "default", append([]string{"--server", "https://127.0.0.1:1"}, args...)...), output: &output{}}
			r.Stdout, r.Stderr = r.output, r.output
			if err := r.Start(); err != nil {
				t.Fatal(err)
			}
			const told = "waiting for the API server https://127.0.0.1:1: connect: connection refused\n"
			r.until(t, told)
			if err := r.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			r.end(t, 128+15)
			if n := strings.Count(r.output.String(), "waiting for"); n != 1 {
				t.Errorf("it is told %d times, want once: %s", n, r.output)
			}
		})
	}
}

// TestUnreachableIsToldInTime has each of these commands say what it waits for before its own --timeout of three seconds:
// by the same clock, whatever the machine does meanwhile.
func TestUnreachableIsToldInTime(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for name, args := range unreachable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := dlock(t, "default", append([]string{"--server", "https://127.0.0.1:1", args[0], "--timeout", "3s"}, args[1:]...)...)
			r.want(t, 69, "waiting for the API server https://127.0.0.1:1: connect: connection refused\nerror: ")
		})
	}
}

// TestQuiet tells nothing but how the wait ended.
func TestQuiet(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for name, args := range unreachable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"--server", "https://127.0.0.1:1", "-q", args[0], "--timeout", "3s"}, args[1:]...)
			r := dlock(t, "default", args...)
			r.want(t, 69, "the API server https://127.0.0.1:1 cannot be reached: connect: connection refused")
			if !strings.HasPrefix(r.err, "error: ") || strings.Count(r.err, "\n") != 1 {
				t.Errorf("it tells %q", r.err)
			}
		})
	}
}

// TestTroubleIsToldAsItChanges has the server overloaded, then silent, then well.
func TestTroubleIsToldAsItChanges(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	const overloaded, silent, well = 0, 1, 2
	var state atomic.Int32
	changed := make(chan struct{})
	cmd := through(t, env.Namespace(t), func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		switch state.Load() {
		case overloaded:
			w.WriteHeader(http.StatusServiceUnavailable)
		case silent:
			select {
			case <-r.Context().Done():
			case <-changed:
			}
			panic(http.ErrAbortHandler)
		default:
			pass.ServeHTTP(w, r)
		}
	}, "run", "k", "--", "true")
	r := &running{Cmd: cmd, output: &output{}}
	r.Stdout, r.Stderr = r.output, r.output
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	r.until(t, ": it answers 503 Service Unavailable\n")
	state.Store(silent)
	r.until(t, ": no answer\n")
	state.Store(well)
	close(changed)
	r.end(t, 0, "answers again")
}

// TestTimeoutOfASilentServer does not wait for longer than its flags say.
func TestTimeoutOfASilentServer(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	for name, args := range unreachable {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{args[0], "--timeout", "2s"}, args[1:]...)
			cmd := through(t, env.Namespace(t), func(_ http.ResponseWriter, r *http.Request, _ http.Handler) {
				<-r.Context().Done()
			}, args...)
			begun := time.Now()
			finish(t, cmd).want(t, 69, "cannot be reached: no answer")
			if took := time.Since(begun); took > 8*time.Second { // The library's own bound for a request is ten.
				t.Errorf("it takes %v, want two seconds", took)
			}
		})
	}
}
