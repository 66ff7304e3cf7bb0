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
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/kubelock/kubelock/api/v1alpha1"
	"github.com/kubelock/kubelock/pkg/kubelock"
)

// TestBreakHandsOn breaks a hold that somebody waits behind: the state stays, the holder
// learns of it, an Event tells who did it and why.
func TestBreakHandsOn(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			in := []string{"--backend", string(backend)}
			c := of(t, ns, backend, "victim")
			keep(t, c, "k", `"state"`)
			held, err := kubelock.NewLock[json.RawMessage](c, "k").Acquire(within(t, patience))
			if err != nil {
				t.Fatal(err)
			}
			heir := of(t, ns, backend, "heir")
			waited := make(chan error, 1)
			go func() {
				h, err := kubelock.NewLock[json.RawMessage](heir, "k").Acquire(within(t, patience))
				if err == nil && (string(h.Value()) != `"state"` || h.Token() <= held.Token()) {
					t.Errorf("the next hold has the state %s and the token %d after %d", h.Value(), h.Token(), held.Token())
				}
				waited <- err
			}()
			eventually(t, "it queues", func() bool { return len(show(t, ns, "k", in...).Waiters) == 1 })

			dlock(t, ns, "break", "k", "--reason", "r", "--yes", "--lock-id", "other-1", "--backend", string(backend)).want(t, 79, "victim", "nothing was changed")
			r := dlock(t, ns, "break", "k", "--reason", "node-3 is gone", "--yes", "--lock-id", held.ID(), "--backend", string(backend))
			r.want(t, 0, held.ID(), "Holder:", "victim", "heir, first of 1", "heir has it now")
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
			if err := held.Renew(within(t, patience)); !errors.Is(err, kubelock.ErrLost) {
				t.Errorf("the holder's renewal says %v", err)
			}
			s := show(t, ns, "k", in...)
			if s.Holder == nil || s.Holder.Identity != "heir" || s.LastRelease.Reason != "Forced" || s.LastRelease.LockID != held.ID() || string(s.Value) != `"state"` {
				t.Errorf("the lock is %+v, holder %+v, last release %+v", s, s.Holder, s.LastRelease)
			}
			e := env.Event(t, patience, ns, "k", "LockBroken")
			if e.Type != "Warning" || e.Action != "BreakLock" || !strings.HasPrefix(e.Note, "node-3 is gone (broken by ") || !strings.Contains(e.Note, "victim held it") ||
				!strings.Contains(e.Note, held.ID()) || !strings.HasSuffix(e.Note, "heir has it now)") {
				t.Errorf("the event is %s %s %q", e.Type, e.Action, e.Note)
			}
			if kind := strings.TrimSuffix(string(backend), "s"); e.Regarding.Kind != kind || e.Regarding.UID == "" {
				t.Errorf("the event is about %+v", e.Regarding)
			}
			if d := dlock(t, ns, "describe", "k", "--backend", string(backend)); !strings.Contains(d.out, "node-3 is gone") {
				t.Errorf("the event is not in\n%s", d.out)
			}
		})
	}
}

func TestBreakFrees(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	for _, backend := range kinds {
		t.Run(string(backend), func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			in := []string{"--backend", string(backend)}
			long := strings.Repeat("k", 253)
			_, token := grasp(t, ns, long, in...)
			reason := strings.Repeat("é", 256) // The longest.
			dlock(t, ns, "break", long, "--reason", reason, "--yes", "--backend", string(backend)).want(t, 0, "it is free now")
			if s := show(t, ns, long, in...); s.Holder != nil || s.LastRelease.Reason != "Forced" || s.LastRelease.Token != token {
				t.Errorf("the lock is %+v, last release %+v", s, s.LastRelease)
			}
			if e := env.Event(t, patience, ns, long, "LockBroken"); !strings.HasPrefix(e.Note, reason+" (broken by ") {
				t.Errorf("the event is %q", e.Note)
			}
			dlock(t, ns, "break", long, "--reason", "again", "--yes", "--backend", string(backend)).want(t, 79, "nobody holds")
			if _, next := grasp(t, ns, long, in...); next <= token {
				t.Errorf("the token %d follows %d", next, token)
			}
		})
	}
}

