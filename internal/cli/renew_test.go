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
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// expiry is what the plugin prints, as JSON, of the end of a lease.
func expiry(t testing.TB, r result) time.Time {
	t.Helper()
	var got struct {
		ExpireTime time.Time `json:"expireTime"`
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatal(err, r.out)
	}
	return got.ExpireTime
}

// TestRenew renews, in each kind of object, what another process has acquired. The state, the token and
// the queue stay as they are.
func TestRenew(t *testing.T) {
	t.Parallel()
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			in := []string{"--backend", string(backend)}
			keep(t, of(t, ns, backend, "me"), "a/Key", `"state"`)
			id, token := grasp(t, ns, "a/Key", in...)
			for _, tt := range []struct{ duration, stored string }{
				{"2h", "2h0m0s"}, {"", "2h0m0s"}, {"3h", "3h0m0s"},
			} {
				before := time.Now()
				args := append([]string{"renew", "a/Key", "--lock-id", id, "-o", "json"}, in...)
				if tt.duration != "" {
					args = append(args, "--duration", tt.duration)
				}
				r := dlock(t, ns, args...)
				r.want(t, 0)
				want, err := time.ParseDuration(tt.stored)
				if err != nil {
					t.Fatal(err)
				}
				if end := expiry(t, r); end.Before(before.Add(want).Truncate(time.Millisecond)) || end.After(time.Now().Add(want)) {
					t.Errorf("renewed for %v after %v, the lease is printed to end at %v", want, before, end)
				}
				s := show(t, ns, "a/Key", in...)
				if s.Holder == nil || s.Holder.LockID != id || s.Holder.Token != token || s.Holder.Duration != tt.stored || string(s.Value) != `"state"` {
					t.Errorf("renewed for %s the holder is %+v, the state %s", tt.stored, s.Holder, s.Value)
				}
				if r.err != "" {
					t.Errorf("it says %q", r.err)
				}
			}
			dlock(t, ns, "release", "a/Key", "--lock-id", id, "--backend", string(backend)).want(t, 0)
			dlock(t, ns, "renew", "a/Key", "--lock-id", id, "--backend", string(backend)).want(t, 76, "no client holds it", "that hold ended at", "Released")
		})
	}
}

// TestRenewDoesNotShorten lets the lease last for as long as it did, and says so.
func TestRenewDoesNotShorten(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	r := dlock(t, ns, "acquire", "k", "-o", "json", "--duration", "1h")
	r.want(t, 0)
	id := show(t, ns, "k").Holder.LockID
	was := object(t, ns, "k").Spec.Holder
	renewed := dlock(t, ns, "renew", "k", "--lock-id", id, "--duration", "1m", "-o", "json")
	renewed.want(t, 0, "and not for 1m0s", "does not end it earlier")
	now := object(t, ns, "k").Spec.Holder
	if end := expiry(t, renewed); end.Before(expiry(t, r)) {
		t.Errorf("the lease was printed to end at %v, and after a renewal at %v", expiry(t, r), end)
	}
	if old, end := was.RenewTime.Add(was.Duration.Duration), now.RenewTime.Add(now.Duration.Duration); end.Before(old) || now.Duration.Duration > time.Hour {
		t.Errorf("for others it ended at %v, and after a renewal at %v, with a lease of %v", old, end, now.Duration.Duration)
	}
}

