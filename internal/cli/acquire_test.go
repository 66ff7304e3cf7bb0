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
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/internal/testing/testenv"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// grasp takes a lock by the plugin, and returns its lock ID and token.
func grasp(t testing.TB, ns, key string, flags ...string) (lockID string, token int64) {
	t.Helper()
	r := dlock(t, ns, append([]string{"acquire", key, "-o", "json", "--duration", "1h"}, flags...)...)
	r.want(t, 0)
	var got struct {
		Key        string    `json:"key"`
		LockID     string    `json:"lockID"`
		Token      int64     `json:"token"`
		ExpireTime time.Time `json:"expireTime"`
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatal(err, r.out)
	}
	if got.Key != key || got.LockID == "" || got.Token <= 0 || time.Until(got.ExpireTime) < 30*time.Minute || time.Until(got.ExpireTime) > time.Hour {
		t.Errorf("it prints %s", r.out)
	}
	return got.LockID, got.Token
}

// shown is a lock as the plugin shows it.
type shown struct {
	Holder *struct {
		Identity string `json:"identity"`
		LockID   string `json:"lockID"`
		Duration string `json:"duration"`
		Token    int64  `json:"token"`
	} `json:"holder"`
	LastRelease *struct {
		LockID string `json:"lockID"`
		Reason string `json:"reason"`
		Token  int64  `json:"token"`
	} `json:"lastRelease"`
	Resting bool `json:"resting"`
	Waiters []struct {
		Identity string `json:"identity"`
	} `json:"waiters"`
	Value json.RawMessage `json:"value"`
}

func show(t testing.TB, ns, key string, flags ...string) (s shown) {
	t.Helper()
	r := dlock(t, ns, append([]string{"get", key, "-o", "json"}, flags...)...)
	r.want(t, 0)
	if err := json.Unmarshal([]byte(r.out), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestAcquireRelease takes a lock in one process and releases it in another, which hands it
// to who waits.
func TestAcquireRelease(t *testing.T) {
	t.Parallel()
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			in := []string{"--backend", string(backend)}
			c := of(t, ns, backend, "waiter")
			keep(t, c, "a/Key", `"state"`)
			id, token := grasp(t, ns, "a/Key", in...)
			if s := show(t, ns, "a/Key", in...); s.Holder == nil || s.Holder.LockID != id || s.Holder.Token != token || s.Holder.Duration != "1h0m0s" {
				t.Fatalf("after the process has ended the holder is %+v", s.Holder)
			}
			dlock(t, ns, "acquire", "a/Key", "--try", "--backend", string(backend)).want(t, 75, "held by")
			dlock(t, ns, "release", "a/Key", "--lock-id", "another-1", "--backend", string(backend)).want(t, 76, "not held with the lock ID", id)

			waited := make(chan error, 1)
			go func() {
				h, err := kubelock.NewLock[json.RawMessage](c, "a/Key").Acquire(within(t, patience))
				if err == nil {
					if string(h.Value()) != `"state"` || h.Token() <= token {
						t.Errorf("the waiter has the state %s and the token %d after %d", h.Value(), h.Token(), token)
					}
					err = h.Release(within(t, patience))
				}
				waited <- err
			}()
			eventually(t, "it queues", func() bool { return len(show(t, ns, "a/Key", in...).Waiters) == 1 })
			dlock(t, ns, "release", "a/Key", "--lock-id", id, "--backend", string(backend)).want(t, 0)
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
			dlock(t, ns, "release", "a/Key", "--lock-id", id, "--backend", string(backend)).want(t, 76, "no client holds it")

			id, token = grasp(t, ns, "a/Key", in...)
			dlock(t, ns, "release", "a/Key", "--lock-id", id, "--backend", string(backend)).want(t, 0)
			s := show(t, ns, "a/Key", in...)
			if s.Holder != nil || s.LastRelease.LockID != id || s.LastRelease.Token != token || s.LastRelease.Reason != "Released" || string(s.Value) != `"state"` {
				t.Errorf("released, it is %+v, last release %+v", s, s.LastRelease)
			}
			dlock(t, ns, "release", "a/Key", "--lock-id", id, "--backend", string(backend)).want(t, 76, "that hold ended at", "Released")
		})
	}
}