func TestBreakRefuses(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	hold(t, ns, "taken")
	for _, tt := range []struct {
		args []string
		code int
		err  string
	}{
		{[]string{"taken", "--reason", "r"}, 79, "no terminal"},
		{[]string{"taken", "--yes"}, 64, "needs a --reason"},
		{[]string{"taken", "--yes", "--reason", " "}, 64, "needs a --reason"},
		{[]string{"taken", "--yes", "--reason", strings.Repeat("x", 513)}, 64, "at most 512"},
		{[]string{"taken", "--yes", "--reason", "\xff"}, 64, "UTF-8"},
		{[]string{"--yes", "--reason", "r"}, 64, "one KEY"},
		{[]string{"nothing", "--yes", "--reason", "r"}, 66, "no lock"},
	} {
		dlock(t, ns, append([]string{"break"}, tt.args...)...).want(t, tt.code, tt.err)
	}
	if h := object(t, ns, "taken").Spec.Holder; h == nil || h.Identity != "somebody" {
		t.Errorf("the holder is %+v", h)
	}
}

// TestBreakAsks answers on a terminal.
func TestBreakAsks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		keys   string
		code   int
		says   string
		broken bool
	}{
		"yes":    {"yes\n", 0, "The lock is broken", true},
		"no":     {"no\n", 79, "not confirmed", false},
		"enter":  {"\n", 79, "not confirmed", false},
		"Ctrl-D": {"\x04", 79, "not confirmed", false},
		"Ctrl-C": {"\x03", 128 + 2, "interrupt", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := env.Namespace(t)
			hold(t, ns, "k")
			r, keyboard := atTerminal(t, command(t, ns, "break", "k", "--reason", "r"))
			r.until(t, "Type yes to do so: ")
			r.until(t, "somebody")
			press(t, keyboard, tc.keys)
			r.end(t, tc.code)
			r.until(t, tc.says)
			if h := object(t, ns, "k").Spec.Holder; (h == nil) != tc.broken {
				t.Errorf("the holder is %+v", h)
			}
		})
	}
}