// TestRenewOfAnotherHold neither renews nor changes what is no hold with that lock ID.
func TestRenewOfAnotherHold(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	id, _ := grasp(t, ns, "k")
	dlock(t, ns, "release", "k", "--lock-id", id).want(t, 0)
	other, _ := grasp(t, ns, "k")
	was := object(t, ns, "k").ResourceVersion
	dlock(t, ns, "renew", "k", "--lock-id", id).want(t, 76, "not held with the lock ID", other)
	for _, tt := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"renew"}, 64, "one KEY"},
		{[]string{"renew", "k"}, 64, "renew needs the --lock-id"},
		{[]string{"renew", "k", "--lock-id", other, "--duration", "1ms"}, 64, "at least 10ms"},
		{[]string{"renew", "k", "--lock-id", other, "--duration", "0"}, 64, "at least 10ms"},
		{[]string{"renew", "k", "--lock-id", other, "-o", "sh"}, 64, "--output"},
		{[]string{"renew", "nothing", "--lock-id", "x"}, 76, "no client holds it"},
	} {
		dlock(t, ns, tt.args...).want(t, tt.code, tt.err)
	}
	if now := object(t, ns, "k").ResourceVersion; now != was {
		t.Errorf("the lock was written: version %s, then %s", was, now)
	}
}

// TestRenewAfterTheLease writes nothing, whether another client has the lock since or not.
func TestRenewAfterTheLease(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	id, _ := grasp(t, ns, "k")
	obj := object(t, ns, "k") // The same, but that it was renewed an hour ago for the last time.
	patch := client.MergeFrom(obj.DeepCopy())
	past := func(at metav1.MicroTime) metav1.MicroTime { return metav1.NewMicroTime(at.Add(-2 * time.Hour)) }
	obj.Spec.Holder.AcquireTime, obj.Spec.Holder.RenewTime = past(obj.Spec.Holder.AcquireTime), past(obj.Spec.Holder.RenewTime)
	if err := env.Client(t).Patch(t.Context(), obj, patch); err != nil {
		t.Fatal(err)
	}
	was := object(t, ns, "k").ResourceVersion
	dlock(t, ns, "renew", "k", "--lock-id", id, "--duration", "1h").want(t, 76, "had ended before the renewal", "nothing was renewed")
	if now := object(t, ns, "k").ResourceVersion; now != was {
		t.Errorf("the lock was written: version %s, then %s", was, now)
	}
	held, err := kubelock.NewLock[any](of(t, ns, kubelock.DistributedLocks, "next"), "k").TryAcquire(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	dlock(t, ns, "renew", "k", "--lock-id", id).want(t, 76, `"next" holds it`, "Expired")
	if err := held.Release(within(t, patience)); err != nil {
		t.Error("the hold that followed:", err)
	}
}

// TestRenewWithoutAnAnswer has the connection break after the first write was done, or before it was:
// each renewal succeeds, and prints an end that the lock lasts to.
func TestRenewWithoutAnAnswer(t *testing.T) {
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
			}, "renew", "k", "--lock-id", id, "--duration", "2h", "-o", "json")
			r := finish(t, cmd)
			r.want(t, 0)
			h := object(t, ns, "k").Spec.Holder
			if h == nil || h.LockID != id || h.Duration.Duration != 2*time.Hour {
				t.Fatalf("the holder is %+v", h)
			}
			if end := expiry(t, r); end.After(h.RenewTime.Add(2 * time.Hour)) {
				t.Errorf("it prints that the lease ends at %v, others have it end at %v", end, h.RenewTime.Add(2*time.Hour))
			}
			if reads.Load() < 2 {
				t.Errorf("%d writes and %d reads, want a read after the one without an answer", sent.Load(), reads.Load())
			}
		})
	}
}

// TestRenewThatLosesARace has another client take the lock just before the write arrives: the write
// is refused, and the exit code says that the hold is over.
func TestRenewThatLosesARace(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	id, _ := grasp(t, ns, "k")
	var once atomic.Bool
	cmd := through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if writes(r) && once.CompareAndSwap(false, true) {
			dlock(t, ns, "release", "k", "--lock-id", id).want(t, 0)
			grasp(t, ns, "k")
		}
		pass.ServeHTTP(w, r)
	}, "renew", "k", "--lock-id", id)
	finish(t, cmd).want(t, 76, "not held with the lock ID")
	if h := object(t, ns, "k").Spec.Holder; h == nil || h.LockID == id {
		t.Errorf("the holder is %+v", h)
	}
}