// TestAcquireFromTheQueue checks that a lock which was handed on is left with the lease that
// was asked for, and not with the short one of a waiter.
func TestAcquireFromTheQueue(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	held, err := kubelock.NewLock[any](of(t, ns, kubelock.DistributedLocks, "first"), "k").Acquire(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	cmd := command(t, ns, "acquire", "k", "--duration", "1h", "-o", "json")
	ended := make(chan result, 1)
	go func() { ended <- finish(t, cmd) }()
	eventually(t, "it queues", func() bool { return len(object(t, ns, "k").Spec.Waiters) == 1 })
	if err := held.Release(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	r := <-ended
	r.want(t, 0)
	h := object(t, ns, "k").Spec.Holder
	if h == nil || h.Duration.Duration != time.Hour || !strings.Contains(r.out, h.LockID) {
		t.Errorf("the holder is %+v, it prints %s", h, r.out)
	}
}

// TestAcquireForAShell evaluates the output, of a key that would do harm.
func TestAcquireForAShell(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	cmd := exec.CommandContext(within(t, patience), "sh", "-c", `
		lock=$("$PLUGIN" -n "$NS" acquire "$KEY" -o env --duration 1h) || exit 9
		eval "$lock"
		sh -c 'echo "$KUBELOCK_KEY $KUBELOCK_LOCK_ID $KUBELOCK_TOKEN"'
		"$PLUGIN" -n "$NS" release "$KUBELOCK_KEY"`)
	const key = `it's; "$(exit)"`
	cmd.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig(), "PLUGIN="+plugin, "NS="+ns, "KEY="+key)
	r := finish(t, cmd)
	r.want(t, 0)
	rest, ok := strings.CutPrefix(r.out, key+" ")
	fields := strings.Fields(rest)
	if !ok || len(fields) != 2 {
		t.Fatalf("the shell has %q", r.out)
	}
	last := show(t, ns, key).LastRelease
	if last == nil || last.LockID != fields[0] || strconv.FormatInt(last.Token, 10) != fields[1] || last.Reason != "Released" {
		t.Errorf("the last release is %+v, the shell had %q", last, fields)
	}
}

func TestAcquireRefuses(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	hold(t, ns, "taken")
	for _, tt := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"acquire"}, 64, "one KEY"},
		{[]string{"acquire", ""}, 64, "empty"},
		{[]string{"acquire", "k", "-o", "sh"}, 64, "--output"},
		{[]string{"acquire", "k", "--duration", "1ms"}, 64, "at least 10ms"},
		{[]string{"acquire", "taken", "--timeout", "300ms"}, 75, `held by "somebody"`},
		{[]string{"release", "k"}, 64, "--lock-id"},
		{[]string{"release", "", "--lock-id", "x"}, 64, "empty"},
		{[]string{"release", "nothing", "--lock-id", "x"}, 76, "no client holds it"},
	} {
		dlock(t, ns, tt.args...).want(t, tt.code, tt.err)
	}
}

// TestAcquireThatCannotBeTold releases the lock when nobody learns its lock ID.
func TestAcquireThatCannotBeTold(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	cmd := exec.CommandContext(within(t, patience), "sh", "-c", `exec "$PLUGIN" -n "$NS" acquire k --duration 1h >/dev/full`)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+env.Kubeconfig(), "PLUGIN="+plugin, "NS="+ns)
	finish(t, cmd).want(t, 69, "/dev/stdout")
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestReleaseAfterTheLease frees a lock whose lease is over, and says so.
func TestReleaseAfterTheLease(t *testing.T) {
	t.Parallel()
	testenv.Slow(t)
	ns := env.Namespace(t)
	r := dlock(t, ns, "acquire", "k", "--duration", "1s", "-o", "json")
	r.want(t, 0)
	var got struct {
		LockID string `json:"lockID"`
	}
	if err := json.Unmarshal([]byte(r.out), &got); err != nil {
		t.Fatal(err)
	}
	dlock(t, ns, "wait", "k", "--timeout", "1m").want(t, 0)
	eventually(t, "the server's clock shows that the lease is over", func() bool {
		return time.Since(object(t, ns, "k").Spec.Holder.RenewTime.Time) > 5*time.Second
	})
	dlock(t, ns, "release", "k", "--lock-id", got.LockID).want(t, 76, "had ended before the release")
	free(t, ns, "k", v1alpha1.ReasonReleased)
}

// TestAcquireUnheard releases a lock whose ID nobody could be told.
func TestAcquireUnheard(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := read.Close(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = write.Close() }()
	cmd := command(t, ns, "acquire", "k", "--duration", "1h")
	cmd.Stdout = write
	_ = cmd.Run() // Its exit code is looked at.
	if code := cmd.ProcessState.ExitCode(); code != 69 {
		t.Errorf("exit code %d, want 69", code)
	}
	free(t, ns, "k", v1alpha1.ReasonReleased)
}