// TestBreakOfAnotherHold has the lock change hands while the person thinks: by the same
// client, so that only the hold tells.
func TestBreakOfAnotherHold(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	lock := kubelock.NewLock[any](of(t, ns, kubelock.DistributedLocks, "somebody"), "k")
	first, err := lock.Acquire(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	r, keyboard := atTerminal(t, command(t, ns, "break", "k", "--reason", "r"))
	r.until(t, "Type yes to do so: ")
	if err := first.Release(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	second, err := lock.Acquire(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	press(t, keyboard, "yes\n")
	r.end(t, 79)
	r.until(t, "has ended meanwhile")
	if err := second.Renew(within(t, patience)); err != nil {
		t.Errorf("the second hold was broken: %v", err)
	}
	noEvent(t, ns)
}

// noEvent checks that nothing tells of a lock that was not broken.
func noEvent(t *testing.T, ns string) {
	t.Helper()
	events, err := env.Clientset(t).EventsV1().Events(ns).List(within(t, patience), metav1.ListOptions{})
	if err != nil || len(events.Items) > 0 {
		t.Errorf("there are events: %v %v", events.Items, err)
	}
}

// TestBreakOfARenewedHold breaks the hold that was shown also if it goes on.
func TestBreakOfARenewedHold(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	held, err := kubelock.NewLock[any](of(t, ns, kubelock.DistributedLocks, "somebody"), "k").Acquire(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	r, keyboard := atTerminal(t, command(t, ns, "break", "k", "--reason", "r"))
	r.until(t, "Type yes to do so: ")
	if err := held.Renew(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	press(t, keyboard, "yes\n")
	r.end(t, 0)
	free(t, ns, "k", v1alpha1.ReasonForced)
}

// TestBreakInTheMiddleOfARenewal renews between the plugin's read and its write, once.
func TestBreakInTheMiddleOfARenewal(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	held, err := kubelock.NewLock[any](of(t, ns, kubelock.DistributedLocks, "somebody"), "k").Acquire(within(t, patience))
	if err != nil {
		t.Fatal(err)
	}
	var sent atomic.Int32
	cmd := through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if writes(r) && sent.Add(1) == 1 {
			if err := held.Renew(context.WithoutCancel(r.Context())); err != nil {
				t.Error(err)
			}
		}
		pass.ServeHTTP(w, r)
	}, "break", "k", "--reason", "r", "--yes")
	finish(t, cmd).want(t, 0)
	if sent.Load() != 2 {
		t.Errorf("%d writes, want one that is refused and one that is not", sent.Load())
	}
	free(t, ns, "k", v1alpha1.ReasonForced)
}

// TestBreakWithoutAnAnswer reads back that the lock is broken, and tells of it once.
func TestBreakWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	hold(t, ns, "k")
	var sent atomic.Int32
	cmd := through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if writes(r) && sent.Add(1) == 1 {
			pass.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		}
		pass.ServeHTTP(w, r)
	}, "break", "k", "--reason", "r", "--yes")
	finish(t, cmd).want(t, 0, "it is free now")
	free(t, ns, "k", v1alpha1.ReasonForced)
	events, err := env.Clientset(t).EventsV1().Events(ns).List(within(t, patience), metav1.ListOptions{})
	if err != nil || len(events.Items) != 1 || sent.Load() != 1 {
		t.Errorf("%d writes, the events are %v, %v; want one of each", sent.Load(), events.Items, err)
	}
}

// TestBreakThatCannotBeReadBack says that it does not know, and the Event says so, too.
func TestBreakThatCannotBeReadBack(t *testing.T) {
	t.Parallel()
	env.NeedsControlPlane(t)
	ns := env.Namespace(t)
	hold(t, ns, "k")
	var sent atomic.Bool
	cmd := through(t, ns, func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		if writes(r) {
			pass.ServeHTTP(httptest.NewRecorder(), r)
			sent.Store(true)
		}
		if sent.Load() && strings.Contains(r.URL.Path, "/distributedlocks") {
			panic(http.ErrAbortHandler)
		}
		pass.ServeHTTP(w, r)
	}, "break", "k", "--reason", "cleanup", "--yes")
	var stderr output
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the write is sent", sent.Load)
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // Its exit code is looked at.
	result{code: cmd.ProcessState.ExitCode(), err: stderr.String()}.want(t, 128+2, "outcome unknown", "kubectl dlock describe")
	if e := env.Event(t, patience, ns, "k", "LockBroken"); !strings.HasPrefix(e.Note, "cleanup (broken by ") || !strings.HasSuffix(e.Note, "is not known)") {
		t.Errorf("the event is %q", e.Note)
	}
	free(t, ns, "k", v1alpha1.ReasonForced)
}

// TestBreakOfAnothersLease leaves alone who holds a Lease by other means.
func TestBreakOfAnothersLease(t *testing.T) {
	t.Parallel()
	ns := env.Namespace(t)
	now := metav1.NowMicro()
	lease := &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "k"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("elector"), LeaseDurationSeconds: new(int32(3600)), AcquireTime: &now, RenewTime: &now},
	}
	if err := env.Client(t).Create(t.Context(), lease); err != nil {
		t.Fatal(err)
	}
	dlock(t, ns, "break", "k", "--reason", "r", "--yes", "--backend", "Leases").want(t, 79, `held by "elector"`, "no client of kubelock")
	after := &coordinationv1.Lease{}
	if err := env.Client(t).Get(t.Context(), client.ObjectKeyFromObject(lease), after); err != nil || after.ResourceVersion != lease.ResourceVersion {
		t.Errorf("the Lease is %+v now, %v", after, err)
	}
}