// TestRenewRefused changes nothing and says so.
func TestRenewRefused(t *testing.T) {
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
	}, "renew", "k", "--lock-id", id)
	finish(t, cmd).want(t, 69, "nothing was changed", "no permission to update", "kubelock-user")
}

// TestRenewForAShell runs the command that acquire prints, for a person and for a shell, of a
// key that would do harm.
func TestRenewForAShell(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	for _, key := range []string{"plain", `it's; "$(exit)"`, "two\nexit 9", "-dash"} {
		cmd := exec.CommandContext(within(t, patience), "sh", "-c", `
			kubectl() { shift; "$PLUGIN" "$@"; }
			lock=$("$PLUGIN" -n "$NS" acquire -o env --duration 1h -- "$KEY") || exit 8
			eval "$lock"
			eval "$(printf '%s\n' "$lock" | sed -n 's/^# Renew: *//p')"
			text=$("$PLUGIN" -n "$NS" renew --duration 2h -- "$KUBELOCK_KEY") || exit 7
			eval "$(printf '%s\n' "$text" | sed -n 's/^renew: *//p')"
			eval "$(printf '%s\n' "$text" | sed -n 's/^release: *//p')"`)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig(), "PLUGIN="+plugin, "NS="+ns, "KEY="+key)
		r := finish(t, cmd)
		r.want(t, 0)
		if strings.Count(r.out, "expires:") != 2 {
			t.Errorf("of %q it prints %s", key, r.out)
		}
		var last shown
		if err := json.Unmarshal([]byte(dlock(t, ns, "get", "-o", "json", "--", key).out), &last); err != nil {
			t.Fatal(err)
		}
		if last.Holder != nil || last.LastRelease == nil || last.LastRelease.Reason != string(v1alpha1.ReasonReleased) {
			t.Errorf("the last release of %q is %+v", key, last.LastRelease)
		}
	}
}

// TestScriptsGuide runs the scripts of the guide, once with work that succeeds and once with a lock that
// is taken away while they work.
func TestScriptsGuide(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	text, err := os.ReadFile(filepath.Join(env.Root, "docs", "guide", "scripts.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) != 2 {
		t.Fatalf("%d scripts were found, want 2", len(blocks))
	}
	const kubectl = "#!/bin/sh\nshift\nexec \"$PLUGIN\" -n \"$NS\" \"$@\"\n"
	for i, block := range blocks {
		for name, tt := range map[string]struct {
			work string
			code int
			kept v1alpha1.ReleaseReason
		}{
			"done": {"echo did \"$KUBELOCK_TOKEN\"", 0, v1alpha1.ReasonReleased},
			"lost": {"kubectl dlock release deploy; while [ \"$(basename $0)\" = publish.sh ]; do sleep 0.1; done", 76, v1alpha1.ReasonReleased},
		} {
			t.Run(fmt.Sprint(i, name), func(t *testing.T) {
				t.Parallel()
				ns, dir := env.Namespace(t), t.TempDir()
				for _, file := range []string{"build.sh", "test.sh", "publish.sh"} {
					writeProgram(t, filepath.Join(dir, file), "#!/bin/sh\n"+tt.work+"\n")
				}
				writeProgram(t, filepath.Join(dir, "kubectl"), kubectl)
				cmd := exec.CommandContext(within(t, 2*patience), "sh", "-c", strings.ReplaceAll(block[1], "sleep 60", "sleep 0.3"))
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig(), "PLUGIN="+plugin, "NS="+ns, "PATH="+dir+":"+os.Getenv("PATH"))
				r := finish(t, cmd)
				r.want(t, tt.code)
				if tt.code == 0 && !strings.Contains(r.out, "did ") {
					t.Errorf("it prints %s", r.out)
				}
				free(t, ns, "deploy", tt.kept)
			})
		}
	}
}

func writeProgram(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
}
